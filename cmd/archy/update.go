package main

import (
	"bufio"
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

// update requests an update. New privileges that are not accepted yet are shown first,
// and whoever sits at a terminal is asked.
func (a *app) update(cmd *cobra.Command, c *client.Client, id string, accept []string) (*api.Operation, error) {
	r, err := c.GetApp(cmd.Context(), connect.NewRequest(&api.GetAppRequest{Id: id}))
	if err != nil {
		return nil, err
	}
	if asked := missing(r.Msg.NewPrivileges, accept); len(asked) > 0 {
		in, ok := cmd.InOrStdin().(*os.File)
		if err := consent(in, cmd.ErrOrStderr(), ok && term.IsTerminal(int(in.Fd())), r.Msg, asked); err != nil {
			return nil, err
		}
		accept = slices.Concat(accept, asked)
	}
	op, err := c.Update(cmd.Context(), connect.NewRequest(&api.UpdateRequest{Id: id, Consent: accept}))
	if err != nil {
		return nil, err
	}
	return op.Msg, nil
}

// missing are the privileges that are not accepted.
func missing(privileges, accept []string) []string {
	return slices.DeleteFunc(slices.Clone(privileges), func(p string) bool { return slices.Contains(accept, p) })
}

// consent shows what an update asks for and, at a terminal, asks whether to go on. No
// answer but yes is consent.
func consent(in io.Reader, out io.Writer, terminal bool, app *api.App, asked []string) error {
	fmt.Fprintf(out, "%s %s asks for more than %s:\n", app.Id, app.AvailableVersion, app.Version)
	for _, p := range asked {
		fmt.Fprintf(out, "  %s\n", p)
	}
	if !terminal {
		flags := make([]string, len(asked))
		for i, p := range asked {
			flags[i] = "--accept '" + strings.ReplaceAll(p, "'", `'\''`) + "'"
		}
		return fmt.Errorf("%s is not updated without your consent; to agree: archy update %s %s", app.Id, app.Id, strings.Join(flags, " "))
	}
	if !agrees(in, out, "Update?") {
		return fmt.Errorf("%s is not updated", app.Id)
	}
	return nil
}

// agrees asks a person a question. No answer but yes is one.
func agrees(in io.Reader, out io.Writer, question string) bool {
	fmt.Fprint(out, question, " [y/N] ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
