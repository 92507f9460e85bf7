package upgrade

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

func signers(t *testing.T, n int) (out []*sign.Signer) {
	t.Helper()
	for range n {
		s, err := sign.NewSigner("release")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func TestADaemonIsTakenOnlyByTheSignatureOfItsRelease(t *testing.T) {
	ctx := context.Background()
	k := signers(t, 4)
	sum, other := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	made := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	release := func(version string, created time.Time, file string, by ...*sign.Signer) []byte {
		b, err := description.Sign(ctx, description.Description{Version: version, Created: created, Commit: "ab", Files: map[string]string{file: sum}}, by...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	daemon := description.Daemon(runtime.GOARCH)
	policy := &root.Policy{Version: 3, Root: root.Role{Keys: []sign.PublicKey{k[2].PublicKey}, Threshold: 1},
		Catalog: root.Role{Keys: []sign.PublicKey{k[0].PublicKey, k[1].PublicKey}, Threshold: 2}}
	good := release("1.2.0", made, daemon, k[0], k[1])
	edited := []byte(strings.Replace(string(good), `"payload":"`, `"payload":"A`, 1))
	for name, c := range map[string]struct {
		envelope []byte
		trusted  error // why no root is
		sum      string
		want     string // of the refusal; empty: it is taken
	}{
		"signed by as many as it takes": {good, nil, sum, ""},
		"unsigned":                      {nil, nil, sum, "it is unsigned"},
		"one signature less":            {release("1.2.0", made, daemon, k[0]), nil, sum, "it takes 2 of the keys of root document 3"},
		"an unknown key":                {release("1.2.0", made, daemon, k[0], k[3]), nil, sum, "not trusted"},
		"a key that signs only roots":   {release("1.2.0", made, daemon, k[0], k[2]), nil, sum, "not trusted"},
		"an edited envelope":            {edited, nil, sum, "refused"},
		"another program":               {good, nil, other, "has the SHA-256 " + sum},
		"no program":                    {good, nil, "", "has the SHA-256 " + sum},
		"of another architecture":       {release("1.2.0", made, description.Daemon("riscv"), k[0], k[1]), nil, sum, "has no " + daemon},
		"another file of the release":   {release("1.2.0", made, "archy-linux-"+runtime.GOARCH, k[0], k[1]), nil, sum, "has no " + daemon},
		"no root is trusted":            {good, errors.New("no catalog is followed"), sum, "'archy subscribe CHANNEL --root FILE'"},
		"the root has expired":          {good, fmt.Errorf("%w: version 3 expired", root.ErrRoot), sum, "'archy refresh'"},
	} {
		version, err := Verify(ctx, c.envelope, func() (*root.Policy, error) {
			if c.trusted != nil {
				return nil, c.trusted
			}
			return policy, nil
		}, Build{Version: "1.1.0", Created: made.AddDate(0, 0, -1)}, c.sum)
		switch {
		case c.want == "" && (err != nil || version != "1.2.0"):
			t.Errorf("%s: %q, %v", name, version, err)
		case c.want != "" && (!errors.Is(err, ErrRefused) || version != "" || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %q, %v; expected %q", name, version, err, c.want)
		}
	}
}

func TestAnOlderReleaseIsRefused(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	yesterday := now.AddDate(0, 0, -1)
	for _, c := range []struct {
		release, running Build
		older            bool
	}{
		{Build{"1.2.0", now}, Build{"1.1.9", yesterday}, false},
		{Build{"1.2.0", now}, Build{"1.2.0", now}, false},
		{Build{"1.10.0", now}, Build{"1.9.0", now}, false},
		{Build{"v1.2.0", now}, Build{"1.2.0", now}, false},
		{Build{"1.1.9", now}, Build{"1.2.0", yesterday}, true},
		{Build{"1.1.9", now}, Build{"1.2.0", time.Time{}}, true},
		{Build{"1.2.0-rc.1", now}, Build{"1.2.0", yesterday}, true},
		{Build{"1.2.0", yesterday}, Build{"1.1.0", now}, true}, // what was mended in 1.1.0 since is not in it
		{Build{"1.2.0", now}, Build{"1.2.0-3-gabcdef", yesterday}, false},
		{Build{"1.2.0-3-gabcdef", now}, Build{"1.2.0", yesterday}, false}, // three commits after the tag
		{Build{"1.2.0", yesterday}, Build{"1.2.0-3-gabcdef-dirty", now}, true},
		{Build{"be184b3", now}, Build{"0123456", yesterday}, false}, // without tags, time alone says it
		{Build{"be184b3", yesterday}, Build{"0123456", now}, true},
		{Build{"be184b3", now}, Build{"9.0.0", yesterday}, false},
		{Build{"be184b3", now}, Build{"0.0.0-dev", time.Time{}}, false},
	} {
		err := notOlder(c.release, c.running)
		if c.older != errors.Is(err, ErrRefused) || c.older != (err != nil) {
			t.Errorf("%v after %v: %v", c.release, c.running, err)
		}
	}
}

// installed is the path of a daemon that serves.
func installed(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "archipelago")
	if err := os.WriteFile(program, []byte("the one that serves"), 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

func digest(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// saying is a program that says a version, and leaves a file where it ran.
func saying(version, ran string) string {
	return "#!/bin/sh\ntouch " + ran + "\necho archipelago version " + version + "\n"
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func TestAProgramIsRunOnlyIfItIsTheAnnouncedOne(t *testing.T) {
	for name, c := range map[string]struct {
		announced, version string
		taken, runs        bool
	}{
		"the announced one":           {"", "1.2.0", true, true},
		"of any version":              {"", "", true, true},
		"another program":             {strings.Repeat("0a", 32), "1.2.0", false, false},
		"another version than signed": {"", "1.2.1", false, true},
	} {
		program := installed(t)
		ran := filepath.Join(t.TempDir(), "ran")
		text := saying("1.2.0", ran)
		says, err := Stage(context.Background(), program, strings.NewReader(text), cmp.Or(c.announced, digest(text)), c.version)
		if c.taken != (err == nil) || c.taken != (says == "archipelago version 1.2.0") || !c.taken && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %q, %v", name, says, err)
		}
		if c.runs != exists(ran) {
			t.Errorf("%s: it ran: %t", name, exists(ran))
		}
		if got := content(t, program); c.taken != (got == text) || !c.taken && got != "the one that serves" {
			t.Errorf("%s: %q is in place", name, got)
		}
		if c.taken != exists(program+Trial) || exists(program+".new") {
			t.Errorf("%s: a trial %t, something left %t", name, exists(program+Trial), exists(program+".new"))
		}
	}
}

func TestTheOneThatServedLastIsKeptThroughTwoTrials(t *testing.T) {
	program := installed(t)
	for _, version := range []string{"2.0.0", "2.0.1"} {
		text := saying(version, os.DevNull)
		if _, err := Stage(context.Background(), program, strings.NewReader(text), digest(text), ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := content(t, program+Previous); got != "the one that serves" {
		t.Errorf("%q would return", got)
	}
	if err := Passed(program); err != nil {
		t.Fatal(err)
	}
	text := saying("2.0.2", os.DevNull)
	if _, err := Stage(context.Background(), program, strings.NewReader(text), digest(text), ""); err != nil {
		t.Fatal(err)
	}
	if got := content(t, program+Previous); got != saying("2.0.1", os.DevNull) {
		t.Errorf("%q would return, though another has served since", got)
	}
}

// Without the previous one, nothing could return from the trial.
func TestOneWithoutAPreviousOneIsKeptThoughItIsOnTrial(t *testing.T) {
	program := installed(t)
	if err := os.WriteFile(program+Trial, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := saying("2.0.0", os.DevNull)
	if _, err := Stage(context.Background(), program, strings.NewReader(text), digest(text), ""); err != nil {
		t.Fatal(err)
	}
	if got := content(t, program+Previous); got != "the one that serves" {
		t.Errorf("%q would return", got)
	}
}

func TestOneUpgradeAtATime(t *testing.T) {
	program := installed(t)
	unlock, err := lock(filepath.Dir(program))
	if err != nil {
		t.Fatal(err)
	}
	text := saying("2.0.0", os.DevNull)
	if _, err := Stage(context.Background(), program, strings.NewReader(text), digest(text), ""); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "another upgrade is under way") {
		t.Error(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := Stage(context.Background(), program, strings.NewReader(text), digest(text), ""); err != nil {
		t.Error(err)
	}
}

func TestAwaitSaysWhichOneServes(t *testing.T) {
	program := installed(t)
	if err := Await(context.Background(), program, digest("the one that serves")); err != nil {
		t.Error(err)
	}
	if err := Await(context.Background(), program, digest("a new one")); !errors.Is(err, ErrReturned) {
		t.Error(err)
	}
	if err := os.WriteFile(program+Trial, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), 10*time.Millisecond, errors.New("waited 10ms"))
	defer cancel()
	if err := Await(ctx, program, digest("the one that serves")); err == nil || !strings.Contains(err.Error(), "waited 10ms") {
		t.Error(err)
	}
}

// TestAReplacedProgramKnowsIt: the prober runs on while a new daemon is on trial, and
// gives way to it once it serves; the one that has returned is the one that runs.
func TestAReplacedProgramKnowsIt(t *testing.T) {
	program := filepath.Join(t.TempDir(), "archipelago")
	if Replaced(program) {
		t.Error("while there is none")
	}
	if err := os.Symlink("/proc/self/exe", program); err != nil {
		t.Fatal(err)
	}
	if Replaced(program) {
		t.Error("by itself")
	}
	for file, body := range map[string]string{program + ".new": "a new one", program + Trial: "0\n"} {
		if err := os.WriteFile(file, []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(program+".new", program); err != nil {
		t.Fatal(err)
	}
	if Replaced(program) {
		t.Error("by one that is on trial")
	}
	if err := Passed(program); err != nil || !Replaced(program) {
		t.Errorf("by one that has served: %v", err)
	}
}
