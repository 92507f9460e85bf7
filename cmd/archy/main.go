// Command archy controls a node's daemon. It is for owners of nodes, and for packagers,
// whose manifests it checks. Those who publish catalogs use the command catalog.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/archipelago-cloud/archipelago/cmd/internal/manual"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// version is set by the linker.
var version = "0.0.0-dev"

// Exit statuses.
const (
	exitFailed = 1 // the operation failed
	exitUsage  = 2 // usage or bad input
)

type app struct {
	node string
	json bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second Ctrl-C ends what the first has not
	root, errs := Command(), plain.ForTerminal(os.Stderr)
	root.SetOut(plain.ForTerminal(os.Stdout))
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	stop()
	if other := (ended{}); errors.As(err, &other) { // and has said why
		os.Exit(other.status)
	}
	if err != nil {
		fmt.Fprintln(errs, "archy:", explain(err))
		if usage.Is(err) {
			os.Exit(exitUsage)
		}
		os.Exit(exitFailed)
	}
}

// explain returns a message without the RPC's own words around it.
func explain(err error) string {
	var ce *connect.Error
	if errors.As(err, &ce) {
		return ce.Message()
	}
	return err.Error()
}

// Command is archy's command tree.
func Command() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use: "archy", Short: "Control the applications of an Archipelago node",
		Long:         "Control the applications of an Archipelago node.\n\nExit status: 0 done; 1 the operation failed; 2 usage or bad input.",
		Example:      "  archy login https://192.0.2.7:7443 --fingerprint 3f2a…\n  archy install APP\n  archy apps",
		Version:      version,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&a.node, "node", "", "address of the daemon; default: the one of 'archy login'")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON")
	root.AddCommand(a.login(), a.apps(), a.logs(), a.usage(), a.status(), a.credentials(), a.secret(), a.configure(), a.backup(), a.restore(), a.password(), a.secondFactor(), a.passkeys(), a.sessions(), a.users(), a.tokens(), a.storage(), a.moveVolume(), a.repository(), a.notices(), a.notify(), a.doctor(), a.support(), a.upgrade(), a.subscribe(), a.subscription(), a.refresh(), a.packaging(), a.validateAlias(), manual.Command())
	for _, v := range client.Verbs {
		root.AddCommand(a.operation(v))
	}
	usage.Mark(root)
	return root
}

// ask calls a method of the daemon and prints the answer: as JSON, or as say does for people.
func ask[Q, R any](a *app, cmd *cobra.Command, method func(*client.Client, context.Context, *connect.Request[Q]) (*connect.Response[R], error), question *Q, say func(*R) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	r, err := method(c, cmd.Context(), connect.NewRequest(question))
	if err != nil {
		return err
	}
	if m, ok := any(r.Msg).(proto.Message); ok && a.json {
		return a.print(cmd, m)
	}
	return say(r.Msg)
}

// print writes a message as JSON: fields by their names in the RPC's definition, those
// without a value too, and values of enumerations as people say them.
func (a *app) print(cmd *cobra.Command, m proto.Message) error {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true, UseProtoNames: true}.Marshal(m)
	if err != nil {
		return err
	}
	var said any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&said); err != nil {
		return err
	}
	inWords(said, m.ProtoReflect().Descriptor())
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetEscapeHTML(false)
	return e.Encode(said)
}

// inWords has the enumerations in the JSON of a message be words: "running", not
// "STATE_RUNNING".
func inWords(said any, m protoreflect.MessageDescriptor) {
	switch said := said.(type) {
	case []any:
		for _, one := range said {
			inWords(one, m)
		}
	case map[string]any:
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			switch name := f.TextName(); {
			case f.Enum() != nil:
				if value, ok := said[name].(string); ok {
					said[name] = wordOf(f.Enum(), value)
				}
			case f.Message() != nil && !f.IsMap():
				inWords(said[name], f.Message())
			}
		}
	}
}

// wordOf is a value of an enumeration, as people say it.
func wordOf(of protoreflect.EnumDescriptor, value string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(value, strings.ToUpper(string(of.Name()))+"_")), "_", " ")
}

func word(s api.State) string { return wordOf(s.Descriptor(), s.String()) }

func (a *app) apps() *cobra.Command {
	var sources bool
	c := &cobra.Command{
		Use: "apps", Short: "List the applications and their states",
		Example: "  archy apps --json\n  archy apps --sources",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).ListApps, &api.ListAppsRequest{}, func(r *api.ListAppsResponse) error {
				if r.Stale != "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "the engine does not answer (%s); this is the state as of %s\n", r.Stale, r.ObservedAt.AsTime().Local().Format("15:04:05"))
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				for _, p := range r.Apps {
					version := p.Version
					if p.AvailableVersion != "" {
						version += " (" + p.AvailableVersion + " available)"
					}
					if sources {
						version += "\t" + cmp.Or(p.Source, "-")
					}
					fmt.Fprintf(w, "%s\t%s\t%s%s\t%s\n", p.Id, version, word(p.State), backedUp(p, r.Apps), cmp.Or(p.Error, p.Note))
				}
				return w.Flush()
			})
		},
	}
	c.Flags().BoolVar(&sources, "sources", false, "show where each manifest comes from: the signed catalog, the disk, or both")
	return c
}

