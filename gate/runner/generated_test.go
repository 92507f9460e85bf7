package runner

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// generator gives what it was told to, and keeps the files.
type generator struct {
	output string
	got    map[string]string
}

func (g *generator) Generate(_ context.Context, files map[string]string) (string, error) {
	g.got = files
	return g.output, nil
}

func TestWhatANodeMakesOfTheRenderedUnitsMustBeMeant(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	m, err := manifest.Parse("m", []byte(`{"apiVersion": "archipelago/v1", "id": "a", "name": "A", "version": "1",
		"containers": [{"name": "a", "image": {"ref": "r.example/a", "digest": "`+digest+`"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	daemon := filepath.Join(t.TempDir(), "daemon")
	if err := os.WriteFile(daemon, []byte("#!/bin/sh\necho '{\"app\": \"a\", \"files\": {\"a.container\": \"as '$1'ed\"}}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	good := "---a.service---\n[Service]\nExecStart=/usr/bin/podman run --name a --replace --rm --cgroups=split --stop-timeout 10 --pull never --network archipelago-a --sdnotify=conmon -d --security-opt no-new-privileges --cap-drop all --label io.archipelago.app=a --label io.archipelago.spec=0123456789abcdef r.example/a@" + digest + "\n"
	for _, c := range []struct{ output, want string }{
		{good, ""},
		{strings.Replace(good, "--rm", "--rm --privileged=true", 1), "a: service a.service: --privileged is true, and none is meant"},
		{"", "a: service a.service is not generated"},
	} {
		g := &generator{output: c.output}
		wrong, err := CheckGenerated(t.Context(), daemon, g, m)
		if err != nil || g.got["a.container"] != "as rendered" {
			t.Fatalf("%v, of %q", err, g.got)
		}
		if c.want == "" && len(wrong) > 0 || c.want != "" && !slices.Contains(wrong, c.want) {
			t.Errorf("%q, expected %q", wrong, c.want)
		}
	}
	if _, err := CheckGenerated(t.Context(), "/bin/false", &generator{}, m); err == nil || !strings.HasPrefix(err.Error(), "a: the daemon does not render it") {
		t.Errorf("a daemon that renders nothing: %v", err)
	}
}
