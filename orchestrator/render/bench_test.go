package render_test

import (
	"path/filepath"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
)

// BenchmarkRender renders the applications that are shipped, one after the other, without what
// a Renderer remembers.
func BenchmarkRender(b *testing.B) {
	files, err := filepath.Glob("../../catalog/apps/*/manifest.yaml")
	if err != nil || len(files) == 0 {
		b.Fatal(files, err)
	}
	var apps []*manifest.Manifest
	for _, file := range files {
		m, err := manifest.ParseFile(file)
		if err != nil {
			b.Fatal(err)
		}
		apps = append(apps, m)
	}
	for i := 0; b.Loop(); i++ {
		r := render.Renderer{DataDir: "/var/lib/archipelago"}
		if _, err := r.Render(apps[i%len(apps)], nil, nil, true, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}
