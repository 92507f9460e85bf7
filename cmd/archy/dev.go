package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/buildcontext"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/manifest/findings"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

const (
	cleanup = time.Minute      // that ending well may take
	taken   = 10 * time.Second // until the daemon offers what it was given
	glance  = 100 * time.Millisecond

	// devMark is in the version of what 'archy app dev' installs, and of nothing else.
	devMark = "+dev."
)

// final is what no change of a file mends.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// development is an application on its way to a node, over and over.
type development struct {
	a      *app
	cmd    *cobra.Command
	client *client.Client
	way    reach

	path, file  string
	set, accept []string
	take, keep  bool
	patience    time.Duration // with a daemon that is to offer what it was given

	id    string            // once it is known
	mine  bool              // nothing but this command has installed it
	told  string            // of the manifest, the last time
	built map[string]string // digest of the build context, by container
}

func (a *app) appDev() *cobra.Command {
	d := &development{a: a, built: map[string]string{}, patience: taken}
	var ssh string
	c := &cobra.Command{
		Use: "dev DIR", Short: "Run an application on a node while you write it: installed again at every change",
		Long: "Run an application on the node that you are signed in to while you write it. Whenever a\nfile in DIR changes, the manifest is checked, images whose context has changed are built on\nthe node, and the application is installed or updated there, as owners do it; what fails\nis said, and the next change tried. Ctrl-C uninstalls it and takes back what was brought\nthere; its data stays.\n\n" +
			"This takes a shell on the node as the daemon's user, by OpenSSH: nothing on the node has\nto be opened for it, and whoever has none cannot do it. What came from a signed catalog is\nnever touched; what else is there already is replaced only with --take.",
		Example: "  archy app dev photos\n  archy app dev photos --ssh archipelago@192.0.2.7 --set cache=100",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			d.cmd, d.path, d.file = cmd, args[0], manifestIn(args[0])
			if _, err := os.Stat(d.file); err != nil {
				return usage.Wrap(err)
			}
			if d.client, err = a.client(); err != nil {
				return err
			}
			if d.way, err = a.reach(ssh); err != nil {
				return err
			}
			err = watching(cmd.Context(), []string{filepath.Dir(d.file)}, func(e fsnotify.Event) bool { return e.Op != fsnotify.Chmod }, d.look)
			return errors.Join(err, d.end(context.WithoutCancel(cmd.Context())))
		},
	}
	f := c.Flags()
	reachFlag(c, &ssh)
	f.StringArrayVar(&d.set, "set", nil, "NAME=VALUE of a setting, at the installation; once for each; of a secret one NAME=-")
	f.StringArrayVar(&d.accept, "accept", nil, "agree to what it asks for, in exactly the words that it is printed in; once for each")
	f.BoolVar(&d.take, "take", false, "replace an installation, or images of your own, that are there")
	f.BoolVar(&d.keep, "keep", false, "leave it installed at the end")
	return c
}

// round is what came of one change.
type round struct {
	App        string  `json:"app"`
	Version    string  `json:"version"`
	URL        string  `json:"url,omitempty"`
	Seconds    float64 `json:"seconds"`     // from the change on
	AppSeconds float64 `json:"app_seconds"` // of these, the application's own start
	Error      string  `json:"error,omitempty"`
}

// look brings the application, as it is now, to the node.
func (d *development) look(away error) error {
	begun := time.Now()
	r := round{App: d.id}
	err := away
	if err == nil {
		err = d.bring(d.cmd.Context(), &r)
	}
	switch end := (final{}); {
	case d.cmd.Context().Err() != nil:
		return nil
	case errors.As(err, &end):
		return end.error
	}
	r.Seconds = time.Since(begun).Seconds()
	if err != nil {
		r.Error = explain(err)
	}
	switch {
	case d.a.json:
		if err := json.NewEncoder(d.cmd.OutOrStdout()).Encode(r); err != nil {
			return err
		}
	case err != nil:
		fmt.Fprintln(d.cmd.ErrOrStderr(), r.Error)
	default:
		fmt.Fprintf(d.cmd.OutOrStdout(), "%s %s is up after %.1f s, %.1f s of them its own start  %s\n", r.App, r.Version, r.Seconds, r.AppSeconds, r.URL)
	}
	fmt.Fprintln(d.cmd.ErrOrStderr(), "watching for changes; Ctrl-C ends")
	return nil
}

func (d *development) say(format string, args ...any) {
	fmt.Fprintf(d.cmd.ErrOrStderr(), format+"\n", args...)
}

