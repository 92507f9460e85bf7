package document

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/zeebo/blake3"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// shipped are the manifests of the repository with every image pinned.
func shipped(t testing.TB) []*manifest.Manifest {
	t.Helper()
	cat, err := catalog.Load("../apps")
	if err != nil {
		t.Fatal(err)
	}
	var out []*manifest.Manifest
	for _, id := range cat.IDs() {
		m := *cat[id].Manifest
		m.Containers = append([]manifest.Container(nil), m.Containers...)
		for i := range m.Containers {
			m.Containers[i].Image.Build = ""
			if m.Containers[i].Image.Ref == "" {
				m.Containers[i].Image.Ref = "localhost:5000/" + m.ID
			}
			m.Containers[i].Image.Digest = digest
		}
		out = append(out, &m)
	}
	return out
}

type world struct {
	keys   []*sign.Signer
	policy *root.Policy
	doc    *Document
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{doc: &Document{Schema: Schema, Channel: "feature", Serial: 7, Created: now.Add(-time.Hour), Expires: now.AddDate(0, 0, 7)}}
	for i := range 3 {
		s, err := sign.NewSigner(fmt.Sprint("key ", i))
		if err != nil {
			t.Fatal(err)
		}
		w.keys = append(w.keys, s)
	}
	w.policy = &root.Policy{Catalog: root.Role{Keys: []sign.PublicKey{w.keys[0].PublicKey, w.keys[1].PublicKey}, Threshold: 2}}
	for _, m := range shipped(t) {
		e, err := NewEntry(m, "archipelago", "")
		if err != nil {
			t.Fatal(err)
		}
		w.doc.Entries = append(w.doc.Entries, e)
	}
	return w
}

func (w *world) verify(envelope []byte) (*Document, error) {
	return Verify(context.Background(), envelope, w.policy, Expectation{Channel: "feature", Serial: 7, Now: now})
}

