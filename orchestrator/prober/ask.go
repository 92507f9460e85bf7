package prober

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// What is read of an answer, in bytes: an application can send without end.
const maxAnswer = 64 << 10

// askTimeout bounds a probe. It may be short: what it takes for a failure is looked at
// again by Podman's check, which has the manifest's time.
const askTimeout = 2 * time.Second

// ask probes a container once; nil if it serves.
func ask(ctx context.Context, in Inside, p quadlet.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, min(askTimeout, p.Timeout))
	defer cancel()
	conn, err := in.Dial(ctx, p.Port)
	if err != nil {
		return err
	}
	defer conn.Close()
	if p.Path == "" {
		return nil
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	return get(conn, p)
}

// get asks once over a connection: no pool, no redirect, no proxy.
func get(conn net.Conn, p quadlet.Probe) error {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: archipelago-prober\r\nAccept: */*\r\nConnection: close\r\n\r\n", p.Path, p.Port); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxAnswer)), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Some servers complain in their logs if nobody takes their answer.
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != p.Status {
		return fmt.Errorf("%s answers with status %d, not %d", p.Path, resp.StatusCode, p.Status)
	}
	return nil
}
