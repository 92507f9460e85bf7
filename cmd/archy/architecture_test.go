package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestArchyLinksOnlyWhatAnOwnerNeeds: archy is what owners install, so it carries neither
// the gate's tools, nor the publisher's, nor the daemon.
func TestArchyLinksOnlyWhatAnOwnerNeeds(t *testing.T) {
	const module = "github.com/archipelago-cloud/archipelago/"
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 100 {
		t.Fatalf("go list names only %d packages", len(deps))
	}
	for _, dep := range deps {
		for _, banned := range []string{
			"github.com/chromedp", "github.com/onsi", "github.com/testcontainers", "github.com/google/go-containerregistry/pkg/registry", "github.com/theupdateframework", "github.com/sigstore",
			module + "gate", module + "matrix", module + "nodes", module + "reports", module + "catalog/publish", module + "catalog/channel", module + "catalog/document",
		} {
			if dep == banned || strings.HasPrefix(dep, banned+"/") {
				t.Errorf("archy links %s", dep)
			}
		}
		// Of the orchestrator, only what speaks to it, and the renderer for packagers.
		if rest, ok := strings.CutPrefix(dep+"/", module+"orchestrator/"); ok {
			switch rest {
			case "client/", "api/", "api/apiconnect/", "archive/", "render/", "quadlet/", "disk/", "fault/":
			default:
				t.Errorf("archy links %s", dep)
			}
		}
	}
}
