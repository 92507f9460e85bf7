package compose

import (
	"os"
	"path/filepath"
	"testing"
)

func BenchmarkReal(b *testing.B) {
	files, _ := filepath.Glob("/tmp/imp-real/getumbrel+umbrel-apps/*/docker-compose.yml")
	for b.Loop() {
		n := 0
		for _, f := range files {
			if _, err := os.Stat(f); err == nil {
				_, err = Import(b.Context(), Options{Dir: filepath.Dir(f), Files: []string{filepath.Base(f)}})
				if err != nil {
					n++
				}
			}
		}
		b.Log(len(files), n)
	}
}
