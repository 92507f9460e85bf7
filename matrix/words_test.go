package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// truthful is what a daemon says of healthy.
func truthful() *api.App {
	return &api.App{Id: "pair", Version: "1", State: api.State_STATE_RUNNING, Containers: []*api.Container{
		{Name: "pair-db", Id: "1", State: "running", Health: "healthy"}, {Name: "pair", Id: "2", State: "running"}}}
}

// gone is what a daemon says of what has no containers.
func gone(state api.State) *api.App {
	return &api.App{Id: "pair", Version: "1", State: state, Containers: []*api.Container{{Name: "pair-db"}, {Name: "pair"}}}
}

func TestWordsAreHeldAgainstASnapshot(t *testing.T) {
	m := stack()
	edited := func(edit func(*api.App)) *api.App { a := truthful(); edit(a); return a }
	changed := func(edit func(*Snapshot)) *Snapshot { s := healthy(); edit(s); return s }
	is := func(s api.State) *api.App { return edited(func(a *api.App) { a.State = s }) }
	half := changed(func(s *Snapshot) { s.Containers[1].State = "exited" })
	halfSaid := func(s api.State) *api.App {
		return edited(func(a *api.App) { a.State, a.Containers[1].State = s, "stopped" })
	}
	ill := changed(func(s *Snapshot) { s.Containers[0].Health = "unhealthy" })
	illSaid := func(s api.State) *api.App {
		return edited(func(a *api.App) { a.State, a.Containers[0].Health = s, "unhealthy" })
	}
	busy := func() *Snapshot {
		s := stopped()
		s.Units["pair-db.service"] = UnitSeen{"loaded", "activating", "start", false}
		return s
	}
	for _, c := range []struct {
		name  string
		s     *Snapshot
		said  *api.App
		first bool
		want  string // empty: the truth
	}{
		{"running", healthy(), truthful(), false, ""},
		{"waiting for what it requires", healthy(), is(api.State_STATE_WAITING), false, ""},
		{"stopped", stopped(), gone(api.State_STATE_STOPPED), false, ""},
		{"stopped with what it requires", stopped(), gone(api.State_STATE_WAITING), false, ""},
		{"given up", stopped(), gone(api.State_STATE_FAILED), false, ""},
		{"not installed", absent(), gone(api.State_STATE_NOT_INSTALLED), false, ""},
		{"half of it", half, halfSaid(api.State_STATE_STARTING), false, ""},
		{"half of it, ending", half, halfSaid(api.State_STATE_STOPPING), false, ""},
		{"unhealthy", ill, illSaid(api.State_STATE_UNHEALTHY), false, ""},
		{"starting", busy(), gone(api.State_STATE_STARTING), false, ""},
		{"failed in an earlier cell", healthy(), is(api.State_STATE_FAILED), true, ""},
		{"failed in an earlier cell, and gone", absent(), gone(api.State_STATE_FAILED), true, ""},

		{"says running of what is stopped", stopped(), gone(api.State_STATE_RUNNING), false, `ListApps: the daemon says "running" of pair, and it is installed and does not run`},
		{"says starting of what is stopped", stopped(), gone(api.State_STATE_STARTING), false, `says "starting"`},
		{"says not installed of what is stopped", stopped(), gone(api.State_STATE_NOT_INSTALLED), false, `says "not installed"`},
		{"says stopped of what runs", healthy(), is(api.State_STATE_STOPPED), false, `says "stopped" of pair, and it runs`},
		{"says failed of what runs", healthy(), is(api.State_STATE_FAILED), false, `says "failed"`},
		{"says starting of what runs", healthy(), is(api.State_STATE_STARTING), false, `says "starting"`},
		{"says running of what is not there", absent(), gone(api.State_STATE_RUNNING), true, `says "running" of pair, and there is nothing of it`},
		{"says removing of what is not there", absent(), gone(api.State_STATE_REMOVING), false, `says "removing"`},
		{"says failed of what is not there", absent(), gone(api.State_STATE_FAILED), false, `says "failed"`},
		{"says running of half", half, halfSaid(api.State_STATE_RUNNING), false, `says "running" of pair, and 1 of its 2 containers run`},
		{"says stopped of half", half, halfSaid(api.State_STATE_STOPPED), false, `says "stopped"`},
		{"says running of what is unhealthy", ill, illSaid(api.State_STATE_RUNNING), false, `says "running" of pair, and it runs without being healthy`},
		{"says running of what starts", busy(), gone(api.State_STATE_RUNNING), false, `and none of its containers runs`},
		{"hides it", healthy(), nil, false, "ListApps: the daemon does not list pair"},
		{"no state", healthy(), is(api.State_STATE_UNSPECIFIED), false, "without a state"},
		{"another version", healthy(), edited(func(a *api.App) { a.Version = "2" }), false, "says that pair has version 2, and it has 1"},
		{"another container", healthy(), edited(func(a *api.App) { a.Containers[0].Id = "9" }), false, "container pair-db is 9, running and healthy, and it is 1, running and healthy"},
		{"a container that ended", healthy(), edited(func(a *api.App) { a.Containers[1].State = "exited" }), false, "container pair is 2, not running, and it is 2, running"},
		{"another health", healthy(), edited(func(a *api.App) { a.Containers[0].Health = "starting" }), false, "running and starting"},
		{"a container less", healthy(), edited(func(a *api.App) { a.Containers = a.Containers[:1] }), false, "container pair is not there, and it is 2, running"},
		{"a container that no manifest has", healthy(), edited(func(a *api.App) {
			a.Containers = append(a.Containers, &api.Container{Name: "ghost", Id: "9", State: "running"})
		}), false, "names a container ghost, which pair does not have"},
		{"a container that is not there", stopped(), func() *api.App { a := truthful(); a.State = api.State_STATE_STOPPED; return a }(), false, "container pair is 2, running, and it is not there"},
	} {
		wrong := checkWords(m, c.s, []saying{sayingOf("ListApps", c.said, nil)}, c.first)
		if c.want == "" && len(wrong) > 0 || c.want != "" && !strings.Contains(strings.Join(wrong, "; "), c.want) {
			t.Errorf("%s: %q, expected %q", c.name, wrong, c.want)
		}
	}
}

