package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// devNode is a node with a shell: a daemon that offers the manifests of a directory once
// it was told to read them, and stand-ins for the programs that archy runs there.
type devNode struct {
	node
	dir string

	mu     sync.Mutex
	app    *api.App // what is installed; nil: nothing
	asked  []string
	broken bool // whether operations fail
}

// shims are the programs of the node. Everything is below NODE.
var shims = map[string]string{
	"ssh":       "for command; do :; done\nprintf '%s' \"$command\" | sed \"s#/var/lib/archipelago#$NODE/data#g\" > \"$NODE/command.$$\"\nHOME=$NODE/home exec sh \"$NODE/command.$$\"\n",
	"podman":    "echo \"podman $*\" >> \"$NODE/podman\"\ncase $1 in\nimage) grep -qx \"$3\" \"$NODE/images\" ;;\nbuild) [ ! -e \"$4/fails\" ] || { echo 'step 2 failed' >&2; exit 125; }; ls \"$4\" >> \"$NODE/podman\"; echo \"$3\" >> \"$NODE/images\" ;;\nrmi) grep -vx \"$3\" \"$NODE/images\" > \"$NODE/i\"; mv \"$NODE/i\" \"$NODE/images\" ;;\nesac\n",
	"systemctl": "rm -rf \"$NODE/offered\"\ncp -r \"$NODE/data/_daemon/catalog\" \"$NODE/offered\"\n",
}

func newDevNode(t *testing.T) *devNode {
	t.Helper()
	n := &devNode{dir: t.TempDir()}
	bin := filepath.Join(n.dir, "bin")
	for name, body := range shims {
		n.write(t, "bin/"+name, "#!/bin/sh\n"+body)
	}
	n.write(t, "home/.local/bin/archipelago", "#!/bin/sh\nfor file; do :; done\ngrep -q refuse-me \"$file\" && { echo 'archipelago: unknown field' >&2; exit 2; }\nprintf '%s\\n' '{\"app\":\"photos\",\"files\":{\"photos.container\":\"new\\n\",\"photos.network\":\"same\\n\"}}'\necho \"$@\" > \"$NODE/rendered\"\n")
	n.write(t, "home/.config/containers/systemd/photos.container", "old\n")
	n.write(t, "home/.config/containers/systemd/photos.network", "same\n")
	n.write(t, "images", "\n")
	n.write(t, "data/_daemon/catalog.digest", "mark\n")
	server := httptest.NewServer(handlerOf(n))
	t.Cleanup(server.Close)
	login, err := json.Marshal(credentials{Node: server.URL, Token: "sesame"})
	if err != nil {
		t.Fatal(err)
	}
	n.write(t, "config/archipelago/login.json", string(login))
	t.Setenv("NODE", n.dir)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(n.dir, "config"))
	return n
}

func (n *devNode) write(t *testing.T, name, body string) {
	t.Helper()
	file := filepath.Join(n.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(body), 0o755)); err != nil {
		t.Fatal(err)
	}
}

func (n *devNode) read(name string) string {
	b, err := os.ReadFile(filepath.Join(n.dir, name))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// said gives what was asked of the daemon since the last time.
func (n *devNode) said() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := strings.Join(n.asked, " ")
	n.asked = nil
	return out
}

func (n *devNode) GetApp(_ context.Context, r *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, err := manifest.ParseFile(filepath.Join(n.dir, "offered", r.Msg.Id, "manifest.yaml"))
	switch {
	case n.app != nil && err == nil:
		return connect.NewResponse(&api.App{Id: n.app.Id, Version: n.app.Version, State: n.app.State, Source: n.app.Source, AvailableVersion: m.Version, Containers: n.app.Containers}), nil
	case n.app != nil:
		return connect.NewResponse(n.app), nil
	case err == nil:
		return connect.NewResponse(&api.App{Id: m.ID, Version: m.Version, State: api.State_STATE_NOT_INSTALLED, Source: "disk", ProxyPort: 18080, WebPath: "/"}), nil
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("unknown app"))
}

