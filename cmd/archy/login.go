package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

type credentials struct {
	Node        string `json:"node"`
	Token       string `json:"token"`
	Fingerprint string `json:"fingerprint,omitempty"` // of the node's CA; none where this machine trusts its certificate
}

func credentialsFile() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "archipelago", "login.json"), err
}

func (a *app) login() *cobra.Command {
	var fingerprint string
	c := &cobra.Command{
		Use: "login NODE", Short: "Sign in to a node with an access token from standard input",
		Long: "Sign in to a node, and remember it and its access token. The token is read from\nstandard input, so that it appears in no process list. On the node it is in\n/var/lib/archipelago/_daemon/state/token.\n\n" +
			"The node is recognised by its certificate authority, whose fingerprint\n'archipelago fingerprint' prints on the node. A node under a public name with a public\ncertificate needs none. On the node itself, http://127.0.0.1:7070 needs none either.",
		Example: "  ssh archipelago@192.0.2.7 cat /var/lib/archipelago/_daemon/state/token | archy login https://192.0.2.7:7443 --fingerprint 3f2a…\n  sudo cat /var/lib/archipelago/_daemon/state/token | archy login http://127.0.0.1:7070",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			node := strings.TrimSuffix(args[0], "/")
			if !strings.Contains(node, "://") {
				node = "https://" + node
			}
			if err := client.Check(node); err != nil {
				return usage.Wrap(err)
			}
			switch {
			case fingerprint != "":
				if fingerprint, err = client.Fingerprint(fingerprint); err != nil {
					return usage.Wrap(fmt.Errorf("--fingerprint: %w", err))
				}
			case strings.HasPrefix(node, "https:"):
				if fingerprint, err = confirm(cmd, node); err != nil {
					return err
				}
			}
			var token string
			if _, err := fmt.Fscan(cmd.InOrStdin(), &token); err != nil {
				return usage.Wrap(fmt.Errorf("reading the token from standard input: %w", err))
			}
			c := client.New(node, token, fingerprint)
			s, err := c.Status(cmd.Context(), connect.NewRequest(&api.StatusRequest{}))
			if err != nil {
				return err
			}
			b, err := json.Marshal(credentials{node, token, fingerprint})
			if err != nil {
				return err
			}
			file, err := credentialsFile()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(file, b, 0o600); err != nil {
				return err
			}
			if a.json {
				return a.print(cmd, s.Msg)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "signed in to %s (daemon %s)\n", node, s.Msg.Version)
			return nil
		},
	}
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "SHA-256 of the node's certificate authority, as 'archipelago fingerprint' prints it on the node")
	return c
}

// confirm has a person at a terminal say whether the CA that a node shows is its own, and
// returns its fingerprint: none where this machine trusts the node's certificate already.
func confirm(cmd *cobra.Command, node string) (string, error) {
	shown, err := client.AskFingerprint(cmd.Context(), node)
	if err != nil || shown == "" {
		return "", err
	}
	errs := cmd.ErrOrStderr()
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", usage.Wrap(fmt.Errorf("%s shows a certificate authority that this machine does not know, with the fingerprint %s; if 'archipelago fingerprint' prints the same on the node, add --fingerprint %[2]s", node, shown))
	}
	fmt.Fprintf(errs, "%s shows the fingerprint %s\n", node, shown)
	if !agrees(cmd.InOrStdin(), errs, "Does 'archipelago fingerprint' print the same on the node?") {
		return "", errors.New("not signed in")
	}
	fmt.Fprint(errs, "access token: ")
	return shown, nil
}

// signedIn gives what the last sign-in has left; --node names another node.
func (a *app) signedIn() (c credentials, err error) {
	file, err := credentialsFile()
	if err != nil {
		return c, err
	}
	b, err := os.ReadFile(file)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &c); err != nil {
			return c, fmt.Errorf("%s: %w", file, err)
		}
	case errors.Is(err, fs.ErrNotExist):
		return c, usage.Wrap(errors.New("not signed in to a node; see 'archy login --help'"))
	default:
		return c, err
	}
	if a.node != "" {
		c.Node = a.node
	}
	return c, usage.Wrap(client.Check(c.Node))
}

func (a *app) client() (*client.Client, error) {
	c, err := a.signedIn()
	if err != nil {
		return nil, err
	}
	return client.New(c.Node, c.Token, c.Fingerprint), nil
}
