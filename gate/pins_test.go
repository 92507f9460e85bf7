package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

const (
	oneKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
	otherKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/"
)

// begun leaves a run r1 of one cell as a gate leaves it that was ended right after it began.
func begun(t *testing.T, o Options) (dir string, p *plan.Plan) {
	t.Helper()
	dir = filepath.Join(o.Out, "r1")
	p = &plan.Plan{Run: "r1", Asked: reports.Policy{Cycles: 1, Nodes: []string{"x"}, Steps: []string{"stop"}, Apps: []string{"mosquitto"}}, Nodes: []reports.Node{{Name: "x", HostKey: oneKey}}}
	if err := (&execution{Options: o, plan: p, dir: dir, fresh: true}).pin(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), os.WriteFile(o.Inventory, []byte("nodes:\n- {name: x, address: 127.0.0.77, port: 1, user: archipelago, key: id, host_key: "+oneKey+"}\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir, p
}

func TestABuildInMidRunHasNoPartInTheRun(t *testing.T) {
	o, shown := options(t, "0")
	dir, p := begun(t, o)
	e := &execution{Options: o, plan: p, dir: dir}
	if err := e.pin(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{o.Suite, o.Daemon} { // into the very file, as a build may
		if err := os.WriteFile(f, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.levelZero(t.Context()); err != nil || shown() == "" {
		t.Errorf("another suite was run than the one that was pinned: %v", err)
	}
	for file, want := range map[string]string{e.Suite: p.Judge.Suite, e.Look: p.Judge.Look, e.Daemon: p.Subject.Daemon} {
		if got, err := reports.FileDigest(file); err != nil || got != want || filepath.Dir(file) != filepath.Join(dir, binDir) {
			t.Errorf("%s is %s, recorded is %s; %v", file, got, want, err)
		}
	}
}

func TestAResumptionWithOtherProgramsIsRefusedWithBothDigests(t *testing.T) {
	for name, c := range map[string]struct {
		change func(o *Options, dir string, p *plan.Plan) error
		want   []string
	}{
		"another daemon": {func(o *Options, _ string, _ *plan.Plan) error { return os.WriteFile(o.Daemon, []byte("other"), 0o755) },
			[]string{"the daemon ", "is sha256:d9298a10d1b0…, and run r1 began with sha256:DAEMON…", "bin/archipelago"}},
		"another suite": {func(o *Options, _ string, _ *plan.Plan) error { return os.WriteFile(o.Suite, []byte("other"), 0o755) },
			[]string{"the suite ", "is sha256:d9298a10d1b0…, and run r1 began with sha256:SUITE…", "--suite "}},
		"another program of the witnesses": {func(o *Options, _ string, _ *plan.Plan) error { return os.WriteFile(o.Look, []byte("other"), 0o755) },
			[]string{"the witnesses' program ", "is sha256:d9298a10d1b0…, and run r1 began with sha256:LOOK…", "--look "}},
		"no suite any more": {func(o *Options, _ string, _ *plan.Plan) error { return os.Remove(o.Suite) }, []string{"the suite", "go on with what the run began with: --suite "}},
		"a copy that was replaced": {func(_ *Options, dir string, _ *plan.Plan) error {
			return replaced(filepath.Join(dir, "bin/matrix.test"))
		}, []string{"is not in ", "d9298a10d1b0"}},
		"a copy that was removed": {func(_ *Options, dir string, _ *plan.Plan) error {
			return os.Remove(filepath.Join(dir, "bin/archipelago"))
		}, []string{"is not in ", "no such file"}},
		"another gate":     {func(_ *Options, _ string, p *plan.Plan) error { p.Judge.Gate = strings.Repeat("0", 64); return nil }, []string{"this gate is sha256:", "began with sha256:000000000000…"}},
		"an edited policy": {func(_ *Options, _ string, p *plan.Plan) error { p.Policy.Cycles = 1; return nil }, []string{"it was edited"}},
	} {
		o, _ := options(t, "0")
		dir, p := begun(t, o)
		if err := c.change(&o, dir, p); err != nil {
			t.Fatal(err)
		}
		err := (&execution{Options: o, plan: p, dir: dir}).pin()
		if !errors.Is(err, plan.ErrUsage) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range c.want {
			want = strings.NewReplacer("DAEMON", p.Subject.Daemon[:12], "SUITE", p.Judge.Suite[:12], "LOOK", p.Judge.Look[:12]).Replace(want)
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, expected %q", name, err, want)
			}
		}
	}
}

func replaced(file string) error {
	return errors.Join(os.Remove(file), os.WriteFile(file, []byte("other"), 0o755))
}

func TestTheOwnersCommandIsPinnedBesideTheSuite(t *testing.T) {
	o, _ := options(t, "0")
	archy := filepath.Join(filepath.Dir(o.Suite), "archy")
	if err := os.WriteFile(archy, []byte("archy"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, p := begun(t, o)
	if got, err := reports.FileDigest(filepath.Join(dir, "bin/archy")); err != nil || got != p.Subject.Commands["archy"] {
		t.Errorf("%s, %v: %v", got, p.Subject.Commands, err)
	}
	if err := os.WriteFile(archy, []byte("other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := (&execution{Options: o, plan: p, dir: dir}).pin(); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "archy") {
		t.Error(err)
	}
}

func TestWhatChangedOfASubjectIsNamedWithBothDigests(t *testing.T) {
	subject := func(script string) reports.Subject {
		return reports.Subject{Daemon: "d0", Manifests: map[string]string{"a": "a0"}, Installed: map[string]string{"rollback.sh": script}}
	}
	if why := differs(subject("f0"), subject("f0")); why != "" {
		t.Error(why)
	}
	if why := differs(subject("f0"), subject("f1")); why != "the file rollback.sh is sha256:f1…, and was sha256:f0…" {
		t.Error(why)
	}
	less := reports.Subject{Daemon: "d1", Manifests: map[string]string{}, Images: map[string]string{"c": "i0"}}
	if why := differs(less, subject("f0")); why != "the daemon is sha256:d0…, and was sha256:d1…; the manifest of a is sha256:a0…, and was sha256:none…; the image of c is sha256:none…, and was sha256:i0…; the file rollback.sh is sha256:f0…, and was sha256:none…" {
		t.Error(why)
	}
}

func TestARunIsNotResumedOnOtherMachinesOfTheSameNames(t *testing.T) {
	o, _ := options(t, "0")
	dir, p := begun(t, o)
	for key, refused := range map[string]bool{oneKey: false, oneKey + " a comment": false, otherKey: true} {
		if err := os.WriteFile(o.Inventory, []byte("nodes:\n- {name: x, address: 127.0.0.77, port: 1, user: archipelago, key: id, host_key: "+key+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Resume(t.Context(), "r1", o)
		if got := errors.Is(err, plan.ErrUsage) && strings.Contains(err.Error(), "another machine than the one that run r1 began on"); err == nil || got != refused {
			t.Errorf("%s: %v", key, err)
		}
	}
	for name, recorded := range map[string][]reports.Node{"no node": nil, "no key": {{Name: "x"}}} {
		p.Nodes = recorded
		if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
			t.Fatal(err)
		}
		if _, err := Resume(t.Context(), "r1", o); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "does not say on which machine x it began") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatChangedOfANodeSinceTheRunBeganIsSaid(t *testing.T) {
	was := reports.Node{Name: "x", Address: "192.0.2.1:22", Kernel: "6.1", Podman: "5.4"}
	is := was
	is.Address, is.Kernel = "192.0.2.2:22", "6.12"
	if got := changed([]reports.Node{was}, []reports.Node{is}); fmt.Sprint(got) != "[node x: its kernel is 6.12 since a resumption, and was 6.1]" {
		t.Error(got)
	}
}
