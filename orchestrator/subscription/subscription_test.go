package subscription

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
	"github.com/archipelago-cloud/archipelago/catalog/prooftest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// world is a publisher, a mirror of what it publishes, and a node that follows it.
type world struct {
	t      testing.TB
	keys   []*sign.Signer
	gate   *sign.Signer
	files  map[string][]byte // what the mirror serves
	mirror *httptest.Server
	hits   atomic.Int32
	wrap   func(http.Handler) http.Handler
	dir    string
	clock  time.Time
	docs   []*document.Document
	sub    *Subscription
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, files: map[string][]byte{}, dir: t.TempDir(), clock: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
	for i := range 3 {
		s, err := sign.NewSigner(fmt.Sprint("key ", i))
		if err != nil {
			t.Fatal(err)
		}
		w.keys = append(w.keys, s)
	}
	var err error
	if w.gate, err = sign.NewSigner("gate"); err != nil {
		t.Fatal(err)
	}
	w.mirror = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.hits.Add(1)
		var h http.Handler = http.HandlerFunc(w.serve)
		if w.wrap != nil {
			h = w.wrap(h)
		}
		h.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.mirror.Close)
	w.open()
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	b, ok := w.files[r.URL.Path]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	rw.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(b)))
	http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(b))
}

func (w *world) open() {
	w.t.Helper()
	w.sub = Open(context.Background(), w.dir, func() time.Time { return w.clock }, func(d *document.Document) { w.docs = append(w.docs, d) })
	w.sub.limits = limits{size: 1 << 20, stall: 15 * time.Second, total: time.Minute}
}