func (n *devNode) take(verb, id string) (*connect.Response[api.Operation], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, verb)
	if verb == "uninstall" {
		n.app = nil
	} else if m, err := manifest.ParseFile(filepath.Join(n.dir, "offered", id, "manifest.yaml")); err != nil {
		return nil, connect.NewError(connect.CodeNotFound, err)
	} else {
		n.app = &api.App{Id: id, Version: m.Version, State: api.State_STATE_RUNNING, Source: "disk"}
	}
	return connect.NewResponse(&api.Operation{App: id, Generation: 1}), nil
}

func (n *devNode) Install(_ context.Context, r *connect.Request[api.InstallRequest]) (*connect.Response[api.Operation], error) {
	return n.take("install", r.Msg.Id)
}

func (n *devNode) Update(_ context.Context, r *connect.Request[api.UpdateRequest]) (*connect.Response[api.Operation], error) {
	return n.take("update", r.Msg.Id)
}

func (n *devNode) Uninstall(_ context.Context, r *connect.Request[api.UninstallRequest]) (*connect.Response[api.Operation], error) {
	if r.Msg.Purge {
		return nil, errors.New("data would be lost")
	}
	return n.take("uninstall", r.Msg.Id)
}

func (n *devNode) Watch(_ context.Context, _ *connect.Request[api.WatchRequest], stream *connect.ServerStream[api.Progress]) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &api.Progress{Done: true, AppSeconds: 0.5}
	if n.broken {
		p.Error = "photos was not healthy within 60s"
	}
	return stream.Send(p)
}

const photos = "apiVersion: archipelago/v1\nid: photos\nname: Photos\nversion: \"0.1.0\"\nsettings: [{name: cache, default: \"1\"}]\ncontainers: [{name: photos, image: {build: image}}]\n"

// session runs 'archy app dev' as a person would.
type devSession struct {
	t         *testing.T
	dir       string
	lines     *bufio.Scanner
	interrupt func()
	ended     chan error
}

func startDev(t *testing.T, dir string, flags ...string) *devSession {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	said, w := io.Pipe()
	root := Command()
	root.SetArgs(append([]string{"app", "dev", dir, "--ssh", "box"}, flags...))
	root.SetIn(strings.NewReader(""))
	root.SetOut(w)
	root.SetErr(w)
	s := &devSession{t: t, dir: dir, lines: bufio.NewScanner(said), interrupt: interrupt, ended: make(chan error, 1)}
	go func() {
		err := root.ExecuteContext(ctx)
		w.CloseWithError(io.EOF)
		s.ended <- err
	}()
	late := time.AfterFunc(time.Minute, func() { said.CloseWithError(context.DeadlineExceeded) })
	t.Cleanup(func() { late.Stop() })
	return s
}

// until reads on until these words are said, one line after the other.
func (s *devSession) until(what ...string) {
	s.t.Helper()
	var seen strings.Builder
	for s.lines.Scan() {
		seen.WriteString(s.lines.Text() + "\n")
		if strings.Contains(s.lines.Text(), what[0]) {
			if what = what[1:]; len(what) == 0 {
				return
			}
		}
	}
	s.t.Fatalf("%q was not said (%v):\n%s", what, s.lines.Err(), &seen)
}

// end waits for the end, and gives what was still said.
func (s *devSession) end() (rest string, err error) {
	for s.lines.Scan() {
		rest += s.lines.Text() + "\n"
	}
	s.interrupt() // where it did not end by itself in time
	return rest, <-s.ended
}

