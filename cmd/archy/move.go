package main

import (
	"errors"
	"fmt"
	"path"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (a *app) moveVolume() *cobra.Command {
	var back bool
	c := &cobra.Command{
		Use: "move-volume APP VOLUME DIR", Short: "Move a volume of an application to another disk of the node, or back",
		Long: `Move a volume of an application to DIR/APP/VOLUME, which may be on another disk, or back
with --back. DIR is a directory of the node, which the node's user may write to, in a file
system that keeps owners, such as ext4. The application is stopped while the volume is
copied, and starts from its new place once that is complete; then the old one is deleted.
Interrupted before that, everything stays as it was. While the disk is not there, the
application waits for it.`,
		Example:           "  archy move-volume APP photos /mnt/big\n  archy move-volume APP photos --back",
		Args:              cobra.RangeArgs(2, 3),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := ""
			switch {
			case back && len(args) == 3, !back && len(args) == 2:
				return usage.Wrap(errors.New("expected either a directory of the node or --back"))
			case !back && !path.IsAbs(args[2]):
				return usage.Wrap(fmt.Errorf("%q: expected the absolute path of a directory on the node, such as /mnt/big", args[2]))
			case !back:
				dir = args[2]
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			stream, err := c.MoveVolume(cmd.Context(), connect.NewRequest(&api.MoveVolumeRequest{Id: args[0], Volume: args[1], Dir: dir}))
			if err != nil {
				return err
			}
			defer stream.Close()
			at := ""
			for stream.Receive() {
				switch m := stream.Msg(); {
				case a.json:
					if err := a.print(cmd, m); err != nil {
						return err
					}
				case m.Message != "":
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", args[0], m.Message)
				}
				at = stream.Msg().Dir
			}
			if err := stream.Err(); err != nil {
				return err
			}
			if !a.json {
				fmt.Fprintf(cmd.OutOrStdout(), "the volume %s of %s is %s\n", args[1], args[0], at)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&back, "back", false, "move it back into the application's own directory")
	return c
}