func (w *world) root(version int64, threshold int, by []*sign.Signer, of ...*sign.Signer) []byte {
	w.t.Helper()
	role := root.Role{Threshold: threshold}
	for _, s := range of {
		role.Keys = append(role.Keys, s.PublicKey)
	}
	b, err := root.Sign(root.Policy{Version: version, Expires: w.clock.AddDate(1, 0, 0), Root: role, Catalog: role, Gate: w.gates()}, by...)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// gates is the role of the gate whose word counts.
func (w *world) gates() root.Role {
	if w.gate == nil {
		return root.Role{}
	}
	return root.Role{Keys: []sign.PublicKey{w.gate.PublicKey}, Threshold: 1}
}

func (w *world) document(channel string, serial int64, expires time.Time, by ...*sign.Signer) []byte {
	w.t.Helper()
	m, err := manifest.ParseFile("../../catalog/apps/mosquitto/manifest.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	m.Containers[0].Image = manifest.Image{Ref: "localhost:5000/mosquitto", Digest: "sha256:" + strings.Repeat("0", 64)}
	e, err := document.NewEntry(m, "test", "")
	if err != nil {
		w.t.Fatal(err)
	}
	d := &document.Document{Schema: document.Schema, Channel: channel, Serial: serial, Created: w.clock.AddDate(0, 0, -30), Expires: expires, Entries: []document.Entry{e}}
	if w.gate != nil {
		if err := prooftest.Prove(d, w.gate); err != nil {
			w.t.Fatal(err)
		}
	}
	b, err := document.Sign(context.Background(), d, by...)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// follow has the node follow beta with one key of one, and the mirror serve serial 7.
func (w *world) follow() {
	w.t.Helper()
	if err := w.sub.Follow(Config{Channel: "beta", Mirrors: []string{w.mirror.URL}}, w.root(1, 1, w.keys[:1], w.keys[0])); err != nil {
		w.t.Fatal(err)
	}
	w.publish(7)
	if changed, err := w.sub.Refresh(context.Background()); err != nil || !changed {
		w.t.Fatal(changed, err)
	}
}

func (w *world) publish(serial int64) {
	w.files["/beta.json"] = w.document("beta", serial, w.clock.AddDate(0, 0, 7), w.keys[0])
}

func (w *world) serial() int64 {
	s, err := w.sub.Status()
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Serial
}

// TestANodeFollowsWhatAPublisherWrites: a directory written by mirror.Publish, served by
// any web server, is a mirror, and keys that change there change on the node.
func TestANodeFollowsWhatAPublisherWrites(t *testing.T) {
	w := newWorld(t)
	dir, beside := t.TempDir(), t.TempDir()
	cat, err := catalog.Load("../../catalog/apps")
	if err != nil {
		t.Fatal(err)
	}
	pictures, err := cat.Pictures()
	if err == nil {
		err = mirror.WritePictures(beside, pictures)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.wrap = func(http.Handler) http.Handler { return http.FileServer(http.Dir(dir)) }
	publish := func(roots mirror.Chain, envelope []byte) {
		t.Helper()
		d, err := document.Peek(envelope)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mirror.Publish(dir, roots, mirror.Signed{Name: "beta", Document: d, Envelope: envelope, Pictures: filepath.Join(beside, manifest.PicturesDir)}); err != nil {
			t.Fatal(err)
		}
	}
	expires := w.clock.AddDate(0, 0, 7)
	first := w.root(1, 1, w.keys[:1], w.keys[0])
	second := w.root(2, 1, w.keys[:2], w.keys[1])
	publish(mirror.Chain{Documents: [][]byte{first}, Newest: 1}, w.document("beta", 1, expires, w.keys[0]))
	if err := w.sub.Follow(Config{Channel: "beta", Mirrors: []string{w.mirror.URL}}, first); err != nil {
		t.Fatal(err)
	}
	if changed, err := w.sub.Refresh(t.Context()); !changed || err != nil || w.serial() != 1 {
		t.Fatal(changed, err, w.serial())
	}
	app := cat["mosquitto"]
	if b, _, err := w.sub.Picture(t.Context(), &app.Listing, app.Icon); err != nil || string(b) != string(pictures[manifest.PictureFile(app.Icon)]) {
		t.Error("its icon:", err)
	}
	publish(mirror.Chain{Documents: [][]byte{first, second}, Newest: 2}, w.document("beta", 2, expires, w.keys[1]))
	if changed, err := w.sub.Refresh(t.Context()); !changed || err != nil || w.serial() != 2 {
		t.Fatal(changed, err, w.serial())
	}
}

func TestFollowing(t *testing.T) {
	w := newWorld(t)
	if _, err := w.sub.Refresh(t.Context()); !errors.Is(err, ErrNone) {
		t.Error("without a subscription:", err)
	}
	w.follow()
	w.hits.Store(0)
	if changed, err := w.sub.Refresh(t.Context()); err != nil || changed || w.hits.Load() != 2 {
		t.Error("unchanged:", changed, err, w.hits.Load())
	}
	w.publish(8)
	if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed || w.serial() != 8 {
		t.Fatal(changed, err)
	}
	// A daemon that starts anew has what it had.
	w.docs = nil
	w.open()
	if w.serial() != 8 || len(w.docs) != 1 || w.docs[0].Serial != 8 {
		t.Errorf("after a restart: %+v", w.docs)
	}
	if merged, refused := w.docs[0].Merge(nil, catalog.Catalog{}, w.clock); len(merged) != 1 || len(refused) > 0 {
		t.Error(merged, refused)
	}
	if err := w.sub.Follow(Config{Channel: "beta", Automatic: true}, nil); err != nil {
		t.Fatal(err)
	}
	if s, _ := w.sub.Status(); len(s.Mirrors) != 1 || s.Serial != 8 || !w.sub.MayUpdate(w.clock) {
		t.Errorf("a change of how it is followed lost what is followed: %+v", s)
	}
	// One from the owner's hand.
	if changed, err := w.sub.Load(t.Context(), w.document("beta", 9, w.clock.AddDate(0, 0, 7), w.keys[0])); err != nil || !changed || w.serial() != 9 {
		t.Error(changed, err)
	}
	// What is on the disk is verified like what comes from a mirror.
	w.docs = nil
	b, _ := os.ReadFile(filepath.Join(w.dir, catalogFile))
	os.WriteFile(filepath.Join(w.dir, catalogFile), bytes.Replace(b, []byte(`"payload":"e`), []byte(`"payload":"f`), 1), 0o600)
	w.open()
	if s, _ := w.sub.Status(); len(w.docs) != 0 || s.Serial != 0 || !strings.Contains(s.Error, "the catalog on disk") {
		t.Errorf("damaged on disk: %+v, %v", s, w.docs)
	}
	if changed, err := w.sub.Refresh(t.Context()); err == nil || changed {
		t.Error("serial 8 of the mirror was taken after 9:", err)
	}
	w.publish(10)
	if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed {
		t.Error(changed, err)
	}
}

func TestExpiredCatalogFreezes(t *testing.T) {
	w := newWorld(t)
	w.follow()
	w.clock = w.clock.AddDate(0, 0, 8)
	w.publish(8)
	w.files["/beta.json"] = w.document("beta", 8, w.clock.Add(-time.Hour), w.keys[0])
	if changed, err := w.sub.Refresh(t.Context()); !errors.Is(err, document.ErrExpired) || changed || w.serial() != 7 {
		t.Error("an expired one came into force:", changed, err)
	}
	w.docs = nil
	w.open()
	if s, _ := w.sub.Status(); s.Serial != 7 || len(w.docs) != 1 || !s.Expires.Before(w.clock) {
		t.Errorf("what is held stays, and its age is known: %+v", s)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	w.follow()
	w.files["/root/2.json"] = w.root(2, 2, w.keys, w.keys[1], w.keys[2]) // signed by old and new
	w.files["/beta.json"] = w.document("beta", 8, w.clock.AddDate(0, 0, 7), w.keys[0])
	if _, err := w.sub.Refresh(t.Context()); !errors.Is(err, sign.ErrUntrusted) {
		t.Error("a key removed by rotation still signs:", err)
	}
	w.files["/beta.json"] = w.document("beta", 8, w.clock.AddDate(0, 0, 7), w.keys[1])
	if _, err := w.sub.Refresh(t.Context()); !errors.Is(err, sign.ErrUntrusted) {
		t.Error("one key below the threshold published:", err)
	}
	w.files["/beta.json"] = w.document("beta", 8, w.clock.AddDate(0, 0, 7), w.keys[1], w.keys[2])
	if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed {
		t.Fatal(err)
	}
	w.files["/root/3.json"] = w.root(3, 1, w.keys[:1], w.keys[0]) // by the key that was removed
	if _, err := w.sub.Refresh(t.Context()); !errors.Is(err, root.ErrRoot) {
		t.Error("a root by a removed key came into force:", err)
	}
	delete(w.files, "/root/3.json")
	w.open()
	if s, _ := w.sub.Status(); s.Serial != 8 || s.RootVersion != 2 {
		t.Errorf("after a restart: %+v", s)
	}
}

func TestBadDocumentsOfAMirror(t *testing.T) {
	soon := func(w *world) time.Time { return w.clock.AddDate(0, 0, 7) }
	for name, c := range map[string]struct {
		body func(*world) []byte
		is   error
	}{
		"serial going back":                {func(w *world) []byte { return w.document("beta", 6, soon(w), w.keys[0]) }, document.ErrRollback},
		"another content under the serial": {func(w *world) []byte { return w.document("beta", 7, soon(w).Add(time.Hour), w.keys[0]) }, document.ErrRollback},
		"another channel's document":       {func(w *world) []byte { return w.document("feature", 8, soon(w), w.keys[0]) }, document.ErrRefused},
		"an unknown key":                   {func(w *world) []byte { return w.document("beta", 8, soon(w), w.keys[1]) }, sign.ErrUntrusted},
		"nothing":                          {func(*world) []byte { return []byte("        ") }, sign.ErrMalformed},
		"larger than allowed":              {func(*world) []byte { return bytes.Repeat([]byte("a"), 2<<20) }, ErrMirror},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.follow()
			w.files["/beta.json"] = c.body(w)
			if changed, err := w.sub.Refresh(t.Context()); changed || !errors.Is(err, c.is) || w.serial() != 7 {
				t.Errorf("%v, %v", changed, err)
			}
			if s, _ := w.sub.Status(); s.Error == "" {
				t.Error("the status does not say so")
			}
			// The next mirror is asked.
			good := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/beta.json" {
					http.NotFound(rw, r)
					return
				}
				rw.Write(w.document("beta", 8, soon(w), w.keys[0]))
			}))
			defer good.Close()
			if err := w.sub.Follow(Config{Channel: "beta", Mirrors: []string{w.mirror.URL, good.URL}}, nil); err != nil {
				t.Fatal(err)
			}
			if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed || w.serial() != 8 {
				t.Errorf("the second mirror: %v, %v", changed, err)
			}
		})
	}
}

