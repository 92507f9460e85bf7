package matrix

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// What may be left of an application that was stopped or removed, beside its containers
// and units: its proxy, Podman's own volumes, its folders.

// folders is how many the script looks for: the application's, of its secrets, of its
// files, and of the two copies of its data that updates make.
const folders = 5

// What a proxy answers with while there is no application behind it: that it does not
// answer, or that it is waited for.
var withoutApplication = []string{"", strconv.Itoa(http.StatusBadGateway), strconv.Itoa(http.StatusServiceUnavailable)}

// proxied asks for a page through the proxy: the status of the answer; empty where nobody
// answers. Whoever serves there, by whatever certificate, is one too many.
func proxied(ctx context.Context, host, path string) string {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return err.Error()
	}
	dialer := &net.Dialer{Timeout: portTimeout}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req) // a redirection is an answer
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &plain):
		return "something other than TLS"
	case err != nil:
		return ""
	}
	resp.Body.Close()
	return strconv.Itoa(resp.StatusCode)
}

// pathAt is where a web interface's page is.
func pathAt(m *manifest.Manifest, p manifest.Port) string {
	for _, name := range slices.Sorted(maps.Keys(m.Interfaces)) {
		if in := m.Interfaces[name]; in.Port == p.Name {
			return path(in)
		}
	}
	return "/"
}

// checkProxyOfStopped requires that the proxy serves nothing in the application's place,
// be it from a cache.
func checkProxyOfStopped(s *Snapshot) (wrong []string) {
	for _, p := range slices.Sorted(maps.Keys(s.Proxied)) {
		if answer := s.Proxied[p]; !slices.Contains(withoutApplication, answer) {
			wrong = append(wrong, fmt.Sprintf("the proxy's port %d still serves the application: it answers %s", p+manifest.ProxyOffset, answer))
		}
	}
	return wrong
}

// volumes adds Podman's own volumes where the application has no container: those that
// images declare must go with their containers.
func (w *Witness) volumes(ctx context.Context, m *manifest.Manifest, s *Snapshot) error {
	for _, c := range s.Containers {
		if _, member := m.Container(c.Name); member || c.App == m.ID {
			return nil
		}
	}
	var all []struct {
		Name   string
		Labels map[string]string
	}
	if _, err := w.get(ctx, "/volumes/json", url.Values{}, &all); err != nil {
		return err
	}
	s.Podmans = map[string]string{}
	for _, v := range all {
		s.Podmans[v.Name] = v.Labels[manifest.LabelApp]
	}
	return nil
}

// checkClosed requires that nothing on the node listens on the application's ports, by the
// kernel's word: one of UDP answers nobody, and a forwarder with nothing behind it is left, too.
func checkClosed(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	for _, c := range m.Containers {
		for _, p := range c.Ports {
			udp, name := p.Protocol == "udp", "tcp"
			if udp {
				name = "udp"
			}
			for _, l := range s.Listening {
				if l.Port == p.Host && l.UDP == udp && !l.outgoing() {
					wrong = append(wrong, fmt.Sprintf("something listens on port %d/%s still, at %s (%s)", p.Host, name, l.Address, cmp.Or(l.Program, "another user's")))
				}
			}
		}
	}
	return wrong
}

// checkLeftInEngine requires that no port of the proxy answers and no volume of Podman's
// has the application's label.
func checkLeftInEngine(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	for _, p := range slices.Sorted(maps.Keys(s.Proxied)) {
		if answer := s.Proxied[p]; answer != "" {
			wrong = append(wrong, fmt.Sprintf("the proxy's port %d is left: it answers %s", p+manifest.ProxyOffset, answer))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Podmans)) {
		if s.Podmans[name] == m.ID {
			wrong = append(wrong, fmt.Sprintf("volume %s is left in the engine", name))
		}
	}
	return wrong
}

// CheckVolumesGone requires that of Podman's own volumes which the application's
// containers had in earlier snapshots none is there. Their names are random, and their
// containers are all that tells whose they are.
func CheckVolumesGone(m *manifest.Manifest, earlier []*Snapshot, now *Snapshot) (wrong []string) {
	had := map[string]string{} // container, by volume
	for _, s := range earlier {
		for _, c := range s.Containers {
			if c.App != m.ID || c.running == nil {
				continue
			}
			for _, mount := range c.running.Mounts {
				if mount.Type == "volume" {
					had[mount.Name] = c.Name
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(had)) {
		if _, left := now.Podmans[name]; left {
			wrong = append(wrong, fmt.Sprintf("the anonymous volume %.12s of container %s is left", name, had[name]))
		}
	}
	return wrong
}
