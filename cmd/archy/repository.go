package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// backedUp is the column of an application's newest backup, which is there where any has one.
func backedUp(p *api.App, all []*api.App) string {
	switch b := p.Backup; {
	case !slices.ContainsFunc(all, func(p *api.App) bool { return p.Backup != nil }):
		return ""
	case b.GetMade() == nil:
		return "\tno backup"
	default:
		proven := ""
		if b.Proven != nil {
			proven = ", proven " + b.Proven.AsTime().Local().Format("2006-01-02")
			if b.DataOnly != "" {
				proven += " (data only: " + b.DataOnly + ")"
			}
		}
		return "\tbackup of " + minute(b.Made) + ", " + size(b.Size) + proven
	}
}

// reaching are the variables of archy's environment that go to the node to reach a repository.
var reaching = map[string][]string{
	"s3":   {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"},
	"rest": {"RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"},
}

func (a *app) repository() *cobra.Command {
	c := &cobra.Command{
		Use: "repository", Short: "Name the repositories that backups of applications go to",
		Long: `Name the repositories that backups of applications go to: encrypted, incremental and
without duplicates, by restic, on another disk of the node or elsewhere. 'archy backup APP
--to NAME' backs an application up there, 'archy restore APP --from NAME' brings it back.`,
		Example: "  archy repository add disk /mnt/disk/backups\n  archy backup APP --to disk\n  archy repository snapshots disk",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.addRepository(), a.setRepository(), a.listRepositories(), a.listSnapshots(), a.prove(), a.recoveryKey(), a.removeRepository())
	return c
}

func (a *app) addRepository() *cobra.Command {
	var key bool
	c := &cobra.Command{
		Use: "add NAME ADDRESS", Short: "Make a repository, or take one over with its recovery key",
		Long: `Make a repository at an address, and print its recovery key: keep that where the node is
not. When the node is gone, nobody reads the backups without it. The node begins within
minutes to back up what is installed, and stops each application while its volumes are
copied: 'archy repository set' says when that may be.

The address is an absolute path on the node, on a disk other than the applications',
sftp:USER@HOST:/PATH, s3:https://HOST/BUCKET or rest:https://HOST/PATH. What reaches it is
taken from the environment of this command: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and,
where they are set, AWS_SESSION_TOKEN and AWS_DEFAULT_REGION; RESTIC_REST_USERNAME and
RESTIC_REST_PASSWORD. Over SFTP, the node has a key of its own, which is printed where the
other side does not take it.

With --recovery-key, a repository that is there already is taken over, as on a fresh node:
its key is one line on standard input.`,
		Example: "  archy repository add disk /mnt/disk/backups\n  archy repository add nas sftp:backup@nas.lan:/srv/backups\n  archy repository add disk /mnt/disk/backups --recovery-key < key",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			add := &api.AddRepositoryRequest{Name: args[0], Url: args[1], Environment: map[string]string{}}
			kind, _, _ := strings.Cut(args[1], ":")
			for _, name := range reaching[kind] {
				if v := os.Getenv(name); v != "" {
					add.Environment[name] = v
				}
			}
			var err error
			if key {
				if add.RecoveryKey, err = oneLine(cmd); err != nil {
					return err
				}
			}
			return ask(a, cmd, (*client.Client).AddRepository, add, func(r *api.AddRepositoryResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is %s\n", r.Repository.Name, r.Repository.Url)
				if !key {
					fmt.Fprintf(cmd.OutOrStdout(), "recovery key: %s\n", r.RecoveryKey)
					fmt.Fprintln(cmd.ErrOrStderr(), "Keep the recovery key where the node is not: without it, nobody reads the backups when the node is gone.")
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&key, "recovery-key", false, "take over a repository that is there; its recovery key is one line on standard input")
	return c
}

func (a *app) listRepositories() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the repositories",
		Example: "  archy repository list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListRepositories, &api.ListRepositoriesRequest{}, func(r *api.ListRepositoriesResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tADDRESS\tBACKUPS\tCHECKED\tPROBLEM")
				for _, s := range r.Repositories {
					checked := minute(s.Checked)
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Name, cmp.Or(s.Url, "-"), schedule(s.Schedule), checked, cmp.Or(s.Problem, "-"))
				}
				return w.Flush()
			})
		},
	}
}

