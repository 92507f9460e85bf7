package main

import (
	"context"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (node) GetSupportReport(context.Context, *connect.Request[api.GetSupportReportRequest]) (*connect.Response[api.SupportReport], error) {
	return connect.NewResponse(&api.SupportReport{Text: "Archipelago, report for support\n\n== The node\nname: box.local\n"}), nil
}
