package engine

import (
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
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
	err := e.Logs(t.Context(), "c", false, 1, func(line host.LogLine) error { lines = append(lines, line.Text); return nil })
	if strings.Join(lines, "|") != want || err != nil {
		t.Errorf("%q, %v", lines, err)
	}
}

func TestALineOfALogHasItsTime(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)
	for said, want := range map[string]host.LogLine{
		at.Format(time.RFC3339Nano) + " begins\n": {At: at, Text: "begins"},
		at.Format(time.RFC3339Nano) + " \n":       {At: at},
		"2026-13-01T12:00:00Z begins\n":           {Text: "2026-13-01T12:00:00Z begins"},
	} {
		var got []host.LogLine
		err := answering(t, said).Logs(t.Context(), "c", false, 1, func(line host.LogLine) error { got = append(got, line); return nil })
		if err != nil || len(got) != 1 || !got[0].At.Equal(want.At) || got[0].Text != want.Text {
			t.Errorf("%q: %+v, %v", said, got, err)
		}
	}
}
