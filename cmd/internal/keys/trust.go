package keys

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/gate/attest"
)

// Trust are the flags that say what a run must show, and whose word on it counts.
type Trust struct {
	keys, waivers []string
	policy        string
	trust         attest.Trust
}

// Add gives a command the flags for gates' keys.
func (f *Trust) Add(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.keys, "trust", nil, "file of public keys of gates, one a line; may be given again")
	c.Flags().IntVar(&f.trust.Threshold, "threshold", 1, "how many different keys must have signed")
	c.MarkFlagRequired("trust")
	f.AddPolicy(c)
}

// AddPolicy gives a command the flags for what a run must show, without gates' keys: it
// takes them from the root.
func (f *Trust) AddPolicy(c *cobra.Command) {
	c.Flags().DurationVar(&f.trust.MaxAge, "max-age", attest.DefaultMaxAge, "oldest run that is taken")
	c.Flags().StringVar(&f.policy, "policy", "", "file of the release policy that the run must meet; default: the one built in")
}

// AddWaivers gives a command the flags for the keys of those who may excuse a failure.
func (f *Trust) AddWaivers(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.waivers, "trust-waivers", nil, "file of public keys of those who may excuse a failure; default: nobody may")
	c.Flags().IntVar(&f.trust.WaiverThreshold, "waiver-threshold", 1, "how many of them must have signed a waiver")
}

// Read gives what the flags say.
func (f *Trust) Read() (attest.Trust, error) {
	var err error
	if f.trust.Keys, err = Read(f.keys...); err != nil {
		return attest.Trust{}, fmt.Errorf("--trust: %w", err)
	}
	if f.trust.Waivers, err = Read(f.waivers...); err != nil {
		return attest.Trust{}, fmt.Errorf("--trust-waivers: %w", err)
	}
	if f.trust.Policy, err = Policy(f.policy); err != nil {
		return attest.Trust{}, err
	}
	return f.trust, nil
}

// ReadFor gives what the flags say, and trusts the keys of the root's roles: the gates'
// sign runs, and those of catalogs sign waivers.
func (f *Trust) ReadFor(p *root.Policy) (attest.Trust, error) {
	t, err := f.Read()
	t.Keys, t.Threshold = p.Gate.Keys, p.Gate.Threshold
	t.Waivers, t.WaiverThreshold = p.Catalog.Keys, p.Catalog.Threshold
	return t, err
}