// seal signs any bytes as a catalog.
func (w *world) seal(t testing.TB, payload []byte, by ...*sign.Signer) []byte {
	t.Helper()
	b, err := sign.Sign(context.Background(), PayloadType, payload, by...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPublicVectors(t *testing.T) {
	// https://www.rfc-editor.org/rfc/rfc8785#section-3.2.2 and 3.2.4
	const in = `{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`
	const want = "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a5b3333333333333333332e333333333333332c31652b33302c342e352c302e3030322c31652d32375d2c22737472696e67223a22e282ac245c75303030665c6e4127425c225c5c5c5c5c222f227d"
	got := jsontext.Value(in)
	if err := got.Canonicalize(); err != nil || hex.EncodeToString([]byte(got)) != want {
		t.Errorf("RFC 8785: %s, %v", got, err)
	}
	// https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json
	for n, want := range map[int]string{
		0:    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		1:    "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
		1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
	} {
		in := make([]byte, n)
		for i := range in {
			in[i] = byte(i % 251)
		}
		if sum := blake3.Sum256(in); hex.EncodeToString(sum[:]) != want {
			t.Errorf("BLAKE3 of %d bytes: %x", n, sum)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	w := newWorld(t)
	b, err := Sign(context.Background(), w.doc, w.keys[0], w.keys[1])
	if err != nil {
		t.Fatal(err)
	}
	again, err := Sign(context.Background(), w.doc, w.keys[0], w.keys[1])
	if err != nil || !bytes.Equal(b, again) {
		t.Fatal("the same catalog gave other bytes", err)
	}
	d, err := w.verify(b)
	if err != nil {
		t.Fatal(err)
	}
	c, refused := d.Merge(nil, nil, now)
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	for _, m := range shipped(t) {
		if c.Manifest(m.ID).Digest() != m.Digest() {
			t.Errorf("%s came back as another", m.ID)
		}
	}
}

func TestAttacks(t *testing.T) {
	w := newWorld(t)
	good, err := w.doc.Encode()
	if err != nil {
		t.Fatal(err)
	}
	edited := func(edit func(*Document)) []byte {
		d := *w.doc
		d.Entries = append([]Entry(nil), d.Entries...)
		edit(&d)
		b, err := canonical(d)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	entry, err := canonical(&w.doc.Entries[0])
	if err != nil {
		t.Fatal(err)
	}
	both := w.keys[:2]
	for name, c := range map[string]struct {
		payload []byte
		by      []*sign.Signer
		is      error
		want    string
	}{
		"one of two keys":                    {good, w.keys[:1], sign.ErrUntrusted, ""},
		"a key of no role":                   {good, w.keys[1:], sign.ErrUntrusted, ""},
		"one key twice":                      {good, []*sign.Signer{w.keys[0], w.keys[0]}, sign.ErrUntrusted, ""},
		"serial going back":                  {edited(func(d *Document) { d.Serial = 6 }), both, ErrRollback, "its serial is 6, 7 has been seen"},
		"no serial":                          {edited(func(d *Document) { d.Serial = 0 }), both, ErrRefused, "serial 0"},
		"another channel":                    {edited(func(d *Document) { d.Channel = "user" }), both, ErrRefused, `channel "user"`},
		"an unknown channel":                 {edited(func(d *Document) { d.Channel = "gamma" }), both, ErrRefused, `channel "gamma"`},
		"a later schema":                     {edited(func(d *Document) { d.Schema = 3 }), both, ErrRefused, "schema 3"},
		"expired":                            {edited(func(d *Document) { d.Expires = now.Add(-time.Minute) }), both, ErrExpired, "1m0s ago"},
		"expired before created":             {edited(func(d *Document) { d.Created = d.Expires }), both, ErrRefused, "was created"},
		"an id twice":                        {edited(func(d *Document) { d.Entries = append(d.Entries, d.Entries[len(d.Entries)-1]) }), both, ErrRefused, "not in order"},
		"a name twice":                       {bytes.Replace(good, []byte(`"serial":7`), []byte(`"serial":7,"serial":7`), 1), both, sign.ErrMalformed, ""},
		"a name in capitals":                 {bytes.Replace(good, []byte(`"serial":7`), []byte(`"Serial":7`), 1), both, sign.ErrMalformed, "unknown object member name \"Serial\""},
		"an unknown name":                    {bytes.Replace(good, []byte(`"serial":7`), []byte(`"serial":7,"sxtra":1`), 1), both, sign.ErrMalformed, "unknown object member name \"sxtra\""},
		"something after it":                 {append(bytes.Clone(good), "{}"...), both, sign.ErrMalformed, ""},
		"not UTF-8":                          {bytes.Replace(good, []byte(`"publisher":"arch`), []byte("\"publisher\":\"\xff"), 1), both, sign.ErrMalformed, "UTF-8"},
		"names in another order":             {swapped(good), both, sign.ErrMalformed, "canonical"},
		"names in another order in an entry": {bytes.Replace(good, entry, swapped(entry), 1), both, sign.ErrMalformed, "canonical"},
		"a revoked entry":                    {edited(func(d *Document) { d.Revoked = []Revocation{{ID: d.Entries[0].ID, Version: d.Entries[0].Version}} }), both, ErrRefused, "is both an entry and revoked"},
		"deep nesting":                       {[]byte(strings.Repeat("[", 100_000)), both, sign.ErrMalformed, ""},
		"nothing":                            {nil, both, sign.ErrMalformed, ""},
		"spaces":                             {append([]byte(" "), good...), both, sign.ErrMalformed, "canonical"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.verify(w.seal(t, c.payload, c.by...))
			if err == nil || (c.is != nil && !errors.Is(err, c.is)) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, expected %v that names %q", err, c.is, c.want)
			}
		})
	}
	if d, err := w.verify(w.seal(t, edited(func(d *Document) { d.Expires = now.Add(-time.Minute) }), both...)); !errors.Is(err, ErrExpired) || d == nil {
		t.Error("an expired catalog still says what is installed:", d, err)
	}
	if _, err := w.verify(bytes.Repeat([]byte(" "), MaxSize+1)); !errors.Is(err, sign.ErrMalformed) {
		t.Error("a document of any size:", err)
	}
	envelope, err := sign.Sign(context.Background(), "application/vnd.in-toto+json", good, both...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.verify(envelope); !errors.Is(err, sign.ErrUntrusted) {
		t.Error("a signature for another purpose:", err)
	}
}

// swapped moves the first member of a document to its end.
func swapped(b []byte) []byte {
	first, rest, _ := bytes.Cut(b[1:len(b)-1], []byte(","))
	return fmt.Appendf(nil, "{%s,%s}", rest, first)
}

func TestMerge(t *testing.T) {
	w := newWorld(t)
	disk := catalog.Catalog{}
	for _, m := range shipped(t) {
		old := *m
		old.Version = "0.1"
		disk[m.ID] = &catalog.Entry{Manifest: &old}
	}
	alone := *disk["miniflux"].Manifest
	alone.ID = "alone"
	disk["alone"] = &catalog.Entry{Manifest: &alone}
	other := "localhost:5000/other@sha256:" + strings.Repeat("1", 64)
	set := func(id string, e Entry) {
		*w.doc.Entry(id) = e
	}
	set("mosquitto", Entry{ID: "mosquitto", Publisher: "archipelago", Images: map[string]string{"mosquitto": other}})
	w.doc.Entry("radicale").SHA256 = strings.Repeat("0", 64)
	got, refused := w.doc.Merge(disk, nil, now)
	if v := got["miniflux"]; v == nil || v.Version != "2.2.6.1" || v.Source.String() != "catalog feature 7" {
		t.Errorf("the catalog does not win over the disk: %+v", v)
	}
	if v := got["alone"]; v == nil || v.Source.String() != "disk" {
		t.Errorf("the disk is no fallback: %+v", v)
	}
	if v := got["mosquitto"]; v == nil || v.Version != "0.1" || v.Containers[0].Image.Pinned() != other || v.Source.String() != "disk, image by catalog feature 7" {
		t.Errorf("an image-only entry: %+v", v)
	}
	if disk["mosquitto"].Containers[0].Image.Pinned() == other {
		t.Error("the manifest of the disk was changed")
	}
	if got["radicale"] != nil || !errors.Is(refused["radicale"], ErrRefused) || len(refused) != 1 {
		t.Errorf("nothing takes the place of an entry that is refused: %v, %v", got["radicale"], refused)
	}

	again, _ := w.doc.Merge(disk, got, now)
	if again["miniflux"].Manifest != got["miniflux"].Manifest {
		t.Error("what has not changed was parsed again")
	}
	w.doc.Revoked = []Revocation{{ID: "alone", Version: "0.1", Reason: "leaks", Since: now}}
	w.doc.Entry("miniflux").Waiver = &catalog.Waiver{Steps: []string{"ui-reachable"}, Reason: "r", Tracker: "https://tracker.example/1", Given: now, Until: now.Add(time.Hour)}
	for name, images := range map[string]map[string]string{
		"a container the disk does not have": {"db": other},
		"not pinned":                         {"mosquitto": "localhost:5000/other"},
		"not an image":                       {"mosquitto": "/etc@sha256:0"},
	} {
		set("mosquitto", Entry{ID: "mosquitto", Publisher: "archipelago", Images: images})
		if got, refused := w.doc.Merge(disk, got, now); got["mosquitto"] != nil || !errors.Is(refused["mosquitto"], ErrRefused) {
			t.Errorf("%s: %v", name, refused)
		}
	}
	set("mosquitto", Entry{ID: "mosquitto", Publisher: "archipelago", Images: map[string]string{"mosquitto": other}})
	delete(disk, "mosquitto")
	got, refused = w.doc.Merge(disk, got, now)
	for id, want := range map[string]string{"mosquitto": "no manifest for it on disk", "alone": "was revoked on 2026-06-01: leaks", "radicale": "other digests"} {
		if refused[id] == nil || !strings.Contains(refused[id].Error(), want) || got[id] != nil {
			t.Errorf("%s: %v, expected %q", id, refused[id], want)
		}
	}
	if e := got["miniflux"]; e == nil || e.Waiver == nil || !strings.Contains(e.Waiver.String(), "https://tracker.example/1") {
		t.Errorf("a waiver is not shown: %+v", e)
	}
	if _, refused := w.doc.Merge(disk, got, now.Add(2*time.Hour)); refused["miniflux"] == nil || !strings.Contains(refused["miniflux"].Error(), "ended on 2026-06-01") {
		t.Errorf("an expired waiver does not block: %v", refused)
	}
}

func TestOneBadEntryIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Entry)
		want string
	}{
		"another manifest": {func(e *Entry) { e.Manifest = bytes.Replace(e.Manifest, []byte(`"name":"`), []byte(`"name":"X`), 1) }, "other digests"},
		"another digest":   {func(e *Entry) { e.BLAKE3 = strings.Repeat("0", 64) }, "other digests"},
		"another id":       {func(e *Entry) { e.ID += "x" }, "its manifest is that of"},
		"a homoglyph id":   {func(e *Entry) { e.ID = "mіniflux" }, "its manifest is that of"}, // a Cyrillic i
		"a path for an id": {func(e *Entry) { e.ID = "../../etc" }, "its manifest is that of"},
		"another version":  {func(e *Entry) { e.Version = "0.0.1" }, "its manifest is that of"},
		"another image":    {func(e *Entry) { e.Images = map[string]string{"miniflux": digest} }, "has image"},
		"a manifest not valid": {func(e *Entry) {
			e.Manifest = []byte(`{"id":"../../etc"}`)
			e.BLAKE3, e.SHA256 = digests(e.Manifest)
		}, "../../etc"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			bad := &w.doc.Entries[0]
			c.edit(bad)
			got, refused := w.doc.Merge(nil, nil, now)
			err := refused[bad.ID]
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), bad.ID) {
				t.Errorf("%v, expected one that names %q and %q", err, bad.ID, c.want)
			}
			if len(got) != len(w.doc.Entries)-1 {
				t.Errorf("%d applications of %d are left", len(got), len(w.doc.Entries))
			}
		})
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	w := newWorld(t)
	w.doc.Entries = w.doc.Entries[:1]
	b, err := Sign(context.Background(), w.doc, w.keys[0], w.keys[1])
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1 << (i % 8)
		if d, err := w.verify(c); err == nil {
			t.Fatalf("byte %d: %q became %q: %v", i, b[i], c[i], d)
		}
	}
}

