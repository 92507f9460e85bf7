package matrix

import (
	"errors"
	"fmt"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestWhatIsAboutDataOrAnInvariantIsOfThatKind(t *testing.T) {
	m := &manifest.Manifest{ID: "a", Containers: []manifest.Container{{Name: "a", Volumes: []manifest.Volume{{Name: "v", Path: "/v"}}}}, Secrets: []manifest.GeneratedSecret{{Name: "key"}}}
	before := &Snapshot{Volumes: map[string]VolSeen{"v": {Inode: "1"}}, Secrets: map[string]FileSeen{"key": {SHA256: "s", Mode: "600"}}}
	after := func(inode, secret, mode string) *Snapshot {
		s := newSnapshot()
		if inode != "" {
			s.Volumes["v"] = VolSeen{Inode: inode}
		}
		if secret != "" {
			s.Secrets["key"] = FileSeen{SHA256: secret, Mode: mode}
		}
		return s
	}
	lost, kept := errors.New("refused"), after("1", "s", "600")
	for name, c := range map[string]struct {
		err  error
		want reports.Failure
	}{
		"nothing":                  {nil, ""},
		"a volume is gone":         {Verdict(CheckSame(before, after("", "s", "600"))), reports.DataLoss},
		"a volume does not exist":  {Verdict(CheckKept(m, after("", "s", "600"))), reports.DataLoss},
		"a volume is another":      {Verdict(CheckSame(before, after("2", "s", "600"))), reports.DataLoss},
		"a secret is gone":         {Verdict(CheckSame(before, after("1", "", ""))), reports.DataLoss},
		"a secret does not exist":  {Verdict(CheckKept(m, after("1", "", ""))), reports.DataLoss},
		"a secret is another":      {Verdict(CheckSame(before, after("1", "x", "600"))), reports.DataLoss},
		"among other faults":       {fmt.Errorf("after: %w", Verdict([]string{"port 1 still answers"}, CheckSame(before, after("", "s", "600")))), reports.DataLoss},
		"a secret's mode":          {Verdict(CheckKept(m, after("1", "s", "644"))), ""},
		"left over":                {Verdict(CheckPurged(kept), []string{"secret a.key is left in the engine", "container a is gone"}), ""},
		"a page":                   {errors.New("the title is wrong"), ""},
		"an invariant":             {ofKind(reports.Invariant, fmt.Errorf("invariant: %w", Verdict([]string{"container a is privileged"}))), reports.Invariant},
		"an invariant about data":  {ofKind(reports.Invariant, Verdict(CheckSame(before, after("", "s", "600")))), reports.DataLoss},
		"wrapped twice and joined": {fmt.Errorf("a: %w (%w)", lost, wrap("reading", ofKind(reports.DataLoss, lost))), reports.DataLoss},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("%s: %q is of kind %q, expected %q", name, c.err, got, c.want)
		}
	}
}

// TestACanaryThatIsNotFoundIsDataLoss: on a machine without anything that could answer.
func TestACanaryThatIsNotFoundIsDataLoss(t *testing.T) {
	m := &manifest.Manifest{ID: "a", Canary: &manifest.Canary{HTTP: &manifest.HTTPCanary{Interface: "web", Read: manifest.Request{Path: "/"}}}}
	u := &User{address: "127.0.0.1"}
	if err := u.Read(t.Context(), m, "c"); KindOf(err) != reports.DataLoss {
		t.Errorf("reading: %v", err)
	}
	if err := u.Write(t.Context(), m, "c"); err == nil || KindOf(err) != "" {
		t.Errorf("planting: %v", err)
	}
}
