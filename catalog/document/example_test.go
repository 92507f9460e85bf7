package document_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// feeds is the manifest of a version of an application, with its image pinned.
func feeds(version, user string) *manifest.Manifest {
	m, err := manifest.Parse("feeds.yaml", fmt.Appendf(nil, `
apiVersion: archipelago/v1
id: feeds
name: Feeds
version: %s
containers:
  - name: feeds
    image: {ref: registry.example/feeds, digest: "sha256:%s"}
    user: %q
`, version, strings.Repeat("0", 64), user))
	if err != nil {
		panic(err)
	}
	return m
}

// catalogOf is a channel's next catalog, with one application in it.
func catalogOf(before *document.Document, m *manifest.Manifest, at time.Time) *document.Document {
	e, err := document.NewEntry(m, "archipelago", "")
	if err != nil {
		panic(err)
	}
	d := document.Next(before, "feature", at, 14*24*time.Hour)
	if err := d.Put(e); err != nil {
		panic(err)
	}
	return d
}

// A publisher signs a catalog; a node believes it if the root's catalog keys have signed
// it, it is of the channel that the node follows, and it is not older than one that the
// node has seen. Once it has expired, nothing new is installed from it.
func Example() {
	ctx := context.Background()
	monday := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	key, err := sign.NewSigner("release")
	if err != nil {
		fmt.Println(err)
		return
	}
	policy := &root.Policy{Catalog: root.Role{Keys: []sign.PublicKey{key.PublicKey}, Threshold: 1}}

	envelope, err := document.Sign(ctx, catalogOf(nil, feeds("2.1.0", "999:999"), monday), key)
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := document.Verify(ctx, envelope, policy, document.Expectation{Channel: "feature", Now: monday})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("catalog", d.Head(), "has feeds", d.Entry("feeds").Version)

	_, err = document.Verify(ctx, envelope, policy, document.Expectation{Channel: "feature", Serial: 2, Now: monday})
	fmt.Println(err)
	_, err = document.Verify(ctx, envelope, policy, document.Expectation{Now: monday.AddDate(0, 0, 15)})
	fmt.Println(err)

	other, err := sign.NewSigner("somebody else")
	if err != nil {
		fmt.Println(err)
		return
	}
	policy.Catalog.Keys[0] = other.PublicKey
	_, err = document.Verify(ctx, envelope, policy, document.Expectation{Now: monday})
	fmt.Println("trusted:", !errors.Is(err, sign.ErrUntrusted))
	// Output:
	// catalog feature 1 has feeds 2.1.0
	// catalog refused: rollback: its serial is 1, 2 has been seen
	// catalog expired on 2026-06-15T12:00:00Z, 24h0m0s ago
	// trusted: false
}

// Before anybody signs a catalog, they look at what it would change on a node.
func ExampleDiff() {
	monday := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	before := catalogOf(nil, feeds("2.1.0", "999:999"), monday)
	after := catalogOf(before, feeds("2.2.0", "0:0"), monday.AddDate(0, 0, 7))
	for _, c := range document.Diff(before, after) {
		fmt.Println(c.ID, c.From, "->", c.To)
		for _, l := range c.Lines {
			fmt.Printf("%-9s  %s: %s -> %s\n", l.Kind, l.Path, l.Old, l.New)
		}
	}
	// Output:
	// feeds 2.1.0 -> 2.2.0
	// privilege  containers.feeds.user: 999:999 -> 0:0
	// other      version: 2.1.0 -> 2.2.0
}

// A revoked version leaves the catalog, and never comes back to it.
func ExampleDocument_Revoke() {
	monday := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	d := catalogOf(nil, feeds("2.1.0", "999:999"), monday)
	e := *d.Entry("feeds")
	if err := d.Revoke(document.Revocation{ID: "feeds", Version: "2.1.0", Reason: "CVE-2026-0001", Since: monday}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(d.Entries), "applications")
	fmt.Println(d.Put(e))
	// Output:
	// 0 applications
	// catalog refused: feeds 2.1.0 was revoked in channel feature on 2026-06-01: CVE-2026-0001
}
