package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

const (
	pieceSize = 256 << 10 // of a program on its way to the node
	maxPEM    = 64 << 10  // of a key on its way there, in bytes; the node takes less
)

// oneLine reads a secret from standard input, so that it appears in no process list.
func oneLine(cmd *cobra.Command) (string, error) {
	return lineOf(bufio.NewReader(cmd.InOrStdin()))
}

// beginsPEM is how a key or a certificate begins (RFC 7468).
const beginsPEM = "-----BEGIN "

// lineOrPEM reads a secret from standard input: one line, or all of a key or a certificate.
func lineOrPEM(in io.Reader) (string, error) {
	r := bufio.NewReader(in)
	if head, _ := r.Peek(len(beginsPEM)); string(head) != beginsPEM {
		return lineOf(r)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxPEM))
	return strings.TrimRight(string(b), "\r\n") + "\n", err
}

func lineOf(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usage.Wrap(errors.New("expected one line on standard input"))
	}
	return line, nil
}

func (a *app) secret() *cobra.Command {
	c := &cobra.Command{Use: "secret", Short: "Manage the secrets of applications", Args: cobra.NoArgs,
		Example: "  archy secret import APP db-password < password",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(&cobra.Command{
		Use: "import APP NAME", Short: "Import a secret's value from standard input",
		Long:              "Import the value of a generated secret, for data that was created with it elsewhere.\nThe value is one line on standard input, or a key or a certificate in PEM. A value that is in use is never replaced.",
		Example:           "  archy secret import APP db-password < password",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := lineOrPEM(cmd.InOrStdin())
			if err != nil {
				return err
			}
			return ask(a, cmd, (*client.Client).ImportSecret, &api.ImportSecretRequest{Id: args[0], Name: args[1], Value: value}, func(*api.ImportSecretResponse) error { return nil })
		},
	})
	return c
}

func (a *app) configure() *cobra.Command {
	return &cobra.Command{
		Use: "configure APP [NAME=VALUE...]", Short: "Show or change the settings of an application",
		Long:              "Without NAME=VALUE, show the settings. A change restarts the application at once. It\nis refused if it conflicts with what another application requires of this one.\n\nOf a secret setting, the value is asked for at the terminal, or is one line on standard\ninput: write NAME=- for it, and NAME= to clear it. It is not shown again.",
		Example:           "  archy configure bitcoin\n  archy configure bitcoin prune=0 txindex=1\n  archy configure mail api-key=- < key",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := assignments(args[1:])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if len(change) > 0 {
				if err := readSecrets(cmd, c, args[0], change); err != nil {
					return err
				}
				op, err := c.Configure(cmd.Context(), connect.NewRequest(&api.ConfigureRequest{Id: args[0], Config: change}))
				if err != nil {
					return err
				}
				return a.await(cmd, c, op.Msg, "configure")
			}
			r, err := c.GetApp(cmd.Context(), connect.NewRequest(&api.GetAppRequest{Id: args[0]}))
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r.Msg.Config)
			}
			for _, k := range slices.Sorted(maps.Keys(r.Msg.Config)) {
				fmt.Fprintf(cmd.OutOrStdout(), "%s=%s\n", k, r.Msg.Config[k])
			}
			return nil
		},
	}
}

