package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/plan"
)

func (a *app) mergeCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "merge RUN...", Short: "Join the runs of all shards of a release into one, and judge it",
		Long:    "Join the runs that several machines made with 'gate run --shard', one of each shard, into\none run with one verdict, one report and one attestation, which is signed, verified and\nreleased like any other. Each RUN is a directory, with its machine's ledger.jsonl beside it.\nRuns that are not the whole of one release, each application once, by the same programs\nand under the same policy, are refused with the reason and exit status 2.",
		Example: "  gate run --shard 2/3 --durations last.json    # likewise 1/3 and 3/3, each on a machine of its own\n  gate merge one/20260101-000000-1a2b two/20260101-000000-3c4d three/20260101-000000-5e6f",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if name == "" {
					return fmt.Errorf("%w: a RUN is empty; name the run of each shard", plan.ErrUsage)
				}
			}
			outcome, err := gate.Merge(a.out, args...)
			if err != nil {
				return err
			}
			return say(cmd, asJSON, outcome.Dir, outcome.Report)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// slice reads what --shard and --durations say.
func slice(shard, durations string) (plan.Slice, error) {
	if shard == "" {
		if durations != "" {
			return plan.Slice{}, fmt.Errorf("%w: --durations says how a release is split, which takes --shard", plan.ErrUsage)
		}
		return plan.Slice{}, nil
	}
	s, err := plan.ParseSlice(shard)
	if err != nil || durations == "" {
		return s, err
	}
	b, err := os.ReadFile(durations)
	if err != nil {
		return s, fmt.Errorf("%w: --durations: %w", plan.ErrUsage, err)
	}
	s.Durations, err = plan.ParseDurations(durations, b)
	return s, err
}
