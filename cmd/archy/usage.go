package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

func (a *app) usage() *cobra.Command {
	return &cobra.Command{
		Use: "usage APP", Short: "Show what an application has used of the node in the last 24 hours",
		Long:              "Show what an application has used of the node in the last 24 hours, all its containers\ntogether: processors on average (1 is one of the node's, all of the time), memory at most,\nbytes received and sent, and the size of its volumes, which is looked at once a day.\nWhat could not be read is \"-\"; of a time that nobody has seen there is no line.",
		Example:           "  archy usage APP\n  archy usage APP --json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, cmd, (*client.Client).Usage, &api.UsageRequest{Id: args[0]}, func(r *api.UsageResponse) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', tabwriter.AlignRight)
				fmt.Fprintln(w, "FROM\tPROCESSORS\tMEMORY\tRECEIVED\tSENT\tDISK\t")
				for _, p := range r.Points {
					processors := "-"
					if p.Processors != nil {
						processors = fmt.Sprintf("%.3f", *p.Processors)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", minute(p.At), processors, amount(p.Memory), amount(p.Received), amount(p.Sent), amount(p.Disk))
				}
				return w.Flush()
			})
		},
	}
}

// amount is a number of bytes as people read it.
func amount(n *int64) string {
	switch {
	case n == nil:
		return "-"
	case *n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(*n)/(1<<10))
	case *n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(*n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(*n)/(1<<30))
}