func (a *app) completeApps(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := a.client()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	r, err := c.ListApps(cmd.Context(), connect.NewRequest(&api.ListAppsRequest{}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, p := range r.Msg.Apps {
		ids = append(ids, p.Id)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) operation(verb string) *cobra.Command {
	var purge, noWait bool
	var accept, set []string
	var to string
	c := &cobra.Command{
		Use: verb + " APP", Short: strings.ToUpper(verb[:1]) + verb[1:] + " an application and wait until it is done",
		Example:           "  archy " + verb + " APP",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var op *api.Operation
			switch verb {
			case "update":
				op, err = a.update(cmd, c, args[0], accept)
			case "rollback":
				op, err = a.rollback(cmd, c, args[0], to, accept)
			case "install", "adopt":
				op, err = a.install(cmd, c, verb, args[0], set, accept)
			default:
				op, err = c.Request(cmd.Context(), verb, args[0], purge)
			}
			if err != nil {
				return err
			}
			if noWait {
				return a.print(cmd, op)
			}
			return a.await(cmd, c, op, verb)
		},
	}
	c.Flags().BoolVar(&noWait, "no-wait", false, "return once the request is accepted")
	if verb == "uninstall" {
		c.Flags().BoolVar(&purge, "purge", false, "delete its data and secrets too; this cannot be undone")
		c.Example += "\n  archy uninstall APP --purge"
	}
	if verb == "install" || verb == "adopt" {
		c.Flags().StringArrayVar(&accept, "accept", nil, "agree to what it asks for beyond what all applications have, in exactly the words that it is printed in; once for each")
		c.Long = c.Short + ". If it asks for capabilities,\ndevices or folders of yours, these are shown first and need your consent: an answer on a\nterminal, or --accept. Without, nothing is done; exit status 1."
	}
	if verb == "install" {
		c.Flags().StringArrayVar(&set, "set", nil, "NAME=VALUE of a setting that is not to have its default; once for each; of a secret one NAME=-, as with 'archy configure'")
		c.Example += "\n  archy install APP --set prune=0"
	}
	if verb == "update" {
		c.Flags().StringArrayVar(&accept, "accept", nil, "agree to a new privilege of the update, in exactly the words that 'archy update' prints; once for each")
		c.Long = "Update an application to the catalog's version and wait until it is done. If that asks\nfor more than the installed version may, it is shown first and needs your consent: an\nanswer on a terminal, or --accept. Without, nothing is done; exit status 1."
		c.Example += "\n  archy update APP --accept 'publishes port 8333/tcp of the node'"
	}
	if verb == "rollback" {
		c.Short = "Go back to the version before the last update, with its data"
		c.Long = "Go back to the version before the last update, with its data as that update found it,\nand wait until it is done. It is kept for a week after an update, unless the disk fills.\nWhat was written since is not in it: it stays for a week with the version that is left,\nand a second rollback goes forward to that. What becomes of your data is shown first and\nneeds your consent: an answer on a terminal, or the version with --to. Without, nothing\nis done; exit status 1."
		c.Flags().StringVar(&to, "to", "", "agree to go back to this version, and no other")
		c.Flags().StringArrayVar(&accept, "accept", nil, "agree to what the version before may do and the installed one may not, in exactly the words that are printed; once for each")
		c.Example += "\n  archy rollback APP --to 1.2.3"
	}
	return c
}

// await follows an accepted operation to its end.
func (a *app) await(cmd *cobra.Command, c *client.Client, op *api.Operation, verb string) error {
	p, err := c.Await(cmd.Context(), op, func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), s) })
	if err != nil {
		return err
	}
	if a.json {
		return a.print(cmd, p)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s done (engine %.1f s, application %.1f s)\n", op.App, verb, p.EngineSeconds, p.AppSeconds)
	return nil
}

func (a *app) logs() *cobra.Command {
	var follow, times bool
	var tail uint32
	var member, contains string
	c := &cobra.Command{
		Use: "logs APP", Short: "Show the logs of an application's containers",
		Example:           "  archy logs APP --follow\n  archy logs APP --member APP-db --contains error --tail 5000 --times",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			stream, err := c.Logs(cmd.Context(), connect.NewRequest(&api.LogsRequest{Id: args[0], Follow: follow, Tail: tail, Container: member, Contains: contains}))
			if err != nil {
				return err
			}
			defer stream.Close()
			for stream.Receive() {
				if a.json {
					if err := a.print(cmd, stream.Msg()); err != nil {
						return err
					}
					continue
				}
				when := ""
				if at := stream.Msg().Time; times && at != nil {
					when = at.AsTime().Local().Format("2006-01-02 15:04:05.000 ")
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s%s: %s\n", when, stream.Msg().Container, stream.Msg().Text)
			}
			return stream.Err()
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "keep printing new lines")
	c.Flags().Uint32Var(&tail, "tail", 100, "number of past lines per container that are looked through")
	c.Flags().StringVar(&member, "member", "", "only this container's")
	c.Flags().StringVar(&contains, "contains", "", "only lines with this text, whatever its case")
	c.Flags().BoolVar(&times, "times", false, "print when each line was said")
	return c
}

func (a *app) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the state of the daemon and the engine",
		Example: "  archy status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).Status, &api.StatusRequest{}, func(s *api.StatusResponse) error {
				fmt.Fprintf(cmd.OutOrStdout(), "daemon   %s, since %s\nengine   Podman %s\n", s.Version, s.StartedAt.AsTime().Local().Format("2006-01-02 15:04:05"), s.EngineVersion)
				if s.Stale != "" {
					fmt.Fprintf(cmd.OutOrStdout(), "stale    %s\n", s.Stale)
				}
				return nil
			})
		},
	}
}

func (a *app) credentials() *cobra.Command {
	return &cobra.Command{
		Use: "credentials APP", Short: "Show the credentials with which to sign in to an application",
		Example:           "  archy credentials APP",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).Credentials, &api.CredentialsRequest{Id: args[0]}, func(r *api.CredentialsResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				for k, v := range r.Secrets {
					fmt.Fprintf(w, "%s\t%s\n", k, v)
				}
				return w.Flush()
			})
		},
	}
}