// schedule says when backups are made.
func schedule(s *api.Schedule) string {
	switch {
	case s == nil:
		return "-"
	case s.Hours < 0:
		return "on demand"
	case s.Window != "":
		return fmt.Sprintf("every %d h, %s", s.Hours, s.Window)
	}
	return fmt.Sprintf("every %d h", s.Hours)
}

func (a *app) setRepository() *cobra.Command {
	to := &api.Schedule{}
	c := &cobra.Command{
		Use: "set NAME", Short: "Say when backups into a repository are made, and which are kept",
		Long: `Say when backups into a repository are made, and which are kept. All applications that are
installed are backed up, each every 24 hours unless you say otherwise; it is stopped while
its volumes are copied. Of its snapshots, the newest of each of seven days, four weeks and
six months are kept, or what you say with --keep-…. What you leave out is the default again.`,
		Example: "  archy repository set disk --every 12 --window 02:00-05:00\n  archy repository set disk --keep-daily 14 --keep-monthly 24\n  archy repository set disk --every -1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).SetRepository, &api.SetRepositoryRequest{Name: args[0], Schedule: to}, func(r *api.SetRepositoryResponse) error {
				k := r.Repository.Schedule
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s; kept are the last %d, and those of %d days, %d weeks and %d months\n", args[0], schedule(k), k.GetKeepLast(), k.GetKeepDaily(), k.GetKeepWeekly(), k.GetKeepMonthly())
				return nil
			})
		},
	}
	c.Flags().Int32Var(&to.Hours, "every", 0, "hours between two backups of an application; -1: only on demand (default 24)")
	c.Flags().StringVar(&to.Window, "window", "", "when they may begin, the node's time, such as 02:00-05:00; default: always")
	c.Flags().Uint32Var(&to.KeepLast, "keep-last", 0, "snapshots of an application to keep, whatever their age")
	c.Flags().Uint32Var(&to.KeepDaily, "keep-daily", 0, "days of which to keep the newest")
	c.Flags().Uint32Var(&to.KeepWeekly, "keep-weekly", 0, "weeks of which to keep the newest")
	c.Flags().Uint32Var(&to.KeepMonthly, "keep-monthly", 0, "months of which to keep the newest")
	return c
}

func (a *app) listSnapshots() *cobra.Command {
	return &cobra.Command{
		Use: "snapshots NAME [APP]", Short: "List the backups in a repository, the newest first",
		Example: "  archy repository snapshots disk\n  archy repository snapshots disk APP",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			list := &api.ListSnapshotsRequest{Repository: args[0]}
			if len(args) > 1 {
				list.Id = args[1]
			}
			return ask(a, cmd, (*client.Client).ListSnapshots, list, func(r *api.ListSnapshotsResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "SNAPSHOT\tAPPLICATION\tMADE\tNODE\tSIZE")
				for _, s := range r.Snapshots {
					fmt.Fprintf(w, "%.8s\t%s\t%s\t%s\t%s\n", s.Id, s.App, minute(s.Made), s.Host, size(s.Size))
				}
				return w.Flush()
			})
		},
	}
}

func (a *app) prove() *cobra.Command {
	return &cobra.Command{
		Use: "prove NAME APP", Short: "Restore an application's newest backup on trial, beside its data",
		Long: `Restore an application's newest backup on trial, beside its data, which is not touched: all
of it is read back, and it is what a restoration takes. Then the application is started from
it: under another name, in a network of its own that leads nowhere, without a port, and with
the memory that its manifest allows. All its containers must become healthy, and its page must
answer as its manifest says. Then everything is removed again. The node does this by itself,
once a week.

An application that requires others, uses devices or your folders is not started; nor is one
whose backup is of another version than the one installed, or for which memory is short. Then
its data is proven, and the reason is shown.`,
		Example: "  archy repository prove disk APP",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			stream, err := c.ProveSnapshot(cmd.Context(), connect.NewRequest(&api.ProveSnapshotRequest{Repository: args[0], Id: args[1]}))
			if err != nil {
				return err
			}
			last, err := a.follow(cmd, stream)
			switch {
			case err != nil:
				return err
			case last.GetSnapshot() == nil:
				return errors.New("the node ended without an answer")
			case a.json:
				return a.print(cmd, last.Snapshot)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: snapshot %.8s in %s was restored on trial, all of it; %s\n", args[1], last.Snapshot.Id, args[0], last.Message)
			return nil
		},
	}
}