func TestBadMirrors(t *testing.T) {
	body := func(write func(rw http.ResponseWriter, r *http.Request)) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/beta.json" {
					write(rw, r)
					return
				}
				next.ServeHTTP(rw, r)
			})
		}
	}
	redirect := func(to string) func(http.Handler) http.Handler {
		return body(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, to, http.StatusFound) })
	}
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		want string
	}{
		"an endless body": {body(func(rw http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := rw.Write(bytes.Repeat([]byte("a"), 64<<10)); err != nil {
					return
				}
			}
		}), "more than 1048576 bytes"},
		"an announced one": {body(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "104857600")
			rw.Write([]byte("a"))
		}), "announced 104857600 bytes"},
		"a stalled one": {body(func(rw http.ResponseWriter, r *http.Request) {
			rw.Write([]byte("a"))
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
		}), "no more bytes came for 200ms"},
		"a very slow one": {body(func(rw http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				rw.Write([]byte("a"))
				rw.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		}), "the answer took longer than 2s"},
		"a redirect to a file":               {redirect("file:///etc/passwd"), "redirects to file:///etc/passwd"},
		"a redirect to the metadata address": {redirect("http://169.254.169.254/latest/meta-data"), "redirects to http://169.254.169.254"},
		"a redirect to another host":         {redirect("http://127.0.0.77/beta.json"), "redirects to http://127.0.0.77"},
		"an error":                           {body(func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "", http.StatusServiceUnavailable) }), "503"},
		"a part of another document": {body(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Range", "bytes 5-9/10")
			rw.WriteHeader(206)
		}), "resumed at"},
		"not modified, though nothing is held": {body(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(304) }), "to a request without a tag"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if err := w.sub.Follow(Config{Channel: "beta", Mirrors: []string{w.mirror.URL}}, w.root(1, 1, w.keys[:1], w.keys[0])); err != nil {
				t.Fatal(err)
			}
			w.wrap = c.wrap
			switch name {
			case "a stalled one":
				w.sub.limits.stall = 200 * time.Millisecond
			case "a very slow one":
				w.sub.limits.total = 2 * time.Second
			}
			begin := time.Now()
			if changed, err := w.sub.Refresh(t.Context()); changed || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; expected an error that names %q", changed, err, c.want)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	t.Run("the metadata address itself", func(t *testing.T) {
		w := newWorld(t)
		if err := w.sub.Follow(Config{Channel: "beta", Mirrors: []string{"http://169.254.169.254"}}, w.root(1, 1, w.keys[:1], w.keys[0])); err != nil {
			t.Fatal(err)
		}
		if _, err := w.sub.Refresh(t.Context()); !errors.Is(err, ErrMirror) || !strings.Contains(err.Error(), "169.254.169.254 cannot be the address of a mirror") {
			t.Error(err)
		}
	})
}

