package subscription

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/catalog/prooftest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// memoryVariable has the test binary be a node that follows the mirror at the address
// given, once, and say how much memory that took at most.
const memoryVariable = "ARCHIPELAGO_BENCH_MIRROR"

func TestMain(m *testing.M) {
	if mirror := os.Getenv(memoryVariable); mirror != "" {
		os.Exit(once(mirror))
	}
	os.Exit(m.Run())
}

func once(mirror string) int {
	dir, err := os.MkdirTemp("", "subscription-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	apps, _, err := follow(dir, mirror)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println(len(apps), strings.Fields(peak)[0])
	return 0
}

// follow is a node's first look at a mirror: fetch, verify, parse, merge.
func follow(dir, mirror string) (apps catalog.Catalog, s *Subscription, err error) {
	s = Open(context.Background(), dir, time.Now, func(d *document.Document) {
		if d != nil {
			var refused map[string]error
			if apps, refused = d.Merge(catalog.Catalog{}, nil, time.Now()); len(refused) > 0 {
				panic(refused)
			}
		}
	})
	resp, err := http.Get(mirror + "/root/1.json")
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	var first bytes.Buffer
	if _, err := first.ReadFrom(resp.Body); err != nil {
		return nil, nil, err
	}
	if err := s.Follow(Config{Channel: "beta", Mirrors: []string{mirror}}, first.Bytes()); err != nil {
		return nil, nil, err
	}
	_, err = s.Refresh(context.Background())
	return apps, s, err
}

// generated is a mirror with a catalog of n applications, made of the shipped ones
// under other names.
func generated(b *testing.B, n int) *httptest.Server {
	b.Helper()
	key, err := sign.NewSigner("bench")
	if err != nil {
		b.Fatal(err)
	}
	role := root.Role{Keys: []sign.PublicKey{key.PublicKey}, Threshold: 1}
	first, err := root.Sign(root.Policy{Version: 1, Expires: time.Now().AddDate(1, 0, 0), Root: role, Catalog: role, Gate: role}, key)
	if err != nil {
		b.Fatal(err)
	}
	cat, err := catalog.Load("../../catalog/apps")
	if err != nil {
		b.Fatal(err)
	}
	d := document.Next(nil, "beta", time.Now(), time.Hour)
	ids := cat.IDs()
	for j, id := range ids {
		m := *cat[id].Manifest
		m.Containers = append([]manifest.Container(nil), m.Containers...)
		for i := range m.Containers {
			m.Containers[i].Image = manifest.Image{Ref: "localhost:5000/" + id, Digest: "sha256:" + strings.Repeat("0", 64)}
		}
		text := m.Canonical()
		for i := 0; i*len(ids)+j < n; i++ { // in the order of their ids
			next, err := manifest.ParseCanonical(id, bytes.ReplaceAll(text, []byte(id), fmt.Appendf(nil, "%s-%05d", id, i)))
			if err != nil {
				b.Fatal(err)
			}
			e, err := document.NewEntry(next, "bench", "")
			if err != nil {
				b.Fatal(err)
			}
			d.Entries = append(d.Entries, e)
		}
	}
	statement, err := prooftest.Evidence(prooftest.Statement(d), key)
	if err != nil {
		b.Fatal(err)
	}
	d.Attestations = map[string]string{statement.Digest: string(statement.Envelope)}
	for i, e := range d.Entries {
		p, err := statement.Of(proof.Tested{App: e.ID, Manifest: e.SHA256, Images: e.Images}, d.Created)
		if err != nil {
			b.Fatal(err)
		}
		d.Entries[i].Proof = &p
	}
	envelope, err := document.Sign(context.Background(), d, key)
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/root/1.json":
			w.Write(first)
		case "/beta.json":
			w.Header().Set("ETag", `"1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(envelope))
		default:
			http.NotFound(w, r)
		}
	}))
	b.Cleanup(server.Close)
	b.Logf("%d applications: %.1f MB", len(d.Entries), float64(len(envelope))/1e6)
	return server
}

func BenchmarkFollow(b *testing.B) {
	for _, n := range []int{40, 10_000} {
		mirror := generated(b, n)
		b.Run(fmt.Sprintf("first/%d", n), func(b *testing.B) {
			for b.Loop() {
				if apps, _, err := follow(b.TempDir(), mirror.URL); err != nil || len(apps) != n {
					b.Fatal(len(apps), err)
				}
			}
		})
		b.Run(fmt.Sprintf("unchanged/%d", n), func(b *testing.B) {
			_, s, err := follow(b.TempDir(), mirror.URL)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if changed, err := s.Refresh(context.Background()); changed || err != nil {
					b.Fatal(changed, err)
				}
			}
		})
		b.Run(fmt.Sprintf("memory/%d", n), func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), memoryVariable+"="+mirror.URL, "GOMEMLIMIT=180MiB") // as the daemon's unit has it
				cmd.Stderr = os.Stderr
				out, err := cmd.Output()
				if err != nil {
					b.Fatal(err)
				}
				f := strings.Fields(string(out))
				kib, err := strconv.Atoi(f[1])
				if err != nil || f[0] != fmt.Sprint(n) {
					b.Fatal(string(out), err)
				}
				b.ReportMetric(float64(kib)*1024/1e6, "MB-peak")
			}
		})
	}
}
