package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

func (a *app) notices() *cobra.Command {
	return &cobra.Command{
		Use: "notices", Short: "List what wants your attention now",
		Long:    "List what wants your attention now: what the pages show first, and 'archy notify' sends.",
		Example: "  archy notices\n  archy notices --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListNotices, &api.ListNoticesRequest{}, func(r *api.ListNoticesResponse) error {
				if len(r.Notices) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), "nothing wants your attention")
				}
				for _, n := range r.Notices {
					said := n.Subject + " " + n.What
					if n.Text != "" {
						said += ": " + n.Text
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s, since %s: %s\n    what to do: %s\n", n.Severity, minute(n.Since), said, n.Remedy)
				}
				return nil
			})
		},
	}
}

func (a *app) notify() *cobra.Command {
	c := &cobra.Command{
		Use: "notify", Short: "Say where notices go: a push service, mail or a Matrix room",
		Long: `Say where notices go: a push service that speaks ntfy://, mail, or a Matrix room. A notice
says that something is not well (an application failed or ran out of memory, a disk is
filling, a backup is overdue, the catalog is frozen, a version was withdrawn, somebody may know
your password) and what to do, and when it is over. You hear of each once, and of a failure
within a minute.`,
		Example: "  archy notify add phone ntfy://push.example.org/a-topic-that-nobody-guesses\n  archy notify test phone\n  archy notify list",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.addTarget(), a.listTargets(), a.testTarget(), a.removeTarget())
	return c
}

func (a *app) addTarget() *cobra.Command {
	return &cobra.Command{
		Use: "add NAME ADDRESS", Short: "Have notices go to an address as well",
		Long: `Have notices go to an address as well. With - for it, the address is one line on standard
input, and in no list of processes and no shell's history. The node keeps it secret, and does
not give it out again.

  ntfy://HOST/TOPIC, ntfy://USER:PASSWORD@HOST/TOPIC, ntfy://:TOKEN@HOST/TOPIC
  smtp://USER:PASSWORD@HOST:587/?from=ADDRESS&to=ADDRESS,ADDRESS    by STARTTLS
  smtps://USER:PASSWORD@HOST/?from=ADDRESS&to=ADDRESS               by TLS, port 465
  matrix://:TOKEN@HOST/!ROOM:SERVER

In a user or a password, write @ as %40, : as %3A, / as %2F. A password goes through TLS only;
an ntfy:// or Matrix server without it is reached with ?scheme=http, and no password. No
redirection is followed. The node sends wherever you say, also within your own network.`,
		Example: "  archy notify add phone ntfy://push.example.org/a-topic-that-nobody-guesses\n  archy notify add mail - < address",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			add := &api.AddTargetRequest{Name: args[0], Address: args[1]}
			if add.Address == "-" {
				if add.Address, err = oneLine(cmd); err != nil {
					return err
				}
			}
			return ask(a, cmd, (*client.Client).AddTarget, add, func(r *api.AddTargetResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "notices go to %s, too; 'archy notify test %s' sends one\n", r.Target.Address, r.Target.Name)
				return nil
			})
		},
	}
}

func (a *app) listTargets() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List where notices go, and how that goes",
		Example: "  archy notify list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListTargets, &api.ListTargetsRequest{}, func(r *api.ListTargetsResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tADDRESS\tSENT\tTO GO\tPROBLEM")
				for _, t := range r.Targets {
					sent := minute(t.Sent)
					problem := t.Problem
					if t.Lost > 0 {
						problem += fmt.Sprintf("; %d given up", t.Lost)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", t.Name, t.Address, sent, t.Waiting, cmp.Or(strings.TrimPrefix(problem, "; "), "-"))
				}
				return w.Flush()
			})
		},
	}
}

func (a *app) testTarget() *cobra.Command {
	return &cobra.Command{
		Use: "test NAME", Short: "Send a message there now; exit status 1 if it is not taken",
		Example: "  archy notify test phone",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).TestTarget, &api.TestTargetRequest{Name: args[0]}, func(r *api.TestTargetResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "%s has taken a message\n", args[0])
				return nil
			})
		},
	}
}

func (a *app) removeTarget() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Have no more notices go there",
		Example: "  archy notify remove phone",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).RemoveTarget, &api.RemoveTargetRequest{Name: args[0]}, func(r *api.RemoveTargetResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "no more notices go to %s\n", args[0])
				return nil
			})
		},
	}
}