func TestABrokenDownloadIsGoneOnWith(t *testing.T) {
	w := newWorld(t)
	w.follow()
	w.publish(8)
	var ranges []string
	broken := 0
	w.wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/beta.json" {
				next.ServeHTTP(rw, r)
				return
			}
			ranges = append(ranges, r.Header.Get("Range"))
			if broken++; broken <= tries+1 {
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				for k, v := range rec.Header() {
					rw.Header()[k] = v
				}
				rw.WriteHeader(rec.Code)
				rw.Write(rec.Body.Bytes()[:100])
				rw.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(rw, r)
		})
	}
	if _, err := w.sub.Refresh(t.Context()); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	w.open() // also after a restart of the daemon
	if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed || w.serial() != 8 {
		t.Fatal(changed, err)
	}
	want := []string{"", "bytes=100-", "bytes=200-", "bytes=300-", "bytes=400-"}
	if fmt.Sprint(ranges) != fmt.Sprint(want) {
		t.Errorf("asked for %q, expected %q", ranges, want)
	}
	// Another document meanwhile: the beginning of the old one is of no use.
	w.publish(9)
	broken, ranges = tries, nil
	w.sub.Refresh(t.Context())
	w.publish(10)
	if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed && w.serial() != 10 {
		t.Fatal(changed, err, ranges)
	}
}