func (s *devSession) save(name, body string) {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(body), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

func photosIn(t *testing.T) string {
	s := &devSession{t: t, dir: filepath.Join(t.TempDir(), "photos")}
	s.save("manifest.yaml", photos)
	s.save("image/Containerfile", "FROM scratch\n")
	return s.dir
}

// TestDevelopment goes through an afternoon with 'archy app dev'.
func TestDevelopment(t *testing.T) {
	n := newDevNode(t)
	n.write(t, "data/_daemon/catalog/photos/manifest.yaml", "what was there before\n")
	s := startDev(t, photosIn(t))
	s.until("building the image of photos", "on its way to the node", "its own start  https://127.0.0.1:18080/", "watching for changes")
	if got := n.said(); got != "install" {
		t.Errorf("asked: %s", got)
	}
	if podman := n.read("podman"); !regexp.MustCompile(`^podman image exists localhost/photos/photos:local\npodman build --tag localhost/photos/photos:local /\S+\nContainerfile\n$`).MatchString(podman) {
		t.Errorf("podman: %s", podman)
	}
	brought, err := manifest.ParseFile(n.dir + "/offered/photos/manifest.yaml")
	if err != nil || !regexp.MustCompile(`^0\.1\.0\+dev\.\d{14}\.\d{3}$`).MatchString(brought.Version) {
		t.Fatalf("the node has %v, %v", brought, err)
	}
	if _, err := os.Stat(n.dir + "/data/_daemon/catalog.digest"); err == nil {
		t.Error("the mark of the last deployment is still there")
	}

	s.save("manifest.yaml", strings.Replace(photos, `"0.1.0"`, "0.1", 1))
	s.until(`quote it: version: "0.1"`, "stays on the node as it was", "watching")
	s.save("manifest.yaml", strings.ReplaceAll(photos, "photos", "fotos"))
	s.until("the id is now fotos", "watching")
	s.save("manifest.yaml", strings.Replace(photos, "Photos", "refuse-me", 1))
	s.until("on the node, by ssh: exit status 2: archipelago: unknown field", "watching")
	if m, err := manifest.ParseFile(n.dir + "/data/_daemon/catalog/photos/manifest.yaml"); err != nil || m.Version != brought.Version || n.said() != "" {
		t.Errorf("after three mistakes the node has %v, %v", m, err)
	}
	if left, _ := filepath.Glob(n.dir + "/data/_daemon/catalog/photos/*.new"); len(left) > 0 {
		t.Errorf("left there: %v", left)
	}

	s.save("manifest.yaml", photos)
	s.until("is up after", "watching")
	n.said()

	builds := strings.Count(n.read("podman"), "podman build")
	s.save("manifest.yaml", strings.Replace(photos, "0.1.0", "0.2.0", 1))
	s.until("photos 0.2.0+dev.", "is up after", "watching")
	if got := n.said(); got != "update" || strings.Count(n.read("podman"), "podman build") != builds {
		t.Errorf("a changed manifest: %s; %s", got, n.read("podman"))
	}
	s.save("image/fails", "")
	s.until("building the image of photos on the node", "step 2 failed", "building the image of photos: on the node, by ssh: exit status 125", "watching")
	if err := os.Remove(s.dir + "/image/fails"); err != nil {
		t.Fatal(err)
	}
	s.until("is up after", "watching")
	s.save("image/serve", "#!/bin/sh\n")
	s.until("building the image of photos on the node", "is up after", "watching")
	if got := n.said(); got != "update update" {
		t.Errorf("a changed image: %s", got)
	}
	n.mu.Lock()
	n.broken = true
	n.mu.Unlock()
	s.save("image/serve", "#!/bin/false\n")
	s.until("photos was not healthy within 60s", "watching")
	n.mu.Lock()
	n.broken = false
	n.mu.Unlock()

	n.said()
	s.interrupt()
	if rest, err := s.end(); err != nil || !strings.Contains(rest, "uninstalling photos; its data stays") {
		t.Errorf("%v: %s", err, rest)
	}
	if got := n.said(); got != "uninstall" {
		t.Errorf("at the end: %s", got)
	}
	if got := n.read("offered/photos/manifest.yaml"); got != "what was there before\n" {
		t.Errorf("the manifest of before is now %s", got)
	}
	if images := strings.TrimSpace(n.read("images")); images != "" {
		t.Errorf("images left: %s", images)
	}
}

func TestDevelopmentLeavesNothingWhereNothingWas(t *testing.T) {
	n := newDevNode(t)
	s := startDev(t, photosIn(t), "--json")
	s.until(`"app":"photos","version":"0.1.0+dev.`)
	s.until("watching")
	s.interrupt()
	if _, err := s.end(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(n.dir + "/data/_daemon/catalog"); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	n.said()
	s = startDev(t, photosIn(t), "--keep")
	s.until("is up after", "watching")
	s.interrupt()
	if rest, err := s.end(); err != nil || !strings.Contains(rest, "'archy uninstall photos' removes it") || n.said() != "install" {
		t.Errorf("%v: %s", err, rest)
	}
	// What was kept, or left by a command that was killed, is taken up again.
	s = startDev(t, photosIn(t))
	s.until("is up after", "watching")
	s.interrupt()
	if _, err := s.end(); err != nil || n.said() != "update uninstall" {
		t.Error(err)
	}
}

// TestDevelopmentTakesNothingThatIsNotItsOwn: the node stays as it is.
func TestDevelopmentTakesNothingThatIsNotItsOwn(t *testing.T) {
	running := func(source string) *api.App {
		return &api.App{Id: "photos", Version: "1.4", State: api.State_STATE_RUNNING, Source: source}
	}
	for name, c := range map[string]struct {
		app   *api.App
		image string
		flags []string
		want  string
	}{
		"the signed catalog's":                 {app: running("catalog beta 7"), want: "photos 1.4 is the signed catalog's on this node, which is never replaced"},
		"the signed catalog's, all the same":   {app: running("catalog beta 7"), flags: []string{"--take"}, want: "which is never replaced"},
		"offered by the signed catalog":        {app: &api.App{Id: "photos", Version: "1.4", State: api.State_STATE_NOT_INSTALLED, Source: "catalog beta 7"}, want: "which is never replaced"},
		"its image alone the signed catalog's": {app: running("disk, image by catalog beta 7"), want: "which is never replaced"},
		"installed from the disk":              {app: running("disk"), want: "photos 1.4 is installed on this node, and not by this command: --take"},
		"an image of the owner's":              {image: "localhost/photos/photos:local", want: "the node has an image localhost/photos/photos:local, which takes the place of the application's: --take"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newDevNode(t)
			n.app = c.app
			n.write(t, "images", c.image+"\n")
			_, err := startDev(t, photosIn(t), c.flags...).end()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, expected %q", err, c.want)
			}
			if left, err := os.ReadDir(n.dir + "/data/_daemon"); err != nil || len(left) != 1 || n.said() != "" || n.read("images") != c.image+"\n" || strings.Contains(n.read("podman"), "build") {
				t.Errorf("the node was changed: %v, %s", left, n.read("podman"))
			}
		})
	}
	n := newDevNode(t)
	n.app = running("disk")
	s := startDev(t, photosIn(t), "--take")
	s.until("is up after", "watching")
	s.interrupt()
	if rest, err := s.end(); err != nil || !strings.Contains(rest, "stays installed as it is") || n.said() != "update" {
		t.Errorf("what was taken is not uninstalled: %v: %s", err, rest)
	}
}

