package matrix

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// edit is a change of one file of the fixture.
type edit struct{ file, old, by string }

const (
	db  = "pair-db.json"
	web = "pair.json"
)

// said is something that a manifest can say of a container beyond what stack() says.
type said struct {
	change func(db, web *manifest.Container) // of stack()
	shows  []edit                            // what a node shows of it
	absent string                            // what is said where the node does not show it
	more   string                            // and where it does, and the manifest does not say it
	faults map[edit]string                   // planted into what the node shows, and what is said of each
}

var language = map[string]said{
	"a secret in a variable": {
		change: func(_, web *manifest.Container) {
			web.Secrets = []manifest.SecretMount{{Name: "password", Env: "DB_PASSWORD"}}
		},
		shows: []edit{
			{web, `"DB=pair-db"`, `"DB=pair-db", "pair.password=*******"`},
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["/usr/bin/podman", "run", "--secret", "pair.password,type=env,target=DB_PASSWORD", "image"]`},
		},
		absent: "container pair: environment pair.password is missing, wanted hidden by Podman",
		more:   "container pair: variable DB_PASSWORD is secret pair.password, and none is meant",
		faults: map[edit]string{
			{web, "target=DB_PASSWORD", "target=PASSWORD"}:                          "container pair: variable DB_PASSWORD is missing, wanted secret pair.password",
			{web, ",target=DB_PASSWORD", ""}:                                        "container pair: variable pair.password is secret pair.password, and none is meant",
			{web, `"pair.password,type`, `"pair.token,type`}:                        "container pair: variable DB_PASSWORD is secret pair.token, wanted secret pair.password",
			{web, `"pair.password=*******"`, `"pair.token=*******"`}:                "container pair: environment pair.token is hidden by Podman, and none is meant",
			{web, `"pair.password=*******"`, `"DB_PASSWORD=clear"`}:                 "container pair: environment DB_PASSWORD is another value, and none is meant",
			{web, `"image"]`, `"--secret=other.key,type=env,target=KEY", "image"]`}: "container pair: variable KEY is secret other.key, and none is meant",
		},
	},
	"a secret in the image's variable": {
		change: func(_, web *manifest.Container) {
			web.Secrets = []manifest.SecretMount{{Name: "password", Env: "LANG"}}
		},
		shows: []edit{
			{web, `"LANG=C.UTF-8"`, `"pair.password=*******"`},
			{web, `"StopTimeout": 3`, `"StopTimeout": 3, "CreateCommand": ["podman", "run", "--secret=pair.password,type=env,target=LANG", "image"]`},
		},
		absent: "container pair: environment LANG is another value, and none is meant",
		more:   "container pair: environment LANG is missing",
	},
}

// lookAtSaid is what the witnesses see where the manifest says something, or not, and the
// node shows it, with one fault more.
func lookAtSaid(t *testing.T, s said, says, shows bool, fault edit) []string {
	t.Helper()
	m := stack()
	if says {
		s.change(&m.Containers[0], &m.Containers[1])
	}
	edits := []edit{}
	if shows {
		edits = append(edits, s.shows...)
	}
	if fault != (edit{}) {
		edits = append(edits, fault)
	}
	done := 0
	snapshot, err := lookAtOne(m, func(file, text string) string {
		for _, e := range edits {
			if e.file == file && strings.Count(text, e.old) == 1 {
				text = strings.Replace(text, e.old, e.by, 1)
				done++
			}
		}
		return text
	})
	if err != nil || done != len(edits) {
		t.Fatalf("%d of %d edits are made: each text must be there once; %v", done, len(edits), err)
	}
	e, err := ExpectationOf(m, Facts{DataDir: nodes.DataDir, Requirers: []string{"wallet"}})
	if err != nil {
		t.Fatal(err)
	}
	return CheckAsMeant(e, snapshot)
}

func TestWhatAManifestSaysIsSeenOrRed(t *testing.T) {
	wants := func(t *testing.T, wrong []string, want string) {
		t.Helper()
		if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("%q, expected %q", wrong, want)
		}
	}
	for name, s := range language {
		t.Run(name, func(t *testing.T) {
			if wrong := lookAtSaid(t, s, true, true, edit{}); len(wrong) > 0 {
				t.Errorf("red without a fault: %q", wrong)
			}
			wants(t, lookAtSaid(t, s, true, false, edit{}), s.absent)
			wants(t, lookAtSaid(t, s, false, true, edit{}), s.more)
			for fault, want := range s.faults {
				wants(t, lookAtSaid(t, s, true, true, fault), want)
			}
		})
	}
}

var plantedInWhole = map[string]planting{
	"a secret in another variable": {"whole.container", "target=DB_PASSWORD", "target=PASSWORD", "[Container] Secret whole.password is gid=1000,mode=0400,target=/run/secrets/password,type=mount,uid=1000 and target=PASSWORD,type=env, wanted"},
	"another secret":               {"whole.container", "Secret=whole.api-key,", "Secret=whole.password,", "[Container] Secret whole.api-key is missing, wanted target=API_KEY,type=env"},
	"a secret in the clear":        {"whole-db.container", "Secret=whole.password,type=env,target=POSTGRES_PASSWORD", `Environment="POSTGRES_PASSWORD=clear"`, "[Container] Environment POSTGRES_PASSWORD is clear, and none is meant"},
	"a variable for a file":        {"whole.container", "Secret=whole.password,type=mount,target=/run/secrets/password,uid=1000,gid=1000,mode=0400\n", "", "[Container] Secret whole.password is target=DB_PASSWORD,type=env, wanted gid"},
}

var plantedInWholeServices = map[string]planting{
	"a secret in another variable": {"", "target=DB_PASSWORD --", "target=PASSWORD --", "service whole.service: --secret whole.password is gid=1000"},
	"a secret in the clear":        {"", "--secret whole.password,type=env,target=POSTGRES_PASSWORD", "--env POSTGRES_PASSWORD=clear", "service whole-db.service: --secret whole.password is missing, wanted target=POSTGRES_PASSWORD,type=env"},
}

// The services are those of Podman's generator (5.8.6).
func TestAllThatAManifestCanSayIsRenderedAsItIsMeant(t *testing.T) {
	e, files := unitsOf(t, "whole")
	b, err := os.ReadFile("testdata/whole.txt")
	if err != nil {
		t.Fatal(err)
	}
	if wrong := slices.Concat(CheckRendered(e, files), CheckGenerated(e, string(b))); len(wrong) > 0 {
		t.Fatalf("red without a fault: %q", wrong)
	}
	for name, p := range plantedInWhole {
		bad := maps.Clone(files)
		if bad[p.file] = strings.Replace(files[p.file], p.old, p.by, 1); bad[p.file] == files[p.file] {
			t.Fatalf("%s: not planted", name)
		}
		if wrong := CheckRendered(e, bad); !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, p.want) }) {
			t.Errorf("%s: %q, expected %q", name, wrong, p.want)
		}
	}
	for name, p := range plantedInWholeServices {
		bad := strings.Replace(string(b), p.old, p.by, 1)
		if bad == string(b) {
			t.Fatalf("%s: not planted", name)
		}
		if wrong := CheckGenerated(e, bad); !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, p.want) }) {
			t.Errorf("%s: %q, expected %q", name, wrong, p.want)
		}
	}
}