func TestWindow(t *testing.T) {
	at := func(s string) time.Time { c, _ := time.Parse("15:04", s); return c }
	for _, c := range []struct {
		window, at string
		open       bool
	}{
		{"", "13:00", true}, {"02:00-05:00", "02:00", true}, {"02:00-05:00", "04:59", true}, {"02:00-05:00", "05:00", false},
		{"22:00-04:00", "23:30", true}, {"22:00-04:00", "03:59", true}, {"22:00-04:00", "12:00", false},
	} {
		w, err := ParseWindow(c.window)
		if err != nil || w.Open(at(c.at)) != c.open || w.String() != c.window {
			t.Errorf("%q at %s: %v, %v", c.window, c.at, w, err)
		}
	}
	for _, bad := range []string{"2", "02:00", "02:00-02:00", "25:00-01:00", "02:00-05:00-07:00"} {
		if _, err := ParseWindow(bad); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSubscriptionsThatAreNone(t *testing.T) {
	w := newWorld(t)
	good := w.root(1, 1, w.keys[:1], w.keys[0])
	for name, c := range map[string]struct {
		config Config
		root   []byte
	}{
		"a channel":  {Config{Channel: "stable"}, good},
		"a path":     {Config{Channel: "../../etc/passwd"}, good},
		"a file":     {Config{Channel: "beta", Mirrors: []string{"file:///srv"}}, good},
		"no host":    {Config{Channel: "beta", Mirrors: []string{"http://"}}, good},
		"a password": {Config{Channel: "beta", Mirrors: []string{"http://a:b@c"}}, good},
		"no root":    {Config{Channel: "beta"}, nil},
		"a bad root": {Config{Channel: "beta"}, []byte("{}")},
	} {
		if err := w.sub.Follow(c.config, c.root); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := w.sub.Status(); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// TestARootIsReplacedOnlyByItsSuccessors: its keys sign what runs as the daemon, and the
// token alone must not change them.
func TestARootIsReplacedOnlyByItsSuccessors(t *testing.T) {
	w := newWorld(t)
	if _, err := w.sub.Policy(); !errors.Is(err, ErrNone) {
		t.Errorf("without a root: %v", err)
	}
	w.follow()
	first, second := w.root(1, 1, w.keys[:1], w.keys[0]), w.root(2, 1, w.keys[:2], w.keys[1])
	w.files["/root/2.json"] = second
	w.files["/beta.json"] = w.document("beta", 8, w.clock.AddDate(0, 0, 7), w.keys[1])
	if _, err := w.sub.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, known := range map[string][]byte{"the first": first, "its successor": second, "none": nil} {
		if err := w.sub.Follow(Config{Channel: "beta", Mirrors: []string{w.mirror.URL}}, known); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, channel := range []string{"beta", "user"} {
		err := w.sub.Follow(Config{Channel: channel}, w.root(1, 1, w.keys[2:], w.keys[2]))
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "trusts another root document") || !strings.Contains(err.Error(), w.dir) {
			t.Errorf("an attacker's, for %s: %v", channel, err)
		}
	}
	for range 2 {
		if p, err := w.sub.Policy(); err != nil || p.Version != 2 || p.Catalog.Keys[0].ID() != w.keys[1].ID() {
			t.Errorf("%+v, %v", p, err)
		}
		w.open() // the same after a restart
	}
	w.clock = w.clock.AddDate(1, 0, 1)
	if _, err := w.sub.Policy(); !errors.Is(err, root.ErrRoot) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired root: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	w := newWorld(f)
	w.follow()
	f.Add(w.document("beta", 6, w.clock.AddDate(0, 0, 7), w.keys[0]))
	f.Fuzz(func(t *testing.T, b []byte) {
		if changed, err := w.sub.Load(t.Context(), b); changed || err == nil && !bytes.Equal(b, w.files["/beta.json"]) {
			t.Fatalf("%q came into force: %v", b, err)
		}
	})
}