func TestDevelopmentSaysWhatStandsInItsWay(t *testing.T) {
	n := newDevNode(t)
	if _, err := startDev(t, filepath.Join(t.TempDir(), "none")).end(); err == nil || !strings.Contains(err.Error(), "none: no such file") {
		t.Errorf("no directory: %v", err)
	}
	m, err := manifest.Parse("m", []byte(photos))
	if err != nil {
		t.Fatal(err)
	}
	d := &development{patience: taken, client: client.New("http://127.0.0.1:1", "", "")}
	if _, err := d.offered(t.Context(), m); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a daemon that is away: %v", err)
	}
	c, err := (&app{}).client()
	if err != nil {
		t.Fatal(err)
	}
	d = &development{client: c, patience: glance}
	if _, err := d.offered(t.Context(), m); err == nil || !strings.Contains(err.Error(), "the daemon does not offer 0.1.0 after 100ms; 'journalctl --user -u archipelago'") {
		t.Errorf("a daemon that reads nothing again: %v", err)
	}
	n.write(t, "config/archipelago/login.json", `{"node":"https://192.0.2.7:7443"}`)
	n.write(t, "bin/gate", "")
	for node, want := range map[string]reach{
		"https://192.0.2.7:7443":   {n.dir + "/bin/ssh", "archipelago@192.0.2.7", "--"},
		"https://[2001:db8::7]":    {n.dir + "/bin/ssh", "archipelago@2001:db8::7", "--"},
		"https://127.0.0.228:7443": {n.dir + "/bin/gate", "lab", "ssh", ".228"},
		"https://127.0.0.1:7443":   {n.dir + "/bin/ssh", "archipelago@127.0.0.1", "--"},
		"http://127.0.0.1:7070":    {"sh", "-c"},
	} {
		if way, err := (&app{node: node}).reach(""); err != nil || !slices.Equal(way, want) {
			t.Errorf("%s: %q, %v", node, way, err)
		}
	}
	if way := (reach{"/usr/bin/ssh", "box", "--"}).terminal(); !slices.Equal(way, reach{"/usr/bin/ssh", "-t", "box", "--"}) {
		t.Errorf("at a terminal: %q", way)
	}
	t.Setenv("PATH", t.TempDir())
	for node, want := range map[string]string{
		"https://192.0.2.7:7443":   "OpenSSH's client is not installed",
		"https://127.0.0.228:7443": "https://127.0.0.228:7443 is a node of the lab: the program gate is neither",
	} {
		if _, err := (&app{node: node}).reach(""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", node, err)
		}
	}
}

