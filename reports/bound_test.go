package reports

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWhatIsTooLongLosesItsMiddle(t *testing.T) {
	for _, n := range []int{10, 1000, 1001, 1 << 20} {
		b := append(bytes.Repeat([]byte("x"), n), "end"...)
		copy(b, "begin")
		got := Excerpt(b, 1003)
		if whole := len(b) <= 1003; whole != bytes.Equal(got, b) || len(got) > 1003 || !bytes.HasSuffix(got, []byte("end")) ||
			!whole && (!bytes.HasPrefix(got, []byte("begin")) || !bytes.Contains(got, []byte("bytes are left out here"))) {
			t.Errorf("%d bytes: %d, %.40q", n, len(got), got)
		}
	}
	if got := Excerpt(make([]byte, 100), 10); len(got) > 60 || !bytes.Contains(got, []byte("left out")) {
		t.Errorf("%q", got)
	}
}

// A line of results must stay readable, whatever a node has said.
func TestAResultOfAnyLengthIsWrittenAndReadBack(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	endless := strings.Repeat("\x00ü", 4<<20)
	for range 2 {
		if err := s.Append(Result{Cell: Cell{App: "a"}, Reason: endless, Note: endless}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadResults(dir)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d, %v", len(got), err)
	}
	for _, r := range got {
		if len(r.Reason) > MaxText || len(r.Note) > MaxText || r.Reason == "" || !utf8.ValidString(r.Reason) {
			t.Errorf("%d and %d bytes", len(r.Reason), len(r.Note))
		}
	}
}
