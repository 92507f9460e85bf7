package nodes

import (
	"fmt"
	"io"
	"sync"
)

var errEndless = fmt.Errorf("%w: its answer does not end where answers do", ErrLost)

// AtMost writes to w no more than a number of bytes; where more would come, it is ErrLost.
func AtMost(w io.Writer, most int64) io.Writer { return &bounded{w: w, left: most, full: func() {}} }

// bounded writes no more bytes than are left, and calls full when there are more.
type bounded struct {
	full func()

	mu   sync.Mutex
	w    io.Writer
	left int64
}

// shut ends writing: what still comes is nobody's any more.
func (b *bounded) shut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = -1
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if int64(len(p)) > b.left {
		b.full()
		return 0, errEndless
	}
	b.left -= int64(len(p))
	return b.w.Write(p)
}

// Bounded reads no more than a number of bytes; where more would come, it is ErrLost.
func Bounded(r io.Reader, most int64) io.Reader { return &limited{r, most} }

type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errEndless
	}
	return n, err
}

// tail keeps the last bytes written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 4 << 10
	t.b = append(t.b, p...)
	if len(t.b) > keep {
		t.b = t.b[len(t.b)-keep:]
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }
