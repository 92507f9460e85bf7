package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

func (a *app) support() *cobra.Command {
	return &cobra.Command{
		Use: "support", Short: "Print a report for whoever helps you, without secrets",
		Long: `Print a report for whoever helps you: what the node is, what 'archy doctor' finds, the
applications, what was asked of them, and the last lines of each container's log. The secrets that
the node knows of, mail addresses and addresses on the internet are left out. Read it before you
give it away: applications may have said what is nobody else's.`,
		Example: "  archy support > report.txt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(a, cmd, (*client.Client).GetSupportReport, &api.GetSupportReportRequest{}, func(r *api.SupportReport) error {
				_, err := io.WriteString(cmd.OutOrStdout(), r.Text)
				return err
			})
		},
	}
}
