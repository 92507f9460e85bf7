package nodes

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// crowd is a listener on a node with so many connections open at the same time. One more is taken
// all the same, told so, and closed: golang.org/x/crypto/ssh hands connections over one by one,
// under a lock, so one that nobody took would hold up everything else of its SSH connection, the
// answer to the keepalive and the end of the listener included.
type crowd struct {
	net.Listener
	places chan struct{}
	close  sync.Once
}

func newCrowd(l net.Listener, most int) *crowd {
	return &crowd{Listener: l, places: make(chan struct{}, most)}
}

func (l *crowd) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.places <- struct{}{}:
			return &place{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
		default:
			io.WriteString(c, refusal(cap(l.places)))
			c.Close()
		}
	}
}

// refusal is an answer that has Podman try again later.
func refusal(most int) string {
	why := fmt.Sprintf("%d connections of this node are open already; one more is taken once one of them has ended\n", most)
	return fmt.Sprintf("HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(why), why)
}

// Close ends the listener. What is handed over meanwhile is taken and closed, too.
func (l *crowd) Close() (err error) {
	l.close.Do(func() {
		done := make(chan struct{})
		var rest sync.WaitGroup
		rest.Go(func() {
			for {
				c, err := l.Listener.Accept()
				if err == nil {
					c.Close()
					continue
				}
				select {
				case <-done:
					return
				case <-time.After(retryPause):
				}
			}
		})
		err = l.Listener.Close()
		close(done)
		rest.Wait()
	})
	return err
}
