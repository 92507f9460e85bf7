package draft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// registryTimeout is how long a registry may take to say what an image is.
const registryTimeout = 2 * time.Minute

// Image is what an image says of itself.
type Image struct {
	Ref    string // as in a manifest: registry, repository and tag
	Digest string // of the image or, in a registry, of the index of several architectures
	Config v1.Config
}

// FromRegistry asks a registry for an image: its configuration, no layer.
func FromRegistry(ctx context.Context, reference string) (*Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", reference, err)
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	d, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return nil, fmt.Errorf("asking the registry for %s: %w", ref, err)
	}
	image, err := d.Image()
	if err != nil {
		return nil, fmt.Errorf("image %s for linux/%s: %w", ref, runtime.GOARCH, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", ref, err)
	}
	return &Image{written(ref), d.Digest.String(), config.Config}, nil
}

// FromArchive reads an image from a file that 'podman save' or 'docker save' wrote, or from
// the directory of an OCI layout. reference is where it will be pulled from; empty: what
// the archive says.
func FromArchive(file, reference string) (*Image, error) {
	dir, done, err := unpacked(file)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", file, err)
	}
	defer done()
	var image v1.Image
	var tagged string
	if dir != "" {
		image, tagged, err = fromLayout(dir)
	} else {
		image, tagged, err = fromDocker(file)
	}
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", file, err)
	}
	if reference = cmp.Or(reference, tagged); reference == "" {
		return nil, fmt.Errorf("archive %s does not say what its image is called; name where it will be pulled from with --ref", file)
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", reference, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", file, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", file, err)
	}
	return &Image{written(ref), digest.String(), config.Config}, nil
}

func fromDocker(file string) (v1.Image, string, error) {
	m, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil {
		return nil, "", err
	}
	if len(m) != 1 {
		return nil, "", fmt.Errorf("expected one image, found %d", len(m))
	}
	image, err := tarball.ImageFromPath(file, nil)
	if len(m[0].RepoTags) > 0 {
		return image, m[0].RepoTags[0], err
	}
	return image, "", err
}

func fromLayout(dir string) (v1.Image, string, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, "", err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, "", err
	}
	if len(m.Manifests) != 1 {
		return nil, "", fmt.Errorf("expected one image, found %d", len(m.Manifests))
	}
	image, err := index.Image(m.Manifests[0].Digest)
	tagged := m.Manifests[0].Annotations["org.opencontainers.image.ref.name"]
	if !strings.Contains(tagged, "/") {
		tagged = "" // a tag alone
	}
	return image, tagged, err
}

// written is a reference as manifests have it, with its registry and without a digest.
func written(ref name.Reference) string {
	registry := strings.Replace(ref.Context().RegistryStr(), "index.docker.io", "docker.io", 1)
	out := registry + "/" + ref.Context().RepositoryStr()
	if t, ok := ref.(name.Tag); ok {
		out += ":" + t.TagStr()
	}
	return out
}

// ID is an id that the image's name suggests.
func (i Image) ID() string {
	repository, _, _ := strings.Cut(path.Base(i.Ref), ":")
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(repository, "-"), "-")
}

// Listens tells whether the image says that it listens on a TCP port.
func (i Image) Listens() bool { return len(i.ports(false)) > 0 }

// ports are the ports that the image exposes, in their order.
func (i Image) ports(udp bool) (out []int) {
	for p := range i.Config.ExposedPorts {
		number, protocol, _ := strings.Cut(p, "/")
		if n, err := strconv.Atoi(number); err == nil && n > 0 && n < 65536 && (protocol == "udp") == udp {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

var (
	versions = regexp.MustCompile(`^[0-9][0-9A-Za-z.+~_-]{0,63}$`)
	numeric  = regexp.MustCompile(`^[0-9]{1,5}(:[0-9]{1,5})?$`)
	absolute = regexp.MustCompile(`^/[A-Za-z0-9._/-]{1,199}$`)
)

// fromImage takes over what the image says, and leaves a note of what it does not.
func (s *sketch) fromImage(i Image) {
	s.ImageYAML = "{ref: " + Quote(i.Ref) + ", digest: " + Quote(i.Digest) + "}"
	labels := i.Config.Labels
	_, tag, _ := strings.Cut(path.Base(i.Ref), ":")
	for _, v := range []string{labels["org.opencontainers.image.version"], tag} {
		if v = strings.TrimPrefix(v, "v"); versions.MatchString(v) {
			s.Version = v
			break
		}
	}
	if d := line(labels["org.opencontainers.image.description"]); d != "" {
		s.Summary = d
	}
	note := func(format string, args ...any) { s.Notes = append(s.Notes, fmt.Sprintf(format, args...)) }
	if run := slices.Concat(i.Config.Entrypoint, i.Config.Cmd); len(run) > 0 {
		note("The image runs %s", words(run))
	}
	switch u := i.Config.User; {
	case numeric.MatchString(u):
		s.User = u
	case u == "" || u == "root":
		note("TODO: the image runs as root; name another user if it can, such as user: \"1000:1000\"")
	default:
		note("TODO: the image runs as %q; say its number, which is in the image's /etc/passwd: user: \"1000:1000\"", u)
	}
	s.listen(i)
	s.keep(i, note)
	s.HealthYAML = healthOf(i.Config.Healthcheck)
	if s.HealthYAML == "" {
		note("TODO: a health check: a command of the image that ends with status 0 while it serves, health: {exec: [...]}")
	}
}

// listen publishes the image's ports, the first TCP one as the way in.
func (s *sketch) listen(i Image) {
	used := map[int]bool{}
	web := s.Template != "protocol"
	for _, udp := range []bool{false, true} {
		for j, n := range i.ports(udp) {
			p := Port{Name: fmt.Sprintf("port-%d", n), Container: n, UDP: udp, Host: hostPort(n, used)}
			switch {
			case udp:
				p.Name = fmt.Sprintf("udp-%d", n)
			case j == 0 && web:
				p.Name = "web"
				if p.Host+manifest.ProxyOffset > 32767 { // where the proxy serves it
					p.Host = hostPort(8000+n%1000, used)
				}
			case j == 0:
				p.Name = "main"
			}
			if j == 0 && !udp && s.Port != 0 {
				p.Host = s.Port
			}
			used[p.Host] = true
			s.Ports = append(s.Ports, p)
		}
	}
	if len(s.Ports) > 16 {
		s.Ports = s.Ports[:16]
	}
	switch {
	case !i.Listens():
		s.Notes = append(s.Notes, "TODO: the image does not say on which ports it listens.")
	case web:
		s.Notes = append(s.Notes, "TODO: what the page shows: its title, and a CSS selector of something on it (interfaces.web.expect).")
		s.InterfacesYAML = "web: {port: web, path: /, expect: {title: " + Quote(s.Name) + ", selector: body}}"
	default:
		s.Notes = append(s.Notes, "TODO: what is sent to the port, and what the answer holds (interfaces.main.handshake).")
		s.InterfacesYAML = `main: {port: main, protocol: tcp, handshake: {send: "PING\n", expect: PONG}}`
	}
}

// hostPort is a port of the node for one of a container's: the same where that may be
// published, or else one that looks like it.
func hostPort(n int, used map[int]bool) int {
	if n < 1024 {
		n += 8000
	}
	for used[n] || n == manifest.DaemonPort || n == manifest.DaemonTLSPort || n == manifest.ByNamePort {
		n++
	}
	return n
}

// keep makes a volume of each of the image's.
func (s *sketch) keep(i Image, note func(string, ...any)) {
	uid, gid, _ := strings.Cut(s.User, ":")
	var paths []string
	for p := range i.Config.Volumes {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	seen := map[string]bool{}
	for _, p := range paths {
		if p = path.Clean(p); !absolute.MatchString(p) || strings.HasPrefix(p+"/", "/dev/") || strings.HasPrefix(p+"/", "/proc/") || strings.HasPrefix(p+"/", "/sys/") || len(s.Volumes) == 16 {
			note("TODO: the image's volume %q cannot be one here", p)
			continue
		}
		v := Volume{Name: "data", Path: p}
		if len(paths) > 1 {
			v.Name = Image{Ref: strings.ToLower(path.Base(p))}.ID()
		}
		for n := 2; v.Name == "" || seen[v.Name]; n++ {
			v.Name = fmt.Sprintf("data-%d", n)
		}
		seen[v.Name] = true
		v.UID, _ = strconv.Atoi(uid)
		v.GID, _ = strconv.Atoi(gid)
		s.Volumes = append(s.Volumes, v)
	}
	if len(s.Volumes) > 0 {
		file := Quote(s.Volumes[0].Path + "/.canary")
		note("TODO: a canary that goes through the application rather than through a file: see canary.http and canary.exec.")
		s.CanaryYAML = "{exec: {container: " + s.ID + ", write: [/bin/sh, -c, 'echo \"$1\" > \"$2\"', sh, \"{{canary}}\", " + file + "], read: [/bin/cat, " + file + "]}}"
	}
}

// healthOf is Docker's HEALTHCHECK in YAML; empty where there is none that a manifest holds.
func healthOf(h *v1.HealthConfig) string {
	if h == nil || len(h.Test) < 2 {
		return ""
	}
	argv := h.Test[1:]
	switch h.Test[0] {
	case "CMD":
	case "CMD-SHELL":
		argv = []string{"/bin/sh", "-c", strings.Join(strings.Fields(h.Test[1]), " ")}
	default:
		return ""
	}
	for _, w := range argv {
		if w == "" || w != line(w) {
			return ""
		}
	}
	out := "{exec: " + words(argv)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", h.Interval}, {"timeout", h.Timeout}, {"start_period", h.StartPeriod}} {
		if d.value >= time.Millisecond && d.value <= time.Hour {
			text, err := manifest.Duration(d.value.Truncate(time.Millisecond)).MarshalText()
			if err == nil && len(text) < 8 {
				out += ", " + d.name + ": " + string(text)
			}
		}
	}
	if h.Retries > 0 && h.Retries <= 20 {
		out += fmt.Sprintf(", retries: %d", h.Retries)
	}
	return out + "}"
}

// unpacked gives the directory of an OCI layout: the archive itself, or what an OCI archive
// holds but for its layers; empty for an archive of Docker's kind.
func unpacked(file string) (dir string, done func(), err error) {
	done = func() {}
	info, err := os.Stat(file)
	if err != nil {
		return "", done, err
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(file, "index.json")); errors.Is(err, fs.ErrNotExist) {
			return "", done, errors.New("a directory without index.json is no OCI layout")
		}
		return file, done, nil
	}
	return extractLayout(file)
}
