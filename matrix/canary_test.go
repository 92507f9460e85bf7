package matrix

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// noSecrets is a daemon that has none to show.
type noSecrets struct {
	apiconnect.UnimplementedOrchestratorHandler
}

func (noSecrets) Credentials(context.Context, *connect.Request[api.CredentialsRequest]) (*connect.Response[api.CredentialsResponse], error) {
	return connect.NewResponse(&api.CredentialsResponse{}), nil
}

// shelf is an application that keeps values, with one thing wrong with it.
type shelf struct {
	wrong  string
	kept   map[string]bool
	latest string
	writes []string
}

func (a *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		b, _ := io.ReadAll(r.Body)
		a.writes = append(a.writes, string(b))
		if a.wrong == "replays" && len(a.kept) > 0 || a.wrong == "forgets" {
			return
		}
		a.kept[string(b)], a.latest = true, string(b)
		return
	}
	asked := r.URL.Query().Get("value")
	switch {
	case a.wrong == "echoes":
		io.WriteString(w, "nothing found for "+asked)
	case r.URL.Path == "/latest":
		io.WriteString(w, a.latest)
	case a.kept[asked]:
		io.WriteString(w, "here is "+asked)
	default:
		http.Error(w, "no "+asked, http.StatusNotFound)
	}
}

// TestACanaryIsNewAndProvesItself plants it twice, as a cycle does, and reads it back after
// each write.
func TestACanaryIsNewAndProvesItself(t *testing.T) {
	_, handler := apiconnect.NewOrchestratorHandler(noSecrets{})
	daemon := httptest.NewServer(handler)
	t.Cleanup(daemon.Close)
	for _, read := range []string{"/find?value={{canary}}", "/latest"} {
		for wrong, want := range map[string]string{
			"":        "",
			"echoes":  "which was never written, is found as well",
			"replays": "reading the canary back",
			"forgets": "reading the canary back",
		} {
			if read == "/latest" && wrong == "echoes" {
				continue // nothing is asked that could be repeated
			}
			app := &shelf{wrong: wrong, kept: map[string]bool{}}
			s, own := served(t, app)
			m := &manifest.Manifest{ID: "shelf", Containers: []manifest.Container{{Name: "shelf"}}}
			m.Interfaces = map[string]manifest.Interface{"web": {Port: "web"}}
			_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "https://"), ":")
			var host int
			for _, digit := range port {
				host = 10*host + int(digit-'0')
			}
			m.Containers[0].Ports = []manifest.Port{{Name: "web", Host: host - manifest.ProxyOffset}}
			m.Canary = &manifest.Canary{HTTP: &manifest.HTTPCanary{Interface: "web",
				Write: manifest.Request{Method: http.MethodPost, Path: "/", Body: "{{canary}}"}, Read: manifest.Request{Path: read}}}
			session := harness(t, boot, nil)
			session.Shard.Trusted, session.Daemon = own, client.New(daemon.URL, "", "")
			env, rec := &Environment{Session: session, App: m}, newRecorder(session.Shard, m.ID, "fake")
			planting := errors.Join(env.plantCanary(t.Context(), rec), env.plantCanary(t.Context(), rec))
			for doing, err := range map[string]error{"planting": planting, "reading": env.readCanary(t.Context(), rec)} {
				if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %s by %s: %v, expected %q", doing, wrong, read, err, want)
				}
			}
			if len(app.writes) != 2 || app.writes[0] == app.writes[1] {
				t.Errorf("written were %q", app.writes)
			}
		}
	}
}

// planter is a node on which files appear on a volume, as the shelf's values.
type planter struct{ shelf *shelf }

func (p planter) Stream(_ context.Context, command string, _ io.Reader, _ io.Writer) error {
	_, value, ok := strings.Cut(command, "podman unshare sh -c 'echo ")
	value, path, to := strings.Cut(value, " >"+nodes.DataDir+"/shelf/data/")
	if !ok || !to || !strings.HasPrefix(path, value+" ") {
		return errors.New("it plants something else: " + command)
	}
	p.shelf.kept[value] = true
	return nil
}

// TestAFileOnAVolumeIsReadThroughTheApplication has a file that is there, and applications
// that do with it what they may not.
func TestAFileOnAVolumeIsReadThroughTheApplication(t *testing.T) {
	for wrong, want := range map[string]string{"": "", "echoes": "which was never written, is found as well", "hides": "reading the canary back: GET /find?value=canary-"} {
		app := &shelf{wrong: wrong, kept: map[string]bool{}}
		s, own := served(t, app)
		shown := app
		if wrong == "hides" {
			shown = &shelf{kept: map[string]bool{}}
		}
		port, err := strconv.Atoi(s.URL[strings.LastIndex(s.URL, ":")+1:])
		if err != nil {
			t.Fatal(err)
		}
		m := &manifest.Manifest{ID: "shelf", Interfaces: map[string]manifest.Interface{"web": {Port: "web"}},
			Containers: []manifest.Container{{Name: "shelf", Ports: []manifest.Port{{Name: "web", Host: port - manifest.ProxyOffset}}}},
			Canary:     &manifest.Canary{Volume: &manifest.VolumeCanary{Name: "data", Served: &manifest.Served{Interface: "web", Path: "/find?value={{canary}}"}}}}
		u := &User{address: "127.0.0.1", trusted: own, shell: planter{shown}}
		canary := newCanary()
		if err := u.Write(t.Context(), m, canary); err != nil {
			t.Fatal(err)
		}
		if err := u.Read(t.Context(), m, canary); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", wrong, err, want)
		}
	}
}

// TestAnApplicationWithNothingToReachItByIsRed has one without a page or a handshake.
func TestAnApplicationWithNothingToReachItByIsRed(t *testing.T) {
	_, handler := apiconnect.NewOrchestratorHandler(noSecrets{})
	daemon := httptest.NewServer(handler)
	t.Cleanup(daemon.Close)
	session := harness(t, boot, nil)
	session.Daemon = client.New(daemon.URL, "", "")
	_, m := behind(t, func(c net.Conn) { io.WriteString(c, "+PONG") })
	for handshake, want := range map[*manifest.Handshake]string{nil: "there is nothing to reach it by", {Expect: "+PONG"}: ""} {
		m.Interfaces["raw"] = manifest.Interface{Port: "raw", Protocol: "tcp", Handshake: handshake}
		rec := newRecorder(session.Shard, "raw", "fake")
		session.Shard.Node.Address = "127.0.0.1"
		err := reach(t.Context(), &Environment{Session: session, App: m}, rec)
		if want == "" && (err != nil || rec.note != "no web page: the raw interface completed a handshake") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, note %q, expected %q", err, rec.note, want)
		}
	}
}

func TestACanaryThatNobodyPlantedIsNotRead(t *testing.T) {
	_, handler := apiconnect.NewOrchestratorHandler(noSecrets{})
	daemon := httptest.NewServer(handler)
	t.Cleanup(daemon.Close)
	session := harness(t, boot, nil)
	session.Daemon = client.New(daemon.URL, "", "")
	env := &Environment{Session: session, App: stack()}
	if err := env.readCanary(t.Context(), newRecorder(session.Shard, "pair", "fake")); err == nil {
		t.Error("it was found")
	}
}
