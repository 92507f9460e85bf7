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

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
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
		if err := consent(in, cmd.ErrOrStderr(), ok && term.IsTerminal(int(in.Fd())), "update", r.Msg, asked); err != nil {
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

// install requests an installation, or an adoption, with settings that differ from the
// defaults. What it asks for beyond what all applications have is shown first, as with an
// update.
func (a *app) install(cmd *cobra.Command, c *client.Client, verb, id string, set, accept []string) (*api.Operation, error) {
	config, err := assignments(set)
	if err != nil {
		return nil, err
	}
	r, err := c.GetApp(cmd.Context(), connect.NewRequest(&api.GetAppRequest{Id: id}))
	if err != nil {
		return nil, err
	}
	if err := readSecrets(cmd, c, id, config); err != nil {
		return nil, err
	}
	agreed := accept
	if asked := missing(r.Msg.NewPrivileges, accept); r.Msg.AvailableVersion == "" && len(asked) > 0 {
		in, ok := cmd.InOrStdin().(*os.File)
		if err := consent(in, cmd.ErrOrStderr(), ok && term.IsTerminal(int(in.Fd())), verb, r.Msg, asked); err != nil {
			return nil, err
		}
		agreed = slices.Concat(accept, asked)
	}
	if verb == "adopt" {
		op, err := c.Adopt(cmd.Context(), connect.NewRequest(&api.AdoptRequest{Id: id, Consent: agreed}))
		if err != nil {
			return nil, err
		}
		return op.Msg, nil
	}
	op, err := c.Install(cmd.Context(), connect.NewRequest(&api.InstallRequest{Id: id, Config: config, Consent: agreed}))
	if err != nil {
		return nil, err
	}
	return op.Msg, nil
}

// assignments reads NAME=VALUE.
func assignments(args []string) (map[string]string, error) {
	out := map[string]string{}
	for _, arg := range args {
		k, v, ok := strings.Cut(arg, "=")
		if !ok || k == "" {
			return nil, usage.Wrap(fmt.Errorf("%q: expected NAME=VALUE", arg))
		}
		out[k] = v
	}
	return out, nil
}

// missing are the privileges that are not accepted.
func missing(privileges, accept []string) []string {
	return slices.DeleteFunc(slices.Clone(privileges), func(p string) bool { return slices.Contains(accept, p) })
}

// listed shows privileges, and gives the flags that agree to them.
func listed(out io.Writer, privileges []string) (flags []string) {
	for _, p := range privileges {
		fmt.Fprintf(out, "  %s\n", p)
		flags = append(flags, "--accept "+quoted(p))
	}
	return flags
}

// consent shows what an update, or another verb, asks for and, at a terminal, asks whether
// to go on. No answer but yes is consent.
func consent(in io.Reader, out io.Writer, terminal bool, verb string, app *api.App, asked []string) error {
	done := map[string]string{"update": "updated", "install": "installed", "adopt": "adopted"}[verb]
	if verb == "update" {
		fmt.Fprintf(out, "%s %s asks for more than %s:\n", app.Id, app.AvailableVersion, app.Version)
	} else {
		fmt.Fprintf(out, "%s %s asks for more than applications have by themselves. It\n", app.Id, app.Version)
	}
	flags := listed(out, asked)
	if !terminal {
		return fmt.Errorf("%s is not %s without your consent; to agree: archy %s %s %s", app.Id, done, verb, app.Id, strings.Join(flags, " "))
	}
	if !agrees(in, out, strings.ToUpper(verb[:1])+verb[1:]+"?") {
		return fmt.Errorf("%s is not %s", app.Id, done)
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