// readSecrets has "-" in a change of settings be the value that the owner types, where
// the setting is secret. A value of such a one on the command line is refused.
func readSecrets(cmd *cobra.Command, c *client.Client, app string, change map[string]string) error {
	r, err := c.GetApp(cmd.Context(), connect.NewRequest(&api.GetAppRequest{Id: app}))
	if err != nil {
		return err
	}
	in := bufio.NewReader(cmd.InOrStdin())
	for _, name := range r.Msg.SecretSettings {
		switch change[name] {
		case "": // not to be changed, or to be cleared
			continue
		case "-":
		default:
			return usage.Wrap(fmt.Errorf("%s is secret, and others can see a command line: write %s=-, and the value on standard input", name, name))
		}
		if f, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", name)
			b, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if change[name] = string(b); change[name] == "" {
				return usage.Wrap(fmt.Errorf("%s: no value was typed; %s= clears it", name, name))
			}
			continue
		}
		if change[name], err = lineOf(in); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (a *app) password() *cobra.Command {
	return &cobra.Command{
		Use: "password", Short: "Set the password of My Apps from standard input",
		Long:    "Set the password of My Apps from standard input. It has to withstand guessing, as where\na node is claimed, and all browsers are signed out.",
		Example: "  archy password < password",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			value, err := oneLine(cmd)
			if err != nil {
				return err
			}
			return ask(a, cmd, (*client.Client).SetPassword, &api.SetPasswordRequest{Password: value}, func(*api.SetPasswordResponse) error { return nil })
		},
	}
}

func (a *app) secondFactor() *cobra.Command {
	show := &cobra.Command{
		Use: "second-factor", Short: "Show whether signing in to My Apps takes a code beside the password",
		Long: `Show whether signing in to My Apps takes a code beside the password.

It is set up in My Apps, on the page System. Whoever has lost the authenticator and the
recovery codes turns it off here.`,
		Example: "  archy second-factor\n  archy second-factor codes > codes\n  archy second-factor off",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).GetSecondFactor, &api.GetSecondFactorRequest{}, func(f *api.SecondFactor) error {
				if !f.On {
					fmt.Fprintln(cmd.OutOrStdout(), "off: the password alone signs in")
					return nil
				}
				fmt.Fprintf(cmd.OutOrStdout(), "on since %s; %d recovery codes are left\n", minute(f.Since), f.RecoveryCodes)
				return nil
			})
		},
	}
	show.AddCommand(&cobra.Command{
		Use: "codes", Short: "Make recovery codes anew, and print them; a code is read from standard input",
		Long: `Make recovery codes anew, and print them, one a line: this once. Those before are void. One code
that the authenticator shows, or one for recovery, is read from standard input.`,
		Example: "  archy second-factor codes > codes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			code, err := oneLine(cmd)
			if err != nil {
				return err
			}
			return ask(a, cmd, (*client.Client).RenewRecoveryCodes, &api.RenewRecoveryCodesRequest{Code: code}, func(r *api.RenewRecoveryCodesResponse) error {
				fmt.Fprintln(cmd.OutOrStdout(), strings.Join(r.Codes, "\n"))
				fmt.Fprintln(cmd.ErrOrStderr(), "keep them where you keep documents; those before are void")
				return nil
			})
		},
	})
	show.AddCommand(&cobra.Command{
		Use: "off", Short: "Have the password alone sign in",
		Example: "  archy second-factor off",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).EndSecondFactor, &api.EndSecondFactorRequest{}, func(*api.EndSecondFactorResponse) error { return nil })
		},
	})
	return show
}

func (a *app) doctor() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check whether the node has what applications need; exit status 1 if it lacks something",
		Example: "  archy doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.Doctor(cmd.Context(), connect.NewRequest(&api.DoctorRequest{}))
			if err != nil {
				return err
			}
			problems := 0
			for _, f := range r.Msg.Findings {
				mark := "ok     "
				if !f.Ok {
					mark = "problem"
					problems++
				}
				if a.json {
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %s: %s\n", mark, f.Name, f.Detail)
				if !f.Ok && f.Remedy != "" {
					fmt.Fprintf(cmd.OutOrStdout(), "         remedy: %s\n", f.Remedy)
				}
			}
			if a.json {
				if err := a.print(cmd, r.Msg); err != nil {
					return err
				}
			}
			if problems > 0 {
				return fmt.Errorf("%d of %d checks found a problem", problems, len(r.Msg.Findings))
			}
			return nil
		},
	}
}

