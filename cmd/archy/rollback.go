package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// rollback requests the way back to the version before the last update. What that leaves is
// shown first, and whoever sits at a terminal is asked; others name the version.
func (a *app) rollback(cmd *cobra.Command, c *client.Client, id, to string, accept []string) (*api.Operation, error) {
	r, err := c.GetApp(cmd.Context(), connect.NewRequest(&api.GetAppRequest{Id: id}))
	if err != nil {
		return nil, err
	}
	if back := r.Msg.Previous; back != nil && back.Refused == "" { // or else the node says why not
		asked := missing(back.NewPrivileges, accept)
		if to == "" || len(asked) > 0 {
			in, ok := cmd.InOrStdin().(*os.File)
			if err := consentBack(in, cmd.ErrOrStderr(), ok && term.IsTerminal(int(in.Fd())), r.Msg, asked); err != nil {
				return nil, err
			}
			accept = slices.Concat(accept, asked)
		}
		if to == "" {
			to = back.Version
		}
	}
	op, err := c.Rollback(cmd.Context(), connect.NewRequest(&api.RollbackRequest{Id: id, Version: to, Consent: accept}))
	if err != nil {
		return nil, err
	}
	return op.Msg, nil
}

// consentBack says what going back leaves, and, at a terminal, asks whether to.
func consentBack(in io.Reader, out io.Writer, terminal bool, app *api.App, asked []string) error {
	back := app.Previous
	fmt.Fprintf(out, "%s goes back from %s to %s, with its data as of %s. What was written since is not in it;\nthat is kept with %s for a week, unless the disk fills, and 'archy rollback %s' goes forward to it.\nTo have it for longer, back it up first: archy backup %s --to REPOSITORY\n", app.Id, app.Version, back.Version, minute(back.Taken), app.Version, app.Id, app.Id)
	if len(asked) > 0 {
		fmt.Fprintf(out, "%s asks for more than %s:\n", back.Version, app.Version)
	}
	words := append([]string{"archy rollback", app.Id, "--to", back.Version}, listed(out, asked)...)
	if !terminal {
		return fmt.Errorf("%s does not go back without your consent; to agree: %s", app.Id, strings.Join(words, " "))
	}
	if !agrees(in, out, "Go back?") {
		return errors.New(app.Id + " does not go back")
	}
	return nil
}
