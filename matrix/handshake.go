package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// reach wants the application to be reached: its page, and every interface that is none.
func reach(ctx context.Context, env *Environment, rec *Recorder) error {
	_, _, page := env.App.Web()
	if page {
		if err := reachUI(ctx, env, rec); err != nil {
			return err
		}
	}
	if err := seeOthers(ctx, env, rec); err != nil {
		return err
	}
	u, err := env.user(ctx)
	if err != nil {
		return err
	}
	defer rec.charge(&rec.timing.Witness)()
	if err := Verdict(checkOthers(ctx, env.App, env.Shard.Node.Address, env.web(""))); err != nil {
		return err
	}
	note, err := u.handshakes(ctx, env.App)
	switch {
	case err != nil:
		return err
	case page:
	case note == "":
		return errors.New("there is nothing to reach it by: the manifest declares no page, no mqtt interface, and no handshake")
	default:
		rec.say("no web page: " + note)
	}
	return nil
}

// handshakes reaches every interface that is not a page: by an MQTT session, or as the
// manifest says. It gives a note of what was reached; none is empty.
func (u *User) handshakes(ctx context.Context, m *manifest.Manifest) (note string, err error) {
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(m.Interfaces)) {
		in, how := m.Interfaces[name], "an MQTT handshake"
		switch h := in.Handshake; {
		case in.Protocol == "mqtt":
			var c interface{ Disconnect(uint) }
			if c, err = u.connect(ctx, m, in, in.Login); err == nil {
				c.Disconnect(disconnectQuiesce)
			}
		case h == nil:
			continue
		case h.Exec != nil:
			how, err = "a handshake in its container", u.handshakeInside(ctx, h.Exec)
		default:
			how, err = "a handshake", u.handshake(ctx, m, in, clientTimeout)
		}
		if err != nil {
			return "", fmt.Errorf("the %s interface %w", name, err)
		}
		notes = append(notes, fmt.Sprintf("the %s interface completed %s", name, how))
	}
	return strings.Join(notes, "; "), nil
}

// handshakeInside runs a command that must print what is expected.
func (u *User) handshakeInside(ctx context.Context, h *manifest.ExecHandshake) error {
	out, err := u.exec(ctx, h.Container, h.Argv, 0)
	if err != nil {
		return fmt.Errorf("is not reached: %w", err)
	}
	if !strings.Contains(out, h.Expect) {
		return fmt.Errorf("is not reached: %.100q prints %.200q, expected %.100q in it", strings.Join(h.Argv, " "), out, h.Expect)
	}
	return nil
}

// handshake sends what the manifest says to the interface's port, from outside, and waits
// for what is expected. That a connection is taken proves nothing.
func (u *User) handshake(ctx context.Context, m *manifest.Manifest, in manifest.Interface, within time.Duration) error {
	host, err := u.hostPort(m, in)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(within)
	conn, err := (&net.Dialer{Deadline: deadline}).DialContext(ctx, "tcp", host)
	if err != nil {
		return fmt.Errorf("takes no connection: %w", err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, in.Handshake.Send); err != nil {
		return fmt.Errorf("takes a connection, and not what is sent: %w", err)
	}
	var said []byte
	buffer := make([]byte, 4096)
	for err == nil && len(said) < maxAnswer {
		var n int
		n, err = conn.Read(buffer)
		said = append(said, buffer[:n]...)
		if bytes.Contains(said, []byte(in.Handshake.Expect)) {
			return nil
		}
	}
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("is not reached: %w", context.Cause(ctx))
	case len(said) > 0:
		return fmt.Errorf("says %.200q, expected %.100q in it", said, in.Handshake.Expect)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("takes a connection, and says nothing within %s", within)
	}
	return fmt.Errorf("takes a connection, and ends it without a word: %w", err)
}
