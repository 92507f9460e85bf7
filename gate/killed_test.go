package gate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// In the environment of this test binary: the directory of runs in which it is a gate that
// writes, and what it writes: until it is killed, or cut short at many points.
const (
	writerOut  = "GATE_TEST_OUT"
	writerDoes = "GATE_TEST_DOES"
)

// finished leaves a run in out in which every cell has passed, as a gate leaves it that is
// killed before it has judged it.
func finished(t *testing.T, out string, cycles int) (dir string, p *plan.Plan) {
	t.Helper()
	cat, err := catalog.Load("../catalog/apps")
	if err != nil {
		t.Fatal(err)
	}
	if p, err = plan.New("r1", "test", plan.Request{Cycles: cycles}, cat, []reports.Node{{Name: ".228", HostKey: "a"}, {Name: ".198", HostKey: "b"}}); err != nil {
		t.Fatal(err)
	}
	p.Identify(strings.Repeat("d", 64), cat)
	began := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	p.Sessions = []plan.Session{{Started: began}}
	var results []reports.Result
	for i, c := range p.Cells() {
		results = append(results, reports.Result{Cell: c, Status: reports.Passed, At: began.Add(time.Duration(i+1) * time.Second)})
	}
	lines, err := reports.Encode(results)
	dir = filepath.Join(out, "r1")
	if err := errors.Join(err, reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), reports.Write(dir, reports.ResultsFile, lines)); err != nil {
		t.Fatal(err)
	}
	return dir, p
}

// put writes all that a gate writes when it judges a run, in one of two versions.
func put(dir string, p *plan.Plan, version string) error {
	p.Warnings = []string{version}
	e := &execution{plan: p, dir: dir}
	manifests := map[string][]byte{"miniflux": []byte(strings.Repeat(version, 1000))}
	if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
		return err
	}
	_, err := conclude(dir, p)
	return errors.Join(err, e.keepManifests(manifests), reports.Write(dir, reports.SignedFile, []byte(strings.Repeat(version, 1000))))
}