func (a *app) backup() *cobra.Command {
	var out, to string
	var recipients []string
	c := &cobra.Command{
		Use: "backup APP", Short: "Back up an application into a repository, or into one file",
		Long:              "Back up an application with its settings, volumes and secrets. The application is stopped\nwhile its volumes are copied on the node. With --to, the backup goes into a repository\n(archy repository), encrypted, and only what is new is stored. Otherwise it becomes one\nfile here, for moving house: the node encrypts all of it with age to the recipients.",
		Example:           "  archy backup APP --to disk\n  age-keygen -o key.txt\n  archy backup APP --recipient age1… --output backup.zip.age",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if to != "" {
				if err := oneOf(cmd, "to", "recipient", "output"); err != nil {
					return err
				}
				c, err := a.client()
				if err != nil {
					return err
				}
				return a.backupTo(cmd, c, args[0], to)
			}
			if len(recipients) == 0 {
				return usage.Wrap(errors.New("--recipient: name at least one age public key; otherwise nobody could read the backup"))
			}
			for _, r := range recipients {
				if _, err := age.ParseX25519Recipient(r); err != nil {
					return usage.Wrap(fmt.Errorf("--recipient: %w", err))
				}
			}
			if out == "" {
				out = args[0] + ".zip.age"
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			f, err := os.OpenFile(out+".partial", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			defer os.Remove(f.Name())
			size, err := c.SaveBackup(cmd.Context(), args[0], recipients, f)
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
			if err := os.Rename(f.Name(), out); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes\n", out, size)
			return nil
		},
	}
	c.Flags().StringVar(&to, "to", "", "the repository to back up into")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write; default: APP.zip.age")
	c.Flags().StringSliceVarP(&recipients, "recipient", "r", nil, "age public key that can decrypt the backup; may be given again")
	return c
}

func (a *app) restore() *cobra.Command {
	var identity, from, snapshot string
	var accept []string
	c := &cobra.Command{
		Use: "restore FILE|APP", Short: "Restore a backup and wait until the application runs",
		Long:    "Restore a backup on a node where the application is not installed and has no data.\nWith --from, APP comes back from a repository (archy repository): its newest snapshot, or\nthe one that --snapshot names. Otherwise FILE is a backup in one file, which\nis decrypted here: the identity does not leave this machine. Where the backup's manifest is\nnot the one of the node's catalog, that and what it may do beyond it need your consent.\nBackups of earlier releases, which are zip files, are restored, too.",
		Example: "  archy restore APP --from disk\n  archy restore APP --from disk --snapshot 71b15237\n  archy restore backup.zip.age --identity key.txt",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from != "" {
				if err := oneOf(cmd, "from", "identity"); err != nil {
					return err
				}
				c, err := a.client()
				if err != nil {
					return err
				}
				return a.restoreFrom(cmd, c, args[0], from, snapshot, accept)
			}
			if identity == "" || snapshot != "" {
				return usage.Wrap(errors.New("name the identity that decrypts the file with --identity, or the repository with --from"))
			}
			keys, err := os.Open(identity)
			if err != nil {
				return usage.Wrap(fmt.Errorf("--identity: %w", err))
			}
			defer keys.Close()
			identities, err := age.ParseIdentities(keys)
			if err != nil {
				return usage.Wrap(fmt.Errorf("--identity %s: %w", identity, err))
			}
			f, err := os.Open(args[0])
			if err != nil {
				return usage.Wrap(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return usage.Wrap(err)
			}
			backup, err := client.OpenBackup(f, info.Size(), identities)
			if err != nil {
				return usage.Wrap(fmt.Errorf("%s: %w", args[0], err))
			}
			defer backup.Close()
			backup.Accept(accept)
			c, err := a.client()
			if err != nil {
				return err
			}
			op, err := c.RestoreBackup(cmd.Context(), backup)
			if err != nil {
				return err
			}
			return a.await(cmd, c, op, "restore")
		},
	}
	c.Flags().StringVarP(&identity, "identity", "i", "", "file with the age identity that can decrypt the backup")
	c.Flags().StringVar(&from, "from", "", "the repository to restore from")
	c.Flags().StringVar(&snapshot, "snapshot", "", "with --from: the beginning of a snapshot's id; default: the newest of this node's, or of the only one that made any")
	c.Flags().StringArrayVar(&accept, "accept", nil, "agree to what the node's catalog does not vouch for, in exactly the words of the refusal; once for each")
	return c
}

func (a *app) upgrade() *cobra.Command {
	var release string
	c := &cobra.Command{
		Use: "upgrade FILE", Short: "Replace the node's daemon; if the new one does not come up, the old one returns",
		Long: `Replace the node's daemon with the program in FILE, archipelago-linux-ARCH of a
release, and wait until it serves. Applications keep running. The node runs it only if
the release is signed by keys of the root document that the node trusts (archy
subscribe), and is not older than what runs. If the new daemon does not come up, the old
one returns by itself. A program without a release is for the node's own shell:
archipelago upgrade --unsigned FILE.

Exit status: 0 the new daemon serves; 1 it was refused, or the old one has returned; 2
usage or bad input.`,
		Example: "  archy upgrade archipelago-linux-amd64\n  archy upgrade archipelago-linux-amd64 --release Downloads/release.dsse.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := os.ReadFile(args[0])
			if release == "" {
				release = filepath.Join(filepath.Dir(args[0]), description.File)
			}
			envelope, missing := os.ReadFile(release)
			if missing != nil {
				missing = fmt.Errorf("the release's signed description: %w; download it with the program, or name it with --release", missing)
			}
			if err := errors.Join(err, missing); err != nil {
				return usage.Wrap(err)
			}
			d, err := description.Peek(envelope)
			if err != nil {
				return usage.Wrap(fmt.Errorf("%s: %w", release, err))
			}
			sum := sha256.Sum256(b)
			want := hex.EncodeToString(sum[:])
			if !slices.Contains(slices.Collect(maps.Values(d.Files)), want) {
				return usage.Wrap(fmt.Errorf("%s describes release %s, and %s is no file of it", release, d.Version, args[0]))
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			before, err := c.Status(cmd.Context(), connect.NewRequest(&api.StatusRequest{}))
			if err != nil {
				return err
			}
			stream := c.Upgrade(cmd.Context())
			err = stream.Send(&api.UpgradeRequest{Sha256: want, Release: envelope})
			for piece := range slices.Chunk(b, pieceSize) {
				if err != nil {
					break // the answer says why
				}
				err = stream.Send(&api.UpgradeRequest{Program: piece})
			}
			r, err := stream.CloseAndReceive()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is on trial\n", r.Msg.Version)
			s, err := awaitUpgrade(cmd.Context(), c, before.Msg.StartedAt.AsTime(), want)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(cmd, s)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the daemon is %s\n", s.Version)
			return nil
		},
	}
	c.Flags().StringVar(&release, "release", "", "the release's signed description; default: "+description.File+" beside FILE")
	return c
}

const (
	upgradeTimeout = 3 * time.Minute
	upgradePoll    = 500 * time.Millisecond
)

// awaitUpgrade waits until the daemon that started at before has been replaced: by the
// one with this digest, or by the old one, which is an error.
func awaitUpgrade(ctx context.Context, c *client.Client, before time.Time, want string) (*api.StatusResponse, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, upgradeTimeout, fmt.Errorf("waited %s for the daemon to answer", upgradeTimeout))
	defer cancel()
	tick := time.NewTicker(upgradePoll)
	defer tick.Stop()
	for {
		r, err := c.Status(ctx, connect.NewRequest(&api.StatusRequest{}))
		switch {
		case err != nil || r.Msg.StartedAt.AsTime().Equal(before): // it has not ended yet
		case r.Msg.Digest == want && r.Msg.ObservedAt.AsTime().After(r.Msg.StartedAt.AsTime()):
			return r.Msg, nil
		case r.Msg.Digest != want:
			return nil, fmt.Errorf("the new daemon did not come up; %s has returned (journalctl --user -u archipelago on the node says why)", r.Msg.Version)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
