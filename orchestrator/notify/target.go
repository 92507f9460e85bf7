package notify

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const mostTargets = 20

// ErrUnknown is wrapped where no target has a name.
var ErrUnknown = errors.New("no target is named")

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// ShownName is a target's name where it is repeated or logged. What cannot be one is left out: it
// may be an address, with its password, in the wrong place.
func ShownName(name string) string {
	if !nameForm.MatchString(name) {
		return "…"
	}
	return name
}

func unknown(name string) error {
	return fmt.Errorf("%w %q; 'archy notify list' lists them", ErrUnknown, ShownName(name))
}

// Target is where notices go.
type Target struct {
	Name    string
	Address string // without what is secret of it
	Standing
}

// target is one as it is on disk.
type target struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// store keeps the targets.
type store struct {
	file string
	mu   sync.Mutex
}

// read gives all of them. The caller holds mu.
func (s *store) read() ([]target, error) {
	js, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var k struct {
		Format  int      `json:"format"`
		Targets []target `json:"targets"`
	}
	if err == nil {
		if json.Unmarshal(js, &k) != nil { // whose error would repeat what is secret
			err = errors.New("it is damaged")
		} else if k.Format != format {
			err = fmt.Errorf("it is of format %d, which this daemon does not know", k.Format)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("where notices go cannot be read, so none go out: %s: %w; remove the file, and add the targets again", s.file, err)
	}
	return k.Targets, nil
}

// change replaces them.
func (s *store) change(by func([]target) ([]target, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.read()
	if err == nil {
		all, err = by(all)
	}
	if err != nil {
		return err
	}
	js, err := json.Marshal(map[string]any{"format": format, "targets": all})
	if err != nil {
		return err
	}
	return write(s.file, js)
}

func (s *store) all() ([]target, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read()
}

// Secrets are what of the targets' addresses may be secret, by the target; several of one a line
// each. Where the targets cannot be read there are none: then nothing has their addresses.
func (n *Notifier) Secrets() map[string]string {
	all, err := n.targets.all()
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for _, t := range all {
		parts := []string{t.Address}
		if u, err := url.Parse(t.Address); err == nil {
			password, _ := u.User.Password()
			parts = append(parts, password, u.User.Username(), strings.Trim(u.Path, "/"))
			for _, values := range u.Query() {
				parts = append(parts, values...)
			}
		}
		out[t.Name] = strings.Join(parts, "\n")
	}
	return out
}

func (s *store) names() (names []string, err error) {
	all, err := s.all()
	for _, t := range all {
		names = append(names, t.Name)
	}
	return names, err
}

// get gives the way to a target.
func (s *store) get(name string) (way, error) {
	all, err := s.all()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(t target) bool { return t.Name == name })
	if i < 0 {
		return nil, unknown(name)
	}
	return parse(all[i].Address)
}

// Targets gives where notices go, and how that goes.
func (n *Notifier) Targets() (out []Target, err error) {
	all, err := n.targets.all()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range all {
		one := Target{Name: t.Name, Standing: n.post.standing(t.Name)}
		if w, err := parse(t.Address); err == nil {
			one.Address = w.shown()
		} else {
			one.Problem = err.Error()
		}
		out = append(out, one)
	}
	return out, err
}

// Add has notices go to an address, under a name. What holds already is not sent there.
func (n *Notifier) Add(name, address string) (Target, error) {
	if !nameForm.MatchString(name) {
		return Target{}, refused("a target's name has up to 40 lower-case letters, digits and hyphens, such as phone")
	}
	w, err := parse(strings.TrimSpace(address))
	if err != nil {
		return Target{}, err
	}
	err = n.targets.change(func(all []target) ([]target, error) {
		switch {
		case slices.ContainsFunc(all, func(t target) bool { return t.Name == name }):
			return nil, refused("there is a target %s already; remove it, or choose another name", name)
		case len(all) >= mostTargets:
			return nil, refused("there are %d targets already; remove one", len(all))
		}
		return append(all, target{name, strings.TrimSpace(address)}), nil
	})
	if err != nil {
		return Target{}, err
	}
	n.source.Changed()
	return Target{Name: name, Address: w.shown()}, nil
}

// Remove has no more notices go to a target, nor those that wait for it.
func (n *Notifier) Remove(name string) error {
	var left []string
	err := n.targets.change(func(all []target) ([]target, error) {
		i := slices.IndexFunc(all, func(t target) bool { return t.Name == name })
		if i < 0 {
			return nil, unknown(name)
		}
		all = slices.Delete(all, i, i+1)
		for _, t := range all {
			left = append(left, t.Name)
		}
		return all, nil
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.post.forget(left)
	n.save()
	n.mu.Unlock()
	n.source.Changed()
	return nil
}

// Test sends a message to a target now, and tells whether it was taken.
func (n *Notifier) Test(ctx context.Context, name string) error {
	now := time.Now()
	m := message{ID: rand.Text(), Target: name, Title: n.node + ": a test", Made: now, Body: "Notices of this node arrive here. Nothing wants your attention now."}
	if holds := n.Notices(); len(holds) > 0 {
		m.Body = fmt.Sprintf("Notices of this node arrive here. %d things want your attention now; its pages say which.", len(holds))
		if len(holds) == 1 {
			m.Body = "Notices of this node arrive here. One thing wants your attention now: " + holds[0].Subject + " " + holds[0].What + "."
		}
	}
	err := n.to(ctx, name, m)
	if errors.Is(err, ErrUnknown) {
		return err
	}
	n.mu.Lock()
	n.post.noted(name, err, time.Now())
	n.save()
	n.mu.Unlock()
	n.source.Changed()
	return err
}
