package engine

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestARemovalHasTimeForEachContainer: what containers have written besides may take long to
// delete, and what comes after them is not to fail for it.
func TestARemovalHasTimeForEachContainer(t *testing.T) {
	const slow, short = 150 * time.Millisecond, 300 * time.Millisecond
	var mu sync.Mutex
	var removed []string
	e := serving(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			w.Header().Set("Libpod-API-Version", "5.4.2")
		case r.Method == http.MethodDelete:
			select {
			case <-time.After(slow):
			case <-r.Context().Done():
				return
			}
			mu.Lock()
			removed = append(removed, path.Base(r.URL.Path))
			mu.Unlock()
			w.Write([]byte("[]"))
		default:
			w.Write([]byte("[]"))
		}
	})
	names := []string{"a", "a-db", "a-cache"} // together longer than the rest may take
	if err := e.remove(t.Context(), "a", names, time.Minute, short); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(removed, names) {
		t.Errorf("removed %v", removed)
	}
}