// TestWhatANodeAnswersIsBounded has a node say more than anybody asked for.
func TestWhatANodeAnswersIsBounded(t *testing.T) {
	out, err := reach{"sh", "-c"}.run(t.Context(), fmt.Sprintf("head -c %d /dev/zero", maxAnswer+1000), nil, io.Discard)
	if err != nil || len(out) != maxAnswer {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func TestWhatANodeWouldChange(t *testing.T) {
	n := newDevNode(t)
	n.app = &api.App{Id: "photos", Version: "1", State: api.State_STATE_RUNNING, Source: "disk", Config: map[string]string{"cache": "1,2=3"}, Containers: []*api.Container{{Name: "photos-gone"}}}
	n.write(t, "home/.config/containers/systemd/photos-gone.container", "gone\n")
	diff := func(flags ...string) string {
		root := Command()
		var out strings.Builder
		root.SetArgs(append([]string{"app", "render", photosIn(t), "--diff", "node", "--ssh", "box"}, flags...))
		root.SetOut(&out)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	got := diff()
	for _, want := range []string{"# photos.container\n", "-old\n+new\n", "# photos-gone.container\n", "-gone\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "photos.network") || !strings.Contains(n.read("rendered"), `--setting "cache=1,2=3"`) {
		t.Errorf("%s\n%s", got, n.read("rendered"))
	}
	if diff("--set", "cache=7"); !strings.Contains(n.read("rendered"), `--setting "cache=7"`) {
		t.Error(n.read("rendered"))
	}
}

// TestTheStepsAreTheGates compares the names that are completed with the gate's own.
func TestTheStepsAreTheGates(t *testing.T) {
	b, err := os.ReadFile("../../matrix/step.go")
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, m := range regexp.MustCompile(`(?m)^\t[A-Z]\w+ += "([a-z-]+)"$`).FindAllSubmatch(b, -1) {
		steps = append(steps, string(m[1]))
	}
	if !slices.Equal(slices.Sorted(slices.Values(steps)), slices.Sorted(slices.Values(steplist))) {
		t.Errorf("the gate's steps are %q, and completed are %q", steps, steplist)
	}
}

func TestABuildDirectoryIsNoLink(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(dir, "image")); err != nil {
		t.Fatal(err)
	}
	d := &development{file: filepath.Join(dir, "manifest.yaml"), built: map[string]string{}}
	m := &manifest.Manifest{ID: "a", Containers: []manifest.Container{{Name: "a", Image: manifest.Image{Build: "image"}}}}
	if err := d.build(t.Context(), m); err == nil || !strings.Contains(err.Error(), "the image of a: "+filepath.Join(dir, "image")+" leads to ") {
		t.Errorf("a link is built: %v", err)
	}
}