func (d *development) bring(ctx context.Context, r *round) error {
	m, err := d.check()
	if err != nil {
		return err
	}
	if r.App = m.ID; d.id == "" {
		if err := d.begin(ctx, m); err != nil {
			return final{err}
		}
	}
	if m.ID != d.id {
		return fmt.Errorf("the id is now %s: end this, which runs %s, and begin anew", m.ID, d.id)
	}
	if err := d.build(ctx, m); err != nil {
		return err
	}
	own := *m
	own.Version = fmt.Sprintf("%.40s%s%s", m.Version, devMark, time.Now().UTC().Format("20060102150405.000"))
	r.Version = own.Version
	d.say("%s %s: on its way to the node", m.ID, own.Version)
	if _, err := d.way.run(ctx, put(m.ID), strings.NewReader(string(own.Canonical())), io.Discard); err != nil {
		return err
	}
	app, err := d.offered(ctx, &own)
	if err != nil {
		return err
	}
	var op *api.Operation
	if app.State == api.State_STATE_NOT_INSTALLED {
		op, err = d.a.install(d.cmd, d.client, "install", m.ID, d.set, d.accept)
	} else {
		op, err = d.a.update(d.cmd, d.client, m.ID, d.accept)
	}
	if err != nil {
		return err
	}
	p, err := d.client.Await(ctx, op, func(s string) { d.say("%s", s) })
	if err != nil {
		return err
	}
	r.AppSeconds = p.AppSeconds
	if c, err := d.a.signedIn(); err == nil && app.ProxyPort > 0 {
		if u, err := url.Parse(c.Node); err == nil {
			r.URL = fmt.Sprintf("https://%s:%d%s", u.Hostname(), app.ProxyPort, app.WebPath)
		}
	}
	return nil
}

// check reads the manifest, and says all that is wrong with it or unwise in it.
func (d *development) check() (*manifest.Manifest, error) {
	files, err := findings.Check(d.file)
	if err != nil {
		return nil, err
	}
	var told strings.Builder
	if err := findings.Text(&told, files); err != nil {
		return nil, err
	}
	m := files[0].Manifest
	if told.String() != d.told || m == nil { // warnings are said once
		io.WriteString(d.cmd.ErrOrStderr(), told.String())
	}
	d.told = told.String()
	if m == nil {
		return nil, fmt.Errorf("%s stays on the node as it was", d.file)
	}
	_, err = rendered(m, nil)
	return m, err
}

// begin looks whether the node may have the application from here.
func (d *development) begin(ctx context.Context, m *manifest.Manifest) error {
	r, err := d.client.GetApp(ctx, connect.NewRequest(&api.GetAppRequest{Id: m.ID}))
	unknown := connect.CodeOf(err) == connect.CodeNotFound
	if err != nil && !unknown {
		return err
	}
	app := &api.App{State: api.State_STATE_NOT_INSTALLED}
	if !unknown {
		app = r.Msg
	}
	installed := app.State != api.State_STATE_NOT_INSTALLED
	d.mine = !installed || strings.Contains(app.Version, devMark)
	switch {
	case strings.Contains(app.Source, "catalog"):
		return fmt.Errorf("%s %s is the signed catalog's on this node, which is never replaced: take another node, such as one of the lab, or another id", m.ID, app.Version)
	case !d.mine && !d.take:
		return fmt.Errorf("%s %s is installed on this node, and not by this command: --take has it updated to yours, with its data", m.ID, app.Version)
	}
	if installed && d.mine || d.take {
		d.id = m.ID
		return nil
	}
	for _, c := range m.Containers {
		image := manifest.Override(m.ID, c.Name)
		there, err := d.way.run(ctx, session+"podman image exists "+quoted(image)+" && echo there || true", nil, io.Discard)
		if err != nil {
			return err
		}
		if strings.TrimSpace(there) != "" {
			return fmt.Errorf("the node has an image %s, which takes the place of the application's: --take has it replaced", image)
		}
	}
	d.id = m.ID
	return nil
}

// session is what Podman and systemd need to know of the user that they are asked for.
const session = `export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"; `

// reread has the daemon read the manifests on its disk again. The mark of the last
// deployment goes, because that is not what is there any more.
const reread = `rm -f ` + manifest.DataDir + `/` + manifest.OwnDir + `/catalog.digest
systemctl --user kill --kill-whom=main --signal=USR1 archipelago.service
`

// put takes the manifest on its standard input, if the node's daemon does.
func put(id string) string {
	return session + `set -eu
umask 077
mkdir -p ` + home(id) + `
cd ` + home(id) + `
trap 'rm -f manifest.yaml.new' EXIT
cat > manifest.yaml.new
~/.local/bin/archipelago render manifest.yaml.new > /dev/null
[ ! -e manifest.yaml ] || grep -q '` + devMark + `' manifest.yaml || mv manifest.yaml manifest.yaml.before
mv -f manifest.yaml.new manifest.yaml
` + reread
}