// blinking cannot look so many times; if fewer than none, ever after.
func blinking(n int) func() (*Snapshot, error) {
	looks := 0
	return func() (*Snapshot, error) {
		if looks++; n > 0 && looks <= n || n < 0 && looks > -n {
			return nil, ErrIncomplete
		}
		return healthy(), nil
	}
}

// TestOnlyWhatStaysWrongIsALie has a daemon lag behind what is seen, and what is seen change
// before it is compared.
func TestOnlyWhatStaysWrongIsALie(t *testing.T) {
	running, down := []saying{sayingOf("ListApps", truthful(), nil)}, []saying{sayingOf("ListApps", gone(api.State_STATE_STOPPED), nil)}
	silent := []saying{{where: "ListApps", err: errors.New("connection refused")}}
	for _, c := range []struct {
		name        string
		first, then []saying
		after       time.Duration
		look        func() (*Snapshot, error)
		want        string
		took        time.Duration // at most
	}{
		{"the truth", running, running, 0, nil, "", 0},
		{"it lags behind", down, running, 20 * time.Second, func() (*Snapshot, error) { return healthy(), nil }, "", 21 * time.Second},
		{"it is being restarted", silent, running, 20 * time.Second, func() (*Snapshot, error) { return healthy(), nil }, "", 21 * time.Second},
		{"it has stopped since", down, down, 0, func() (*Snapshot, error) { return stopped(), nil }, "", wordLag + time.Second},
		{"it lies", down, down, 0, func() (*Snapshot, error) { return healthy(), nil }, `says "stopped" of pair`, passTimeout + time.Second},
		{"it says nothing", silent, silent, 0, func() (*Snapshot, error) { return healthy(), nil }, "connection refused", passTimeout + time.Second},
		{"nobody sees", down, down, 0, func() (*Snapshot, error) { return nil, ErrIncomplete }, "", passTimeout + time.Second},
		{"nobody sees, and it comes to speak the truth", down, running, 20 * time.Second, blinking(5), "", 21 * time.Second},
		{"it lies, and nobody sees in the end", down, down, 0, blinking(-3), "", passTimeout + time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				wrong, unseen := lies(t.Context(), healthy(), c.look, func(s *Snapshot) []string {
					said := c.then
					if time.Since(begin) < c.after || c.after == 0 {
						said = c.first
					}
					return checkWords(stack(), s, said, false)
				})
				if c.want == "" && len(wrong) > 0 || !strings.Contains(strings.Join(wrong, "; "), c.want) {
					t.Errorf("%q, expected %q", wrong, c.want)
				}
				if blind := strings.Contains(c.name, "nobody sees") && c.after == 0; blind != errors.Is(unseen, ErrIncomplete) || blind != (unseen != nil) {
					t.Errorf("of what could not be seen: %v", unseen)
				}
				if took := time.Since(begin); took > c.took {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestALieIsRedWhereTheApplicationIsFine has an invariant of the words.
func TestALieIsRedWhereTheApplicationIsFine(t *testing.T) {
	s := healthy()
	s.lies = []string{"metrics: the daemon does not list pair"}
	g := harness(t, boot, nil).group(Step{Name: "fake", Run: held(s)}, stack())
	g.perform(t.Context())
	if _, err := g.conclude(t.Context(), 0); err == nil || broken(err) || !strings.Contains(err.Error(), "invariant: metrics: the daemon does not list pair") {
		t.Error(err)
	}
}

// speaker is a daemon that says what it is told to.
type speaker struct {
	apiconnect.UnimplementedOrchestratorHandler
	list, one   *api.App
	card, gauge string
	own         string // its own page; empty: there is none
	signIns     int
	signedOut   bool
}

func (s *speaker) ListApps(context.Context, *connect.Request[api.ListAppsRequest]) (*connect.Response[api.ListAppsResponse], error) {
	r := &api.ListAppsResponse{Apps: []*api.App{{Id: "other", State: api.State_STATE_STOPPED}}}
	if s.list != nil {
		r.Apps = append(r.Apps, s.list)
	}
	return connect.NewResponse(r), nil
}

func (s *speaker) GetApp(_ context.Context, r *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	if s.one == nil {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("unknown application"))
	}
	return connect.NewResponse(s.one), nil
}

func (s *speaker) serve(t *testing.T) *Listener {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewOrchestratorHandler(s))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("token") != "sesame" || r.Header.Get("Origin") != "http://"+r.Host {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.signIns++
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("POST /logout", func(_ http.ResponseWriter, r *http.Request) {
		_, err := r.Cookie("session")
		s.signedOut = err == nil
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("session"); err != nil {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		fmt.Fprintf(w, "<article class=\"app\" id=\"app-other\" data-state=\"stopped\">\n<span class=\"state stopped\">stopped</span></article>\n%s", s.card)
	})
	mux.HandleFunc("GET /apps/pair", func(w http.ResponseWriter, r *http.Request) {
		if s.own == "" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, s.own)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, "# HELP archipelago_app_state 1 for the state\n# TYPE archipelago_app_state gauge\narchipelago_app_state{app=\"other\",state=\"stopped\",version=\"1\"} 1\n%sarchipelago_observation_age_seconds 0.5\n", s.gauge)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	l := NewListener(client.New(server.URL, "sesame", ""), server.URL, "sesame", nodes.Authority{}, "")
	t.Cleanup(l.Close)
	return l
}

const (
	card  = "<article class=\"app\" id=\"app-pair\" data-state=\"running\">\n<h2>Pair</h2>\n<span class=\"state running\">running</span>\n</article>\n"
	gauge = "archipelago_app_state{app=\"pair\",state=\"running\",version=\"1\"} 1\n"
)

// TestTheDaemonIsHeardEverywhere plants a lie in each place where the daemon says something.
func TestTheDaemonIsHeardEverywhere(t *testing.T) {
	lying := truthful()
	lying.State = api.State_STATE_STOPPED
	for _, c := range []struct {
		name  string
		plant func(*speaker)
		want  string
	}{
		{"nothing", func(*speaker) {}, ""},
		{"the list lies", func(s *speaker) { s.list = lying }, `ListApps: the daemon says "stopped" of pair`},
		{"the list hides it", func(s *speaker) { s.list = nil }, "ListApps: the daemon does not list pair"},
		{"the single answer lies", func(s *speaker) { s.one = lying }, `GetApp: the daemon says "stopped" of pair`},
		{"the single answer hides it", func(s *speaker) { s.one = nil }, "GetApp: the daemon does not list pair"},
		{"the page lies", func(s *speaker) { s.card = strings.ReplaceAll(card, "running", "stopped") }, `My Apps: the daemon says "stopped" of pair`},
		{"the page hides it", func(s *speaker) { s.card = "" }, "My Apps: the daemon does not list pair"},
		{"the page hides it, and its own page does not", func(s *speaker) { s.card, s.own = "", card }, `its own page says "running", and the first page does not list it`},
		{"it is said not to be installed", func(s *speaker) { s.card, s.own = "", strings.ReplaceAll(card, "running", "not installed") }, `My Apps: the daemon says "not installed" of pair`},
		{"the page shows it twice", func(s *speaker) { s.card = card + card }, "it has 2 cards of pair"},
		{"the page reads otherwise", func(s *speaker) { s.card = strings.Replace(card, ">running<", ">stopped<", 1) }, `has the state "running", and reads otherwise`},
		{"the metrics lie", func(s *speaker) { s.gauge = strings.Replace(gauge, "running", "stopped", 1) }, `metrics: the daemon says "stopped" of pair`},
		{"the metrics hide it", func(s *speaker) { s.gauge = "" }, "metrics: the daemon does not list pair"},
		{"the metrics have it twice", func(s *speaker) { s.gauge = gauge + strings.Replace(gauge, "running", "stopped", 1) }, "is not 1 for one state"},
		{"the metrics have another version", func(s *speaker) { s.gauge = strings.Replace(gauge, `"1"`, `"2"`, 1) }, "metrics: the daemon says that pair has version 2"},
	} {
		s := &speaker{list: truthful(), one: truthful(), card: card, gauge: gauge}
		c.plant(s)
		l := s.serve(t)
		var wrong []string
		for range 2 {
			wrong, _ = l.Check(t.Context(), stack(), healthy(), false)
		}
		if text := strings.Join(wrong, "; "); (c.want == "") != (text == "") || !strings.Contains(text, c.want) || len(wrong) > 1 {
			t.Errorf("%s: %q, expected %q", c.name, wrong, c.want)
		}
		if l.Close(); s.signIns != 1 || !s.signedOut {
			t.Errorf("%s: signed in %d times, signed out: %v", c.name, s.signIns, s.signedOut)
		}
	}
}

// TestArchyIsHeardUntilAllAgree has a program stand for archy that prints what it is told.
func TestArchyIsHeardUntilAllAgree(t *testing.T) {
	s := &speaker{list: truthful(), one: truthful(), card: card, gauge: gauge}
	l := s.serve(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "archy")
	l.archy = file
	prints := func(text string) {
		t.Helper()
		script := "#!/bin/sh\n[ \"$1\" != login ] || { read -r token; echo \"$token\" >" + dir + "/token; exit; }\ncat <<'END'\n" + text + "\nEND\n"
		if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	check := func() string {
		wrong, _ := l.Check(t.Context(), stack(), healthy(), false)
		return strings.Join(wrong, "; ")
	}
	prints("no JSON")
	if wrong := check(); !strings.Contains(wrong, "archy apps --json: the daemon gives no answer") {
		t.Errorf("%q", wrong)
	}
	prints(`{"apps": [{"id": "pair", "version": "1", "state": "stopped"}]}`)
	for range 2 { // a lie is not forgotten
		if wrong := check(); !strings.Contains(wrong, `archy apps --json: the daemon says "stopped" of pair`) {
			t.Errorf("%q", wrong)
		}
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil || string(token) != "sesame\n" {
		t.Errorf("archy signed in with %q, %v", token, err)
	}
	prints(`{"apps": [{"id": "pair", "version": "1", "state": "running", "containers": [{"name": "pair-db", "id": "1", "state": "running", "health": "healthy"}, {"name": "pair", "id": "2", "state": "running"}]}]}`)
	if wrong := check(); wrong != "" {
		t.Errorf("%q", wrong)
	}
	prints("no JSON")
	if wrong := check(); wrong != "" {
		t.Errorf("it is asked again: %q", wrong)
	}
}

// TestEveryWordIsKnown wants the words of this package to be those of the RPC.
func TestEveryWordIsKnown(t *testing.T) {
	var words []string
	for v := range api.State_name {
		words = append(words, stateWord(api.State(v)))
	}
	for _, w := range []string{wordRunning, wordUnhealthy, wordWaiting, wordStopped, wordFailed, wordNotInstalled} {
		if !slices.Contains(words, w) {
			t.Errorf("%q is no state", w)
		}
	}
	if m := (&manifest.Manifest{}); len(checkWords(m, &Snapshot{}, nil, false)) > 0 {
		t.Error("nothing said is nothing wrong")
	}
}
