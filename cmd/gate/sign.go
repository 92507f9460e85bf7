package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/reports"
)

const defaultMaxAge = 14 * 24 * time.Hour

func (a *app) keyCommand() *cobra.Command {
	var recipients []string
	var comment string
	c := &cobra.Command{
		Use: "key FILE", Short: "Make the gate's key: FILE, encrypted with age, and FILE.pub",
		Example: "  age-keygen -o id.txt\n  gate key gate.key --recipient age1…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var to []age.Recipient
			for _, r := range recipients {
				rec, err := age.ParseX25519Recipient(r)
				if err != nil {
					return fmt.Errorf("%w: --recipient: %w", gate.ErrUsage, err)
				}
				to = append(to, rec)
			}
			if len(to) == 0 {
				return fmt.Errorf("%w: --recipient: name at least one age public key that may open the key", gate.ErrUsage)
			}
			s, err := sign.NewSigner(comment)
			if err != nil {
				return err
			}
			sealed, err := s.Seal(to...)
			if err != nil {
				return err
			}
			for file, body := range map[string][]byte{args[0]: sealed, args[0] + ".pub": []byte(s.String() + "\n")} {
				if err := create(file, body); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), s.PublicKey)
			return err
		},
	}
	c.Flags().StringSliceVarP(&recipients, "recipient", "r", nil, "age public key that may open the key; may be given again")
	c.Flags().StringVar(&comment, "comment", "", "one word that says whose key it is")
	return c
}

// create writes a new file; one that exists is never replaced.
func create(file string, b []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", gate.ErrUsage, err)
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func openSigner(key, identity string) (*sign.Signer, error) {
	sealed, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("%w: --key: %w", gate.ErrUsage, err)
	}
	f, err := os.Open(identity)
	if err != nil {
		return nil, fmt.Errorf("%w: --identity: %w", gate.ErrUsage, err)
	}
	defer f.Close()
	ids, err := age.ParseIdentities(f)
	if err != nil {
		return nil, fmt.Errorf("%w: --identity %s: %w", gate.ErrUsage, identity, err)
	}
	return sign.OpenSigner(sealed, ids...)
}

func (a *app) signCommand() *cobra.Command {
	var key, identity string
	c := &cobra.Command{
		Use: "sign [RUN]", Short: "Sign a run that can release: green, under the whole policy",
		Long:    "Sign a run's attestation: an in-toto test-result statement in a DSSE envelope. The\nverdict is judged anew from the results. A SMOKE, a red or an incomplete run is\nrefused, with what stands in the way, and exit status 1.",
		Example: "  gate sign --key gate.key --identity id.txt",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, _, err := a.openRun(args)
			if err != nil {
				return err
			}
			s, err := openSigner(key, identity)
			if err != nil {
				return err
			}
			envelope, err := gate.SignRun(cmd.Context(), dir, s)
			if err != nil {
				return err
			}
			file := filepath.Join(dir, reports.SignedFile)
			if err := os.WriteFile(file, envelope, 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: signed by %s\n", file, s.PublicKey)
			return err
		},
	}
	c.Flags().StringVar(&key, "key", "", "the gate's key, as 'gate key' made it")
	c.Flags().StringVar(&identity, "identity", "", "file with the age identity that opens it")
	c.MarkFlagRequired("key")
	c.MarkFlagRequired("identity")
	return c
}

func (a *app) verifyCommand() *cobra.Command {
	var files []string
	var threshold int
	var maxAge time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use: "verify [RUN]", Short: "Check a signed run: whose signature, and that the verdict follows from the results",
		Example: "  gate verify --trust gate.key.pub\n  gate verify out/gate/20260101-000000-1a2b --trust a.pub --trust b.pub --threshold 2",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, _, err := a.openRun(args)
			if err != nil {
				return err
			}
			var keys []sign.PublicKey
			for _, f := range files {
				more, err := readKeys(f)
				if err != nil {
					return err
				}
				keys = append(keys, more...)
			}
			r, err := gate.VerifyRun(cmd.Context(), dir, keys, threshold, maxAge, time.Now())
			if err != nil {
				return err
			}
			return say(cmd, asJSON, dir, r)
		},
	}
	c.Flags().StringSliceVar(&files, "trust", nil, "file of public keys, one a line; may be given again")
	c.Flags().IntVar(&threshold, "threshold", 1, "how many different keys must have signed")
	c.Flags().DurationVar(&maxAge, "max-age", defaultMaxAge, "oldest run that is taken")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagRequired("trust")
	return c
}

func readKeys(file string) ([]sign.PublicKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w: --trust: %w", gate.ErrUsage, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%w: --trust: %w", gate.ErrUsage, err)
	}
	var keys []sign.PublicKey
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := sign.ParsePublicKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}
