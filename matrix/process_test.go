package matrix

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestAfterACellThatWasNotRunNothingIsBegun starts the suite, as a gate does, on a node that
// cannot be used: what comes after the first step would begin from anywhere.
func TestAfterACellThatWasNotRunNothingIsBegun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "shard.json")
	shard := &Shard{Dir: dir, Cycle: 1, Node: nodes.Node{Name: "n", Address: "127.0.0.77", Port: 1, User: "nobody"}, Steps: []string{Install, Stop, Start}, Apps: []*manifest.Manifest{{ID: "a"}}}
	if err := shard.Write(file); err != nil {
		t.Fatal(err)
	}
	results, into, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer results.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), ShardVariable+"="+file, ResultsVariable+"=1")
	cmd.ExtraFiles = []*os.File{into}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	into.Close()
	var got []reports.Result
	for lines := json.NewDecoder(results); ; {
		var r reports.Result
		if err := lines.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if r.Status != Running {
			got = append(got, r)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: nothing is red", err)
	}
	if len(got) != 3 || got[0].Status != reports.NotRun || got[0].Cause != reports.Lost {
		t.Fatalf("%+v", got)
	}
	for _, r := range got[1:] {
		if r.Status != reports.NotRun || r.Cause != "" || r.Reason != reasonOver {
			t.Errorf("%+v", r)
		}
	}
}
