// Command vuln runs govulncheck over the project. It fails on every finding except those
// that are accepted here, with a reason.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
)

// accepted are advisories about code that is not linked, though its module is.
var accepted = map[string]string{
	"GO-2024-3042": "CVE-2024-3056, of containers that share an IPC namespace in the engine; only the API client, pkg/bindings, is linked",
	"GO-2025-3961": "CVE-2025-4953, of what the engine builds; only the API client, pkg/bindings, is linked",
}

const tool = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "vuln:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	cmd := exec.Command("go", append([]string{"run", tool, "-format", "json"}, append(args, "./...")...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	found := map[string]string{} // advisory -> where it is called
	dec := json.NewDecoder(out)
	for {
		var m struct {
			Finding *struct {
				OSV   string
				Trace []struct{ Module, Package, Function string }
			}
		}
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return errors.Join(err, cmd.Wait())
		}
		// Only what is called has a function at the head of its trace.
		if f := m.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			found[f.OSV] = f.Trace[0].Package + "." + f.Trace[0].Function
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("govulncheck: %w", err)
	}
	var problems []error
	for id, where := range found {
		if why, ok := accepted[id]; ok {
			fmt.Printf("%s accepted: %s\n", id, why)
			continue
		}
		problems = append(problems, fmt.Errorf("%s: %s is called; see https://pkg.go.dev/vuln/%s", id, where, id))
	}
	slices.SortFunc(problems, func(a, b error) int { return len(a.Error()) - len(b.Error()) })
	return errors.Join(problems...)
}
