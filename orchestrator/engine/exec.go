package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// Exec runs a command in a running container and returns its output, cut to 64 KiB. A
// command that outlives the context is killed. Of one that has ended nothing is left.
func (e *Engine) Exec(ctx context.Context, container string, argv []string) (string, error) {
	body, err := json.Marshal(map[string]any{"Cmd": argv, "AttachStdout": true, "AttachStderr": true})
	if err != nil {
		return "", err
	}
	var made struct {
		ID string `json:"Id"`
	}
	if err := e.call(ctx, http.MethodPost, "/containers/%s/exec", nil, body, &made, container); err != nil {
		return "", fmt.Errorf("running in %s: %w", container, err)
	}
	said, err := e.runExec(ctx, made.ID)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), listTimeout)
	defer cancel()
	defer e.forgetExec(after, made.ID)
	var done struct {
		Running  bool
		ExitCode int
		Pid      int
	}
	if inspectErr := e.call(after, http.MethodGet, "/exec/%s/json", nil, nil, &done, made.ID); inspectErr != nil {
		return said, errors.Join(err, inspectErr)
	}
	if ctx.Err() != nil {
		if done.Running && done.Pid > 0 {
			err = errors.Join(err, e.runScript(after, limit{total: listTimeout}, "kill.sh", fmt.Sprint(done.Pid)))
		}
		return said, fmt.Errorf("%s in %s: %w", strings.Join(argv, " "), container, errors.Join(context.Cause(ctx), err))
	}
	if err != nil {
		return said, fmt.Errorf("%s in %s: %w", strings.Join(argv, " "), container, err)
	}
	if done.ExitCode != 0 {
		return said, fmt.Errorf("%s in %s ended with status %d: %s", strings.Join(argv, " "), container, done.ExitCode, strings.TrimSpace(said))
	}
	return said, nil
}

// forgetExec has Podman forget a command that has ended, and ends the two processes that
// otherwise wait for five minutes to have it forgotten, by a third (exit_command_delay in
// containers.conf(5)). Where it fails, they do that.
func (e *Engine) forgetExec(ctx context.Context, id string) {
	// Not by force: of one that still runs, the processes are needed.
	if err := e.call(ctx, http.MethodPost, "/exec/%s/remove", nil, []byte(`{"Force":false}`), nil, id); err != nil || strings.Trim(id, "0123456789abcdef") != "" {
		return
	}
	if argv, err := inShell("end-monitor.sh", []string{id}); err == nil {
		e.helper(ctx, limit{total: listTimeout}, "archipelago: a command in a container has ended", argv...)
	}
}

// runExec starts a prepared command over a connection of its own, on which Podman
// then sends the command's output in frames, as it does for logs.
func (e *Engine) runExec(ctx context.Context, id string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(e.socket, "unix://"))
	if err != nil {
		return "", fmt.Errorf("%w: %w", host.ErrUnavailable, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://d/v5.0.0/libpod/exec/"+id+"/start", strings.NewReader(`{"Detach":false,"Tty":false}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := req.Write(conn); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, b)
	}
	var source io.Reader = resp.Body
	if resp.StatusCode == http.StatusSwitchingProtocols {
		source = r
	}
	var said strings.Builder
	err = frames(bufio.NewReader(source), func(p []byte) error {
		said.Write(p[:min(len(p), maxOutput-said.Len())])
		return nil
	})
	return strings.ToValidUTF8(said.String(), "\uFFFD"), err // it becomes part of messages, which are text
}
