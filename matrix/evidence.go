package matrix

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
)

const evidenceTimeout = 30 * time.Second

// collect keeps what the node can tell of a failure. That a piece cannot be had is
// kept in its place.
func (c *cell) collect(ctx context.Context) {
	var members []string
	for _, m := range c.app.Containers {
		members = append(members, m.Name)
	}
	names := strings.Join(members, " ")
	units := ""
	for _, m := range members {
		units += " " + m + ".service"
	}
	since := fmt.Sprintf("--since=@%d", c.begin.Unix()-1)
	for _, piece := range []struct{ file, command string }{
		{"journal-user.txt", "journalctl --user --no-pager -o short-precise " + since},
		{"journal-system.txt", "journalctl --no-pager -o short-precise " + since},
		{"units.txt", "systemctl --user status --no-pager --full --lines=50" + units + " " + nodes.DaemonUnit + "; for f in ~/.config/containers/systemd/" + c.app.ID + "*; do echo \"== $f\"; cat \"$f\"; done"},
		{"inspect.json", "podman inspect " + names + " 2>&1; podman ps --all --format json"},
		{"desired.json", "cat " + nodes.DataDir + "/_daemon/state/desired/" + c.app.ID + ".json"},
	} {
		out, err := c.ssh.Run(ctx, "("+piece.command+") 2>&1; true")
		if err != nil {
			out += "\ncould not be collected: " + err.Error() + "\n"
		}
		if err := c.keep(piece.file, []byte(out)); err != nil {
			c.note = "evidence could not be kept: " + err.Error()
			return
		}
	}
}