// takeBack undoes it: what was there before is there again.
func takeBack(id string) string {
	return session + `set -eu
cd ` + home(id) + `
rm -f manifest.yaml
if [ -e manifest.yaml.before ]; then mv manifest.yaml.before manifest.yaml; else cd .. && rmdir ` + quoted(id) + `; fi
` + reread
}

func home(id string) string {
	return quoted(manifest.DataDir + "/" + manifest.OwnDir + "/catalog/" + id)
}

// beside refuses a build directory to which a symbolic link leads: everything in it is sent
// to the node.
func beside(dir, build string) error {
	base, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	wanted := filepath.Join(base, build)
	switch real, err := filepath.EvalSymlinks(wanted); {
	case err != nil:
		return err
	case real != wanted:
		return fmt.Errorf("%s leads to %s by a symbolic link, and what is there would be sent to the node; expected the directory itself beside the manifest", filepath.Join(dir, build), real)
	}
	return nil
}

// build builds those images on the node whose contexts have changed, under the names that
// take the place of published ones.
func (d *development) build(ctx context.Context, m *manifest.Manifest) error {
	for _, c := range m.Containers {
		if c.Image.Build == "" {
			continue
		}
		dir := filepath.Join(filepath.Dir(d.file), c.Image.Build)
		if err := beside(filepath.Dir(d.file), c.Image.Build); err != nil {
			return fmt.Errorf("the image of %s: %w", c.Name, err)
		}
		digest, err := buildcontext.Digest(os.DirFS(dir))
		if err != nil {
			return fmt.Errorf("the image of %s: %w", c.Name, err)
		}
		if d.built[c.Name] == digest {
			continue
		}
		d.say("building the image of %s on the node", c.Name)
		r, w := io.Pipe()
		go func() { w.CloseWithError(pack(w, dir)) }()
		_, err = d.way.run(ctx, session+`set -eu; d=$(mktemp -d); trap 'rm -rf "$d"' EXIT; tar -x -C "$d"; podman build --tag `+quoted(manifest.Override(m.ID, c.Name))+` "$d" >&2`, r, d.cmd.ErrOrStderr())
		r.Close()
		if err != nil {
			return fmt.Errorf("building the image of %s: %w", c.Name, err)
		}
		d.built[c.Name] = digest
	}
	return nil
}

// pack writes a directory as a tar archive.
func pack(to io.Writer, dir string) error {
	w := tar.NewWriter(to)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return w.Close()
}

// offered waits until the daemon offers a version, or has it already.
func (d *development) offered(ctx context.Context, m *manifest.Manifest) (*api.App, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.patience, fmt.Errorf("the daemon does not offer %s after %s; 'journalctl --user -u archipelago' on the node says why", m.Version, d.patience))
	defer cancel()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		r, err := d.client.GetApp(ctx, connect.NewRequest(&api.GetAppRequest{Id: m.ID}))
		if err == nil && (r.Msg.Version == m.Version || r.Msg.AvailableVersion == m.Version) {
			return r.Msg, nil
		}
		if err != nil && connect.CodeOf(err) != connect.CodeNotFound && ctx.Err() == nil {
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// end takes back what was brought to the node.
func (d *development) end(ctx context.Context) error {
	if d.id == "" {
		return nil
	}
	if d.keep || !d.mine {
		d.say("%s stays installed as it is; 'archy uninstall %[1]s' removes it, and keeps its data", d.id)
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cleanup, fmt.Errorf("it took longer than %s", cleanup))
	defer cancel()
	d.say("uninstalling %s; its data stays; Ctrl-C again leaves it there", d.id)
	err := d.uninstall(ctx)
	if err == nil {
		_, err = d.way.run(ctx, takeBack(d.id), nil, io.Discard)
	}
	for name := range d.built {
		if err == nil {
			_, err = d.way.run(ctx, session+"podman rmi --ignore "+quoted(manifest.Override(d.id, name)), nil, io.Discard)
		}
	}
	if err != nil {
		return fmt.Errorf("taking %s back from the node: %s; 'archy app dev' on it again, and Ctrl-C, tries it again", d.id, explain(err))
	}
	return nil
}

func (d *development) uninstall(ctx context.Context) error {
	r, err := d.client.GetApp(ctx, connect.NewRequest(&api.GetAppRequest{Id: d.id}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return nil
	}
	if err != nil || r.Msg.State == api.State_STATE_NOT_INSTALLED {
		return err
	}
	op, err := d.client.Request(ctx, "uninstall", d.id, false)
	if err != nil {
		return err
	}
	_, err = d.client.Await(ctx, op, nil)
	return err
}
