package upgrade

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/mod/semver"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/root"
)

// unsigned is the remedy for whoever owns the node and has no signature.
const unsigned = "on the node itself, 'archipelago upgrade --unsigned FILE' takes a program whoever built it"

// Build is what orders daemons: the version that one says, and the time of the commit that
// it was built from; zero if it was built from none.
type Build struct {
	Version string
	Created time.Time
}

// Self is the build of this program, which says that version.
func Self(version string) Build {
	b := Build{Version: version}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				b.Created, _ = time.Parse(time.RFC3339, s.Value) // zero: it is not known
			}
		}
	}
	return b
}

// Verify says which version a program is that has this SHA-256, in hex, by the signed
// description of its release: signed by the catalog keys of the root that the node trusts,
// naming that program as the daemon of this machine's architecture, and not older than
// what runs.
func Verify(ctx context.Context, envelope []byte, trusted func() (*root.Policy, error), running Build, sum string) (version string, err error) {
	if len(envelope) == 0 {
		return "", fmt.Errorf("%w: it is unsigned: the signed description of its release, %s, comes with it; %s", ErrRefused, description.File, unsigned)
	}
	p, err := trusted()
	if err != nil {
		return "", fmt.Errorf("%w: no signature counts here: %w; 'archy subscribe CHANNEL --root FILE' names the root document whose keys sign releases, and 'archy refresh' fetches the successor of one that expired; %s", ErrRefused, err, unsigned)
	}
	d, err := description.Verify(ctx, envelope, p.Catalog.Keys, p.Catalog.Threshold)
	if err != nil {
		return "", fmt.Errorf("%w: the description of its release: %w; it takes %d of the keys of root document %d", ErrRefused, err, p.Catalog.Threshold, p.Version)
	}
	name := description.Daemon(runtime.GOARCH)
	switch want, ok := d.Files[name]; {
	case !ok:
		return "", fmt.Errorf("%w: release %s has no %s, which is what runs on this machine", ErrRefused, d.Version, name)
	case want != sum:
		return "", fmt.Errorf("%w: %s of release %s has the SHA-256 %s, and this program %q: send that of the same release", ErrRefused, name, d.Version, want, sum)
	}
	if err := notOlder(Build{d.Version, d.Created}, running); err != nil {
		return "", err
	}
	return d.Version, nil
}

// tagged is a version as 'git describe' gives it: a tag, then the commits since.
var tagged = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+.*?)(-[0-9]+-g[0-9a-f]+)?(-dirty)?$`)

// semantic is the version of a tag, for package semver; false if there is no such tag.
func semantic(version string) (string, bool) {
	m := tagged.FindStringSubmatch(version)
	if m == nil {
		return "", false
	}
	return "v" + m[1], semver.IsValid("v" + m[1])
}

// notOlder refuses a release that is older than what runs: it is signed for ever, with
// whatever has been mended since. Versions count if both are semantic ones, and times if
// both are known.
func notOlder(release, running Build) error {
	a, ok1 := semantic(release.Version)
	b, ok2 := semantic(running.Version)
	lower := ok1 && ok2 && semver.Compare(a, b) < 0
	if !lower && !release.Created.Before(running.Created) {
		return nil
	}
	return fmt.Errorf("%w: release %s of %s is older than what runs, %s of %s; %s", ErrRefused, release.Version, day(release.Created), running.Version, day(running.Created), unsigned)
}

func day(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}
