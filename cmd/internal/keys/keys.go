// Package keys is how the commands make, open and read keys. A private key is in a file
// encrypted with age, or with an SSH agent; it is never in the environment.
package keys

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh/agent"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// ErrUsage is wrapped when a flag or a file does not name a key.
var ErrUsage = errors.New("usage")

const agentPrefix = "agent:"

// Flags are the flags of a command that signs.
type Flags struct {
	keys     []string
	identity string
}

// Add adds the flags to a command.
func (f *Flags) Add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.keys, "key", nil, "file of a private key, encrypted with age; or agent:NAME for a key of the SSH agent, by its comment or fingerprint; may be given again")
	c.Flags().StringVar(&f.identity, "identity", "", "file with the age identity that opens the key files")
	c.MarkFlagRequired("key")
}

// Open opens the keys that were named.
func (f *Flags) Open() (out []*sign.Signer, err error) {
	var ids []age.Identity
	if f.identity != "" {
		file, err := os.Open(f.identity)
		if err != nil {
			return nil, fmt.Errorf("%w: --identity: %w", ErrUsage, err)
		}
		defer file.Close()
		if ids, err = age.ParseIdentities(file); err != nil {
			return nil, fmt.Errorf("%w: --identity %s: %w", ErrUsage, f.identity, err)
		}
	}
	for _, k := range f.keys {
		s, err := open(k, ids)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func open(key string, ids []age.Identity) (*sign.Signer, error) {
	if name, ok := strings.CutPrefix(key, agentPrefix); ok {
		socket := os.Getenv("SSH_AUTH_SOCK")
		if socket == "" {
			return nil, fmt.Errorf("%w: --key %s: no SSH agent is running (SSH_AUTH_SOCK is not set)", ErrUsage, key)
		}
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return nil, fmt.Errorf("%w: --key %s: %w", ErrUsage, key, err)
		}
		return sign.AgentSigner(agent.NewClient(conn), name) // the connection lasts as long as the command
	}
	sealed, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("%w: --key: %w", ErrUsage, err)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: --key %s is encrypted: --identity names the file that opens it", ErrUsage, key)
	}
	return sign.OpenSigner(sealed, ids...)
}

// Read reads files of public keys, one per line; # begins a comment.
func Read(files ...string) (out []sign.PublicKey, err error) {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUsage, err)
		}
		b, err := io.ReadAll(io.LimitReader(f, 1<<20))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUsage, err)
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			k, err := sign.ParsePublicKey(line)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
			out = append(out, k)
		}
	}
	return out, nil
}

// Command returns the command "PROGRAM key FILE", which makes a key.
func Command(program string) *cobra.Command {
	var recipients []string
	var comment string
	c := &cobra.Command{
		Use: "key FILE", Short: "Make a signing key: FILE, encrypted with age, and FILE.pub",
		Example: "  age-keygen -o id.txt\n  " + program + " key my.key --recipient age1…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var to []age.Recipient
			for _, r := range recipients {
				rec, err := age.ParseX25519Recipient(r)
				if err != nil {
					return fmt.Errorf("%w: --recipient: %w", ErrUsage, err)
				}
				to = append(to, rec)
			}
			if len(to) == 0 {
				return fmt.Errorf("%w: --recipient: name at least one age public key that may open the key", ErrUsage)
			}
			s, err := sign.NewSigner(comment)
			if err != nil {
				return err
			}
			sealed, err := s.Seal(to...)
			if err != nil {
				return err
			}
			if err := create(args[0], sealed, 0o600); err != nil {
				return err
			}
			if err := create(args[0]+".pub", []byte(s.String()+"\n"), 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), s.PublicKey)
			return err
		},
	}
	c.Flags().StringSliceVarP(&recipients, "recipient", "r", nil, "age public key that may open the key; may be given again")
	c.Flags().StringVar(&comment, "comment", "", "one word that says whose key it is")
	return c
}

// create writes a new file; it never replaces one.
func create(file string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
