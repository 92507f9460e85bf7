package engine

import (
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
)

// answering is an engine whose Podman says this in every log and for every command.
func answering(t *testing.T, said string) *Engine {
	t.Helper()
	return serving(t, func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/_ping"):
			w.Header().Set("Libpod-API-Version", "5.4.0")
		case strings.HasSuffix(path, "/logs"), strings.HasSuffix(path, "/start"):
			w.Write(append(binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(said))), said...))
		default:
			w.Write([]byte(`{"Id": "1"}`))
		}
	})
}

// What containers say goes into messages of the RPC, which are text.
func TestWhatAContainerSaysBecomesText(t *testing.T) {
	const said, want = "bytes \xff\xfe end", "bytes \uFFFD end"
	e := answering(t, said)
	if got, err := e.Exec(t.Context(), "c", []string{"x"}); got != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	var lines []string
	err := e.Logs(t.Context(), "c", false, 1, func(line string) error { lines = append(lines, line); return nil })
	if strings.Join(lines, "|") != want || err != nil {
		t.Errorf("%q, %v", lines, err)
	}
}
