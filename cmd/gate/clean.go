package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/plan"
)

const day = 24 * time.Hour

// cleanCommand removes old runs, and what the registry keeps and no run has used for as long.
func (a *app) cleanCommand() *cobra.Command {
	var c gate.Cleaning
	var days, gib int
	cmd := &cobra.Command{
		Use: "clean", Short: "Remove old runs and cached images, and say what is freed and what is kept",
		Long:    "Remove runs that are older than --days, and then the oldest until the rest is below\n--gib; and cached images that nothing has used for --days. The latest run, one that\nis being worked on, and the newest --keep stay; signed ones, too, without --signed.",
		Example: "  gate clean --dry-run\n  gate clean --keep 3 --days 7",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Keep < 0 || days < 0 || gib < 0 {
				return fmt.Errorf("%w: --keep, --days and --gib are not negative", plan.ErrUsage)
			}
			c.Age, c.Bytes = time.Duration(days)*day, int64(gib)<<30
			now, w := time.Now(), cmd.OutOrStdout()
			done, err := gate.Clean(a.out, c, now)
			verb, freed := "removed", int64(0)
			if c.DryRun {
				verb = "would remove"
			}
			for _, r := range done {
				if r.Why != "" {
					fmt.Fprintf(w, "kept %s (%d MiB): %s\n", r.Dir, r.Bytes>>20, r.Why)
					continue
				}
				freed += r.Bytes
				fmt.Fprintf(w, "%s %s (%d MiB)\n", verb, r.Dir, r.Bytes>>20)
			}
			if err != nil {
				return err
			}
			cache, err := os.UserCacheDir()
			if err != nil {
				return err
			}
			dir := filepath.Join(cache, "archipelago", "registry")
			switch n, err := publish.Prune(dir, now.Add(-c.Age), c.DryRun); {
			case errors.Is(err, publish.ErrInUse):
				fmt.Fprintf(w, "kept %s: %v\n", dir, err)
			case err != nil:
				return err
			default:
				freed += n
				fmt.Fprintf(w, "%s images of %d MiB from %s\n", verb, n>>20, dir)
			}
			_, err = fmt.Fprintf(w, "%s %d MiB in all\n", verb, freed>>20)
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&c.Keep, "keep", 5, "number of newest runs that stay whatever they are")
	f.IntVar(&days, "days", 30, "age from which runs and cached images go")
	f.IntVar(&gib, "gib", 20, "size of all runs together from which the oldest go; 0: no bound")
	f.BoolVar(&c.Signed, "signed", false, "remove signed runs, too")
	f.BoolVar(&c.DryRun, "dry-run", false, "only say what would be removed")
	return cmd
}
