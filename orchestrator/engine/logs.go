package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// Logs passes a container's log to emit, line by line. It keeps none of it.
func (e *Engine) Logs(ctx context.Context, container string, follow bool, tail int, emit func(host.LogLine) error) error {
	q := url.Values{"stdout": {"true"}, "stderr": {"true"}, "timestamps": {"true"}, "tail": {fmt.Sprint(tail)}, "follow": {fmt.Sprint(follow)}}
	resp, err := e.request(ctx, http.MethodGet, "/containers/%s/logs", q, nil, container)
	if err != nil {
		return fmt.Errorf("reading the log of %s: %w", container, err)
	}
	defer resp.Body.Close()
	if !resp.IsSuccess() {
		return fmt.Errorf("reading the log of %s: %w", container, resp.Process(nil))
	}
	err = frames(bufio.NewReader(resp.Body), func(p []byte) error {
		at, text := said(string(p))
		for l := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
			if err := emit(host.LogLine{At: at, Text: strings.ToValidUTF8(l, "\uFFFD")}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the log of %s: %w", container, err)
	}
	return nil
}

// said takes the time off the beginning of a frame; zero where there is none.
func said(frame string) (time.Time, string) {
	stamp, rest, _ := strings.Cut(frame, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return time.Time{}, frame
	}
	return at, rest
}

// frames reads Podman's multiplexed output: a header of eight bytes (stream, 0, 0,
// 0, length) and a payload, as in Docker's API.
func frames(r *bufio.Reader, emit func([]byte) error) error {
	var header [8]byte
	for {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(header[4:])
		if n > 1<<20 {
			return fmt.Errorf("a frame of %d bytes", n)
		}
		p := make([]byte, n)
		if _, err := io.ReadFull(r, p); err != nil {
			return err
		}
		if err := emit(p); err != nil {
			return err
		}
	}
}
