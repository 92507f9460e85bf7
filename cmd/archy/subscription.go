package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (a *app) subscribe() *cobra.Command {
	var r api.SubscribeRequest
	var root string
	c := &cobra.Command{
		Use: "subscribe CHANNEL", Short: "Follow a channel of the signed catalog",
		Long:              "Follow a channel (" + strings.Join(catalog.Channels, ", ") + ") of the signed catalog from one or\nmore mirrors. --root is the root document that says whose signatures count; it is\nneeded once. With --automatic, updates begin by themselves, within --window if one is\ngiven; an update that does not come up is rolled back.",
		Example:           "  archy subscribe beta --mirror https://mirror.example/archipelago --root root.json\n  archy subscribe beta --mirror https://mirror.example/archipelago --automatic --window 02:00-05:00",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(catalog.Channels, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			r.Channel = args[0]
			if root != "" {
				if r.Root, err = os.ReadFile(root); err != nil {
					return usage.Wrap(fmt.Errorf("--root: %w", err))
				}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.Subscribe(cmd.Context(), connect.NewRequest(&r))
			if err != nil {
				return err
			}
			if len(r.Mirrors) > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "refreshing from the mirrors")
				if s, err = c.Refresh(cmd.Context(), connect.NewRequest(&api.RefreshRequest{})); err != nil {
					return err
				}
			}
			return a.showSubscription(cmd, s.Msg)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&r.Mirrors, "mirror", nil, "base address of a mirror; may be given again, in order of preference")
	f.StringVar(&root, "root", "", "file with the root document to trust")
	f.BoolVar(&r.Automatic, "automatic", false, "update applications automatically")
	f.StringVar(&r.Window, "window", "", "when automatic updates may begin, in the node's local time, such as 02:00-05:00; default: always")
	return c
}

func (a *app) subscription() *cobra.Command {
	return &cobra.Command{
		Use: "subscription", Short: "Show which catalog the node follows, and how old it is",
		Example: "  archy subscription --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.GetSubscription(cmd.Context(), connect.NewRequest(&api.GetSubscriptionRequest{}))
			if err != nil {
				return err
			}
			return a.showSubscription(cmd, s.Msg)
		},
	}
}

func (a *app) refresh() *cobra.Command {
	return &cobra.Command{
		Use: "refresh [FILE]", Short: "Fetch the catalog from the mirrors now, or take a signed one from a file",
		Example: "  archy refresh\n  archy refresh beta.json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				s, err := c.Refresh(cmd.Context(), connect.NewRequest(&api.RefreshRequest{}))
				if err != nil {
					return err
				}
				return a.showSubscription(cmd, s.Msg)
			}
			f, err := os.Open(args[0])
			if err != nil {
				return usage.Wrap(err)
			}
			defer f.Close()
			stream := c.LoadCatalog(cmd.Context())
			buf := make([]byte, pieceSize)
			for {
				n, err := io.ReadFull(f, buf)
				if n > 0 && stream.Send(&api.Chunk{Data: buf[:n]}) != nil {
					break // the answer says why
				}
				if err == io.EOF || err == io.ErrUnexpectedEOF {
					break
				}
				if err != nil {
					return err
				}
			}
			s, err := stream.CloseAndReceive()
			if err != nil {
				return err
			}
			return a.showSubscription(cmd, s.Msg)
		},
	}
}

func (a *app) showSubscription(cmd *cobra.Command, s *api.Subscription) error {
	if a.json {
		return a.print(cmd, s)
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "channel  %s, serial %d, root %d\nmirrors  %s\n", s.Channel, s.Serial, s.RootVersion, cmp.Or(strings.Join(s.Mirrors, ", "), "none"))
	if s.Serial > 0 {
		expires := s.Expires.AsTime()
		line := "expires"
		if time.Now().After(expires) {
			line = "EXPIRED"
		}
		fmt.Fprintf(w, "created  %s\n%s  %s\n", second(s.Created), line, second(s.Expires))
	}
	fmt.Fprintf(w, "checked  %s\n", second(s.Checked))
	if s.Automatic {
		fmt.Fprintf(w, "updates  automatic, %s\n", cmp.Or(s.Window, "at any time"))
	}
	if s.Error != "" {
		fmt.Fprintf(w, "error    %s\n", s.Error)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Refused)) {
		fmt.Fprintf(w, "refused  %s: %s\n", id, s.Refused[id])
	}
	return nil
}