// wrote is all that a gate replaces in a run, by name.
func wrote(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.json", "*.html", "*.xml", "*.md", "apps/*.html", reports.ManifestsDir + "/*.json"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(dir, f)
			out[name] = string(b)
		}
	}
	return out
}

// versions gives what the files of a run are in either version; the run is left in the first.
func versions(t *testing.T, dir string, p *plan.Plan) (one, two map[string]string) {
	t.Helper()
	if err := put(dir, p, "two"); err != nil {
		t.Fatal(err)
	}
	two = wrote(t, dir)
	if err := put(dir, p, "one"); err != nil {
		t.Fatal(err)
	}
	one = wrote(t, dir)
	if len(one) != 11 || len(two) != len(one) || one[reports.AttestationFile] == two[reports.AttestationFile] {
		t.Fatalf("%d and %d files", len(one), len(two))
	}
	return one, two
}

// whole wants every file of a run to be one version or the other, and the run to be judged again
// as one of them.
func whole(t *testing.T, when, dir string, one, two map[string]string) {
	t.Helper()
	now := wrote(t, dir)
	for name := range one {
		if now[name] != one[name] && now[name] != two[name] {
			t.Fatalf("%s: %s is neither the old one nor the new one, but %d bytes", when, name, len(now[name]))
		}
	}
	o, err := Report(filepath.Dir(dir), "r1")
	if err != nil || o.Report.Verdict != reports.Green {
		t.Fatalf("%s: it is not judged again: %+v, %v", when, o, err)
	}
	judged := func(files map[string]string) map[string]string {
		files = maps.Clone(files)
		maps.DeleteFunc(files, func(name, _ string) bool {
			return name == reports.SignedFile || filepath.Dir(name) == reports.ManifestsDir
		})
		return files
	}
	if again := judged(wrote(t, dir)); !maps.Equal(again, judged(one)) && !maps.Equal(again, judged(two)) {
		t.Fatalf("%s: judged again, it is neither the old one nor the new one", when)
	}
	var seen told
	if o, err := Resume(t.Context(), "r1", Options{Out: filepath.Dir(dir), Observer: &seen}); err != nil || o.Report.Verdict != reports.Green || !strings.Contains(seen.String(), "nothing is left to do") {
		t.Fatalf("%s: it is not gone on with: %+v, %v", when, o, err)
	}
}

// writer starts this test as a gate that writes in out.
func writer(t *testing.T, does, out string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), writerOut+"="+out, writerDoes+"="+does)
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(said)
}

// TestARunIsWholeAtWhateverWriteItsGateIsKilled kills gates (SIGKILL) that judge a run over and
// over, or sign it.
func TestARunIsWholeAtWhateverWriteItsGateIsKilled(t *testing.T) {
	if out := os.Getenv(writerOut); out != "" {
		writeOn(t, os.Getenv(writerDoes), out)
		return
	}
	out := t.TempDir()
	dir, p := finished(t, out, 1)
	one, two := versions(t, dir, p)
	for n := range 8 {
		cmd, said := writer(t, "judges", out)
		for range n + 1 {
			if !said.Scan() {
				t.Fatal(said.Err())
			}
		}
		kill(t, cmd, time.Duration(n*n)*time.Millisecond)
		whole(t, fmt.Sprintf("killed after %d", n+1), dir, one, two)
	}

	// What is signed by one key or by two holds, whichever it is.
	out = t.TempDir()
	dir, p = finished(t, out, 0)
	p.Judge.Policy = plan.PolicyDigest(p.Policy)
	if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
		t.Fatal(err)
	}
	trust := attest.Trust{Threshold: 1, MaxAge: attest.DefaultMaxAge}
	for _, name := range []string{"one", "two"} {
		s, err := sign.NewSigner(name)
		if err != nil {
			t.Fatal(err)
		}
		trust.Keys = append(trust.Keys, s.PublicKey)
		envelope, err := attest.Sign(t.Context(), dir, time.Now(), s)
		if err := errors.Join(err, reports.Write(dir, reports.SignedFile, envelope), os.WriteFile(filepath.Join(out, name), envelope, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 4 {
		cmd, said := writer(t, "signs", out)
		for range n + 1 {
			if !said.Scan() {
				t.Fatal(said.Err())
			}
		}
		kill(t, cmd, 0)
		if r, err := attest.Verify(t.Context(), dir, trust, time.Now()); err != nil || r.Verdict != reports.Green {
			t.Fatalf("killed after %d: %+v, %v", n+1, r, err)
		}
	}
}

func kill(t *testing.T, cmd *exec.Cmd, later time.Duration) {
	t.Helper()
	<-time.After(later) // at whatever it is then
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
}

// writeOn writes until it is killed.
func writeOn(t *testing.T, does, out string) {
	_, p, err := open(out, "r1")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(out, "r1")
	for n := 0; ; n++ {
		version := []string{"two", "one"}[n%2]
		if does == "judges" {
			err = put(dir, p, version)
		} else {
			var envelope []byte
			if envelope, err = os.ReadFile(filepath.Join(out, version)); err == nil {
				err = reports.Write(dir, reports.SignedFile, envelope)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("wrote", n)
	}
}

// TestARunIsWholeWhereverAWriteIsCut lets no file become larger than so many bytes, as on a full
// disk, for numbers at which each file of a run is cut at its beginning, its middle and its end.
func TestARunIsWholeWhereverAWriteIsCut(t *testing.T) {
	if out := os.Getenv(writerOut); out != "" {
		cutEverywhere(t, out)
		return
	}
	out := t.TempDir()
	finished(t, out, 1)
	cmd, said := writer(t, "cuts", out)
	var all bytes.Buffer
	for said.Scan() {
		fmt.Fprintln(&all, said.Text())
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(all.String(), "cut at ") {
		t.Errorf("%v\n%s", err, all.String())
	}
}

func cutEverywhere(t *testing.T, out string) {
	_, p, err := open(out, "r1")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(out, "r1")
	one, two := versions(t, dir, p)
	var points []int
	for _, text := range two {
		points = append(points, 0, 1, len(text)/2, len(text)-1)
	}
	slices.Sort(points)
	var whatever unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &whatever); err != nil {
		t.Fatal(err)
	}
	for _, at := range slices.Compact(points) {
		if err := put(dir, p, "one"); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(at), Max: whatever.Max}); err != nil {
			t.Fatal(err)
		}
		err := put(dir, p, "two")
		if back := unix.Setrlimit(unix.RLIMIT_FSIZE, &whatever); back != nil {
			t.Fatal(back)
		}
		if err == nil || !strings.Contains(err.Error(), "writing "+dir+"/") {
			t.Fatalf("cut at %d bytes: %v", at, err)
		}
		whole(t, fmt.Sprintf("cut at %d bytes", at), dir, one, two)
		if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(left) > 0 {
			t.Fatalf("cut at %d bytes: %q is left", at, left)
		}
		fmt.Println("cut at", at)
	}
}

// A gate that is killed after the last cell, and before it has noted that its session has ended,
// leaves a run that ended with its last result: it can be gone on with, signed and verified.
func TestARunWhoseGateWasKilledBeforeTheEndEndsWithItsLastResult(t *testing.T) {
	out := t.TempDir()
	dir, p := finished(t, out, 0)
	p.Judge.Policy = plan.PolicyDigest(p.Policy)
	if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
		t.Fatal(err)
	}
	o, err := Resume(t.Context(), "r1", Options{Out: out, Observer: &told{}})
	last := p.Sessions[0].Started.Add(time.Duration(len(p.Cells())) * time.Second)
	if err != nil || !o.Report.Finished.Equal(last) || o.Report.Seconds != float64(len(p.Cells())) {
		t.Fatalf("ended at %s after %.0f s, expected %s: %v", o.Report.Finished, o.Report.Seconds, last, err)
	}
	s, err := sign.NewSigner("gate")
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := attest.Sign(t.Context(), dir, time.Now(), s)
	if err := errors.Join(err, reports.Write(dir, reports.SignedFile, envelope)); err != nil {
		t.Fatal(err)
	}
	if r, err := attest.Verify(t.Context(), dir, attest.Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: attest.DefaultMaxAge}, time.Now()); err != nil || !r.Finished.Equal(last) {
		t.Errorf("%v", err)
	}
}

// What no gate leaves, but a disk may, is named with what to do about it.
func TestADamagedFileOfARunIsNamedWithTheRemedy(t *testing.T) {
	out := t.TempDir()
	dir, p := finished(t, out, 0)
	p.Judge.Policy = plan.PolicyDigest(p.Policy)
	s, err := sign.NewSigner("gate")
	if err != nil {
		t.Fatal(err)
	}
	planned := filepath.Join(dir, reports.PlanFile)
	if err := reports.WriteJSON(planned, p); err != nil {
		t.Fatal(err)
	}
	envelope, err := attest.Sign(t.Context(), dir, time.Now(), s)
	if err := errors.Join(err, reports.Write(dir, reports.SignedFile, envelope[:len(envelope)/2])); err != nil {
		t.Fatal(err)
	}
	_, err = attest.Verify(t.Context(), dir, attest.Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: time.Hour}, time.Now())
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, reports.SignedFile)) || !strings.Contains(err.Error(), "sign the run again ('gate sign')") {
		t.Errorf("half a signature: %v", err)
	}
	if _, err := attest.Sign(t.Context(), dir, time.Now(), s); err != nil {
		t.Errorf("it is not signed again: %v", err)
	}
	b, err := os.ReadFile(planned)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func() error
		want   string
	}{
		"half a plan": {func() error { return os.WriteFile(planned, b[:len(b)/2], 0o644) }, "put back a copy of it, or start a new run"},
		"no plan":     {func() error { return os.Remove(planned) }, "nothing is lost: start a new run"},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		if _, err := Report(out, "r1"); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), planned) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Resume(t.Context(), "r1", Options{Out: out, Observer: &told{}}); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.WriteFile(planned, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A gate that is killed as it makes its run the latest leaves a link, which is no run: neither is
// the run removed through it, nor is a later gate of the same pid kept from its own.
func TestALinkThatAKilledGateLeavesIsNoRun(t *testing.T) {
	out := t.TempDir()
	dir, p := finished(t, out, 1)
	link := filepath.Join(out, fmt.Sprintf("%s.%d", latest, os.Getpid()))
	if err := os.Symlink("r1", link); err != nil {
		t.Fatal(err)
	}
	if found, err := runs(out); err != nil || !slices.Equal(found, []string{dir}) {
		t.Errorf("%q, %v", found, err)
	}
	if err := makeLatest(out, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(out, ""); err != nil || filepath.Base(got) != p.Run {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
		t.Error("the link is left:", err)
	}
}
