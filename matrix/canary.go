package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// blank stands for the canary's value in a manifest.
const blank = "{{canary}}"

// Write plants the canary.
func (u *User) Write(ctx context.Context, m *manifest.Manifest, canary string) (err error) {
	switch c := m.Canary; {
	case c == nil:
		return nil
	case c.HTTP != nil:
		_, err = u.http(ctx, m, c.HTTP, c.HTTP.Write, canary)
	case c.MQTT != nil:
		err = u.mqttPublish(ctx, m, c.MQTT, canary)
	case c.Exec != nil:
		_, err = u.command(ctx, c.Exec, c.Exec.Write, canary)
	default:
		file := manifest.VolumeDir(nodes.DataDir, m.ID, c.Volume.Name) + "/" + canary
		err = u.shell.Stream(ctx, fmt.Sprintf("podman unshare sh -c 'echo %s >%s && chmod 644 %s && sync %s'", canary, file, file, file), nil, &bytes.Buffer{})
	}
	return wrap("planting the canary", err)
}

// Read finds the canary again, through the application; a nil error means that it is there,
// unchanged. An answer that shows whatever was asked for is none.
func (u *User) Read(ctx context.Context, m *manifest.Manifest, canary string) (err error) {
	switch c := m.Canary; {
	case c == nil:
		return nil
	case c.HTTP != nil:
		err = u.find(ctx, m, c.HTTP, canary)
	case c.MQTT != nil:
		err = u.mqttRead(ctx, m, c.MQTT, canary)
	case c.Exec != nil:
		named := slices.ContainsFunc(c.Exec.Read, func(word string) bool { return strings.Contains(word, blank) })
		err = finds(ctx, canary, named, func(value string) (string, error) { return u.command(ctx, c.Exec, c.Exec.Read, value) })
	default:
		file := manifest.Request{Path: c.Volume.Served.Path}
		err = u.find(ctx, m, &manifest.HTTPCanary{Interface: c.Volume.Served.Interface, Read: file}, canary)
	}
	return ofKind(reports.DataLoss, wrap("reading the canary back", err))
}

// find reads by HTTP.
func (u *User) find(ctx context.Context, m *manifest.Manifest, c *manifest.HTTPCanary, canary string) error {
	named := strings.Contains(c.Read.Path, blank) || strings.Contains(c.Read.Body, blank)
	for _, v := range c.Read.Headers {
		named = named || strings.Contains(v, blank)
	}
	return finds(ctx, canary, named, func(value string) (string, error) { return u.http(ctx, m, c, c.Read, value) })
}

// finds wants the canary in the answer. Where the question names the value, it asks for
// another one as well, which was never written: an application that shows it repeats what it
// is asked, or makes it up.
func finds(ctx context.Context, canary string, named bool, ask func(value string) (string, error)) error {
	out, err := ask(canary)
	if err != nil {
		return err
	}
	if !strings.Contains(out, canary) {
		return fmt.Errorf("the answer does not contain it: %.200q", out)
	}
	if !named {
		return nil
	}
	never := newCanary()
	switch out, err = ask(never); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, nodes.ErrLost) || errors.Is(err, nodes.ErrRefused):
		return err
	case err == nil && strings.Contains(out, never):
		return fmt.Errorf("it is no proof: %s, which was never written, is found as well: %.200q", never, out)
	}
	return nil // refused, or without the value
}

// command runs one of the canary's commands.
func (u *User) command(ctx context.Context, c *manifest.ExecCanary, argv []string, canary string) (string, error) {
	filled := slices.Clone(argv)
	for i := range filled {
		filled[i] = strings.ReplaceAll(filled[i], blank, canary)
	}
	return u.exec(ctx, c.Container, filled, c.ExpectExit)
}
