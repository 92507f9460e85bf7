package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sessions is a Podman that keeps each command in a container, and two processes beside it,
// until it is told to forget it.
type sessions struct {
	mu     sync.Mutex
	kept   map[string]bool
	watch  map[string]int // processes, by session
	exit   int
	hangs  bool // the commands do not end
	helped [][]string
}

func (s *sessions) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	word := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch last := word[len(word)-1]; last {
	case "_ping":
		w.Header().Set("Libpod-API-Version", "5.4.0")
	case "exec":
		id := fmt.Sprintf("%064x", len(s.kept)+1)
		s.kept[id], s.watch[id] = true, 2
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"Id": %q}`, id)
	case "start":
		w.Write(append(binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, 2), "ok"...))
	case "json":
		fmt.Fprintf(w, `{"Running": %t, "ExitCode": %d}`, s.hangs, s.exit)
	case "remove":
		if s.hangs {
			w.WriteHeader(http.StatusConflict)
			return
		}
		s.kept[word[len(word)-2]] = false
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// TestACommandInAContainerLeavesNothing: neither in Podman's records nor as a process,
// however often a condition is asked and whether it holds.
func TestACommandInAContainerLeavesNothing(t *testing.T) {
	for _, s := range []*sessions{{}, {exit: 1}, {hangs: true}} {
		s.kept, s.watch = map[string]bool{}, map[string]int{}
		e := serving(t, s.answer)
		e.helper = func(_ context.Context, _ limit, _ string, argv ...string) (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.helped = append(s.helped, argv)
			if argv[3] == "end-monitor.sh" {
				s.watch[argv[4]] = 0
			}
			return "", nil
		}
		const times = 30
		for range times {
			if said, err := e.Exec(t.Context(), "chain", []string{"ask"}); said != "ok" || (err != nil) != (s.exit != 0) {
				t.Fatalf("%q, %v", said, err)
			}
		}
		kept, left := 0, 0
		for id, there := range s.kept {
			if there {
				kept++
			}
			left += s.watch[id]
		}
		if s.hangs { // what still runs is Podman's to watch
			if kept != times || left != 2*times {
				t.Errorf("of %d commands that run, %d are known and %d processes watch them", times, kept, left)
			}
			continue
		}
		if kept+left != 0 || len(s.helped) != times {
			t.Errorf("of %d commands, %d are kept and %d processes left; %d helped", times, kept, left, len(s.helped))
		}
	}
}

// TestTheMonitorOfACommandIsEnded: that one, and no process that only bears the same words.
func TestTheMonitorOfACommandIsEnded(t *testing.T) {
	id, other := sessionID(), sessionID()
	running := func(words ...string) (ended chan struct{}) {
		sh := exec.Command("/bin/sh", "-c", "read x")
		sh.Args = slices.Concat(words[:1], sh.Args[1:], words[1:])
		in, err := sh.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := sh.Start(); err != nil {
			t.Fatal(err)
		}
		ended = make(chan struct{})
		go func() { sh.Wait(); close(ended) }()
		t.Cleanup(func() { in.Close(); <-ended })
		return ended
	}
	its := []chan struct{}{
		running("/usr/bin/conmon", "-u", id, "-r", "/usr/bin/crun"),
		running("/usr/libexec/podman/conmon", "-c", "c", "-u", id),
	}
	others := []chan struct{}{
		running("/usr/bin/conmon", "-u", other, "-r", "/usr/bin/crun"),
		running("/usr/bin/conmon", "-u", id+"0"),
		running("/bin/sh", "conmon", "-u", id, "-r"),
	}
	for range 2 { // the second time, there is none
		mustScript(t, "end-monitor.sh", id)
		for _, ended := range its {
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("a monitor has not ended")
			}
		}
	}
	for i, ended := range others {
		select {
		case <-ended:
			t.Errorf("other process %d was ended", i)
		default:
		}
	}
}

func sessionID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return fmt.Sprintf("%x", b)
}
