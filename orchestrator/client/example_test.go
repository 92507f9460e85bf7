package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// node stands in for a node's daemon: it installs feeds, and nothing else comes up.
type node struct {
	apiconnect.UnimplementedOrchestratorHandler
}

func (node) Install(_ context.Context, r *connect.Request[api.InstallRequest]) (*connect.Response[api.Operation], error) {
	if r.Header().Get("Authorization") != "Bearer secret" {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("wrong token"))
	}
	return connect.NewResponse(&api.Operation{App: r.Msg.Id, Generation: 1}), nil
}

func (node) Watch(_ context.Context, r *connect.Request[api.WatchRequest], stream *connect.ServerStream[api.Progress]) error {
	end := &api.Progress{Done: true}
	if r.Msg.App != "feeds" {
		end.Error = "container web: exited with status 1"
	}
	return errors.Join(stream.Send(&api.Progress{Message: "pulling the image"}), stream.Send(end))
}

func serve() *httptest.Server {
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewOrchestratorHandler(node{}))
	return httptest.NewServer(mux)
}

// Once a request returns, the daemon has it on disk: it will be carried out even after a
// power cut. Await then follows it to its end.
func Example() {
	server := serve()
	defer server.Close()
	ctx := context.Background()

	c := client.New(server.URL, "secret", "")
	op, err := c.Request(ctx, "install", "feeds", false)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("accepted:", op.App)
	if _, err := c.Await(ctx, op, func(message string) { fmt.Println(message) }); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("installed")
	// Output:
	// accepted: feeds
	// pulling the image
	// installed
}

// An operation that was accepted and then failed is an ErrOperation; one that was not
// accepted is any other error.
func ExampleClient_Do() {
	server := serve()
	defer server.Close()
	ctx := context.Background()

	_, err := client.New(server.URL, "secret", "").Do(ctx, "install", "notes", false, nil)
	fmt.Println(err, errors.Is(err, client.ErrOperation))
	_, err = client.New(server.URL, "guess", "").Do(ctx, "install", "notes", false, nil)
	fmt.Println(err, errors.Is(err, client.ErrOperation))
	// Output:
	// operation failed: notes: container web: exited with status 1 true
	// unauthenticated: wrong token false
}