// size is a number of bytes in words; "-" where it is not known.
func size(bytes int64) string {
	switch {
	case bytes == 0:
		return "-"
	case bytes < 10<<20:
		return fmt.Sprintf("%d KiB", (bytes+1023)>>10)
	case bytes < 10<<30:
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d GiB", bytes>>30)
}

func (a *app) recoveryKey() *cobra.Command {
	return &cobra.Command{
		Use: "key NAME", Short: "Print the recovery key of a repository, which opens it when the node is gone",
		Long:    "Print the recovery key of a repository, which opens it when the node is gone: of one that\nwas removed, for 30 days.",
		Example: "  archy repository key disk",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).GetRecoveryKey, &api.GetRecoveryKeyRequest{Name: args[0]}, func(r *api.GetRecoveryKeyResponse) error {
				fmt.Fprintln(cmd.OutOrStdout(), r.RecoveryKey)
				return nil
			})
		},
	}
}

func (a *app) removeRepository() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a repository, and print its recovery key; nothing in it is deleted",
		Example: "  archy repository remove disk",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).RemoveRepository, &api.RemoveRepositoryRequest{Name: args[0]}, func(r *api.RemoveRepositoryResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is forgotten; what is in it stays as it is\nrecovery key: %s\n", args[0], r.RecoveryKey)
				fmt.Fprintln(cmd.ErrOrStderr(), "Keep the recovery key: without it, nobody reads the backups again. The node gives it for 30 days more: archy repository key "+args[0])
				return nil
			})
		},
	}
}

// backupTo makes a snapshot and tells how far it is.
func (a *app) backupTo(cmd *cobra.Command, c *client.Client, app, to string) error {
	stream, err := c.MakeSnapshot(cmd.Context(), connect.NewRequest(&api.MakeSnapshotRequest{Id: app, Repository: to}))
	if err != nil {
		return err
	}
	last, err := a.follow(cmd, stream)
	switch {
	case err != nil:
		return err
	case last.GetSnapshot() == nil:
		return errors.New("the node ended without an answer")
	case a.json:
		return a.print(cmd, last.Snapshot)
	}
	s := last.Snapshot
	fmt.Fprintf(cmd.OutOrStdout(), "%s: snapshot %.8s in %s, of %s, %s of them new\n", app, s.Id, to, size(s.Size), size(s.Added))
	return nil
}

// restoreFrom brings a snapshot back, and waits until the application runs.
func (a *app) restoreFrom(cmd *cobra.Command, c *client.Client, app, from, snapshot string, accept []string) error {
	stream, err := c.RestoreSnapshot(cmd.Context(), connect.NewRequest(&api.RestoreSnapshotRequest{Id: app, Repository: from, Snapshot: snapshot, Consent: accept}))
	if err != nil {
		return err
	}
	last, err := a.follow(cmd, stream)
	switch {
	case err != nil:
		return err
	case last.GetOperation() == nil:
		return errors.New("the node ended without an answer")
	}
	return a.await(cmd, c, last.Operation, "restore")
}

// follow says what is being done, each thing once and its progress in tenths, and gives the
// last of it.
func (a *app) follow(cmd *cobra.Command, stream *connect.ServerStreamForClient[api.SnapshotProgress]) (last *api.SnapshotProgress, err error) {
	defer stream.Close()
	said := ""
	for stream.Receive() {
		last = stream.Msg()
		if last.Snapshot != nil || last.Operation != nil || a.json {
			continue
		}
		text := last.Message
		if tenths := int(last.Done * 10); tenths > 0 {
			text += fmt.Sprintf(": %d %%", tenths*10)
		}
		if text != said {
			fmt.Fprintln(cmd.ErrOrStderr(), text)
			said = text
		}
	}
	return last, stream.Err()
}

// oneOf refuses flags that belong to different forms of a command.
func oneOf(cmd *cobra.Command, form string, others ...string) error {
	for _, other := range others {
		if cmd.Flags().Changed(other) {
			return usage.Wrap(fmt.Errorf("--%s and --%s are two forms of the command: leave one out", form, other))
		}
	}
	return nil
}
