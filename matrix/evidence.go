package matrix

import (
	"context"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

const evidenceTimeout = 30 * time.Second

// collect keeps what the node can tell of a failure. Where a piece cannot be had,
// the reason is kept in its place.
func collect(ctx context.Context, env *Environment, rec *Recorder) {
	var members, units string
	for _, m := range env.App.Containers {
		members += " " + m.Name
		units += " " + m.Name + ".service"
	}
	since := "--since=" + nodes.Ago(rec.begin)
	for _, piece := range []struct{ file, command string }{
		{"journal-user.txt", "journalctl --user --no-pager -o short-precise " + since},
		{"journal-system.txt", "journalctl --no-pager -o short-precise " + since},
		{"units.txt", "systemctl --user status --no-pager --full --lines=50" + units + " " + nodes.DaemonUnit + "; for f in ~/.config/containers/systemd/" + env.App.ID + "*; do echo \"== $f\"; cat \"$f\"; done"},
		{"inspect.json", "podman inspect" + members + " 2>&1; podman ps --all --format json"},
		{"desired.json", "cat " + nodes.DataDir + "/" + manifest.OwnDir + "/state/desired/" + env.App.ID + ".json"},
	} {
		out, err := env.SSH.Run(ctx, "("+piece.command+") 2>&1; true")
		if err != nil {
			out += "\ncould not be collected: " + err.Error() + "\n"
		}
		if err := rec.keep(piece.file, []byte(out)); err != nil {
			rec.say("evidence could not be kept: " + err.Error())
			return
		}
	}
}