func FuzzCatalog(f *testing.F) {
	w := newWorld(f)
	good, err := w.doc.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := w.verify(w.seal(t, b, w.keys[0], w.keys[1]))
		if err != nil {
			return
		}
		again, err := d.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%s was read as %s, %v", base64.StdEncoding.EncodeToString(b), again, err)
		}
		d.Merge(nil, nil, now)
	})
}

// BenchmarkBLAKE3 hashes a file of 1 GB as b3sum does with one thread, and gives how
// much of its speed that is.
func BenchmarkBLAKE3(b *testing.B) {
	b3sum, err := exec.LookPath("b3sum")
	if err != nil {
		b.Fatal("b3sum is not installed: apt-get install b3sum")
	}
	const size = 1_000_000_000
	file := filepath.Join(b.TempDir(), "1GB")
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{}), size); err != nil {
		b.Fatal(err)
	}
	f.Close()
	b.SetBytes(size)
	var ours, theirs time.Duration
	for b.Loop() {
		begin := time.Now()
		out, err := exec.Command(b3sum, "--num-threads", "1", "--no-names", file).Output()
		if err != nil {
			b.Fatal(err)
		}
		theirs += time.Since(begin)
		begin = time.Now()
		f, err := os.Open(file)
		if err != nil {
			b.Fatal(err)
		}
		h := blake3.New()
		if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
			b.Fatal(err)
		}
		f.Close()
		ours += time.Since(begin)
		if got := hex.EncodeToString(h.Sum(nil)); got != strings.TrimSpace(string(out)) {
			b.Fatalf("%s, b3sum says %s", got, out)
		}
	}
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x-of-b3sum")
}
