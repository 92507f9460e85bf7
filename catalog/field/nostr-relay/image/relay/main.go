// Relay is a Nostr relay that takes and keeps every event that is signed.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fiatjaf/eventstore/badger"
	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

const usage = `usage: relay run          serve on port 3334
       relay put TEXT     send a note to the relay in this container
       relay get          print the newest notes of the relay in this container`

const address = "ws://127.0.0.1:3334"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		log.Fatal("relay: ", err)
	}
}

func command(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "run":
		return run(ctx)
	case len(args) == 2 && args[0] == "put":
		return ask(ctx, func(ctx context.Context, relay *nostr.Relay) error { return put(ctx, relay, args[1]) })
	case len(args) == 1 && args[0] == "get":
		return ask(ctx, get)
	}
	return errors.New(usage)
}

func run(ctx context.Context) error {
	store := &badger.BadgerBackend{Path: "/data/events"}
	if err := store.Init(); err != nil {
		return fmt.Errorf("/data/events: %w", err)
	}
	defer store.Close()
	relay := khatru.NewRelay()
	relay.Info.Name = os.Getenv("RELAY_NAME")
	relay.Info.Description = "A relay of Nostr's events"
	relay.Info.Software = "https://github.com/fiatjaf/khatru"
	relay.StoreEvent = append(relay.StoreEvent, store.SaveEvent)
	relay.QueryEvents = append(relay.QueryEvents, store.QueryEvents)
	relay.CountEvents = append(relay.CountEvents, store.CountEvents)
	relay.DeleteEvent = append(relay.DeleteEvent, store.DeleteEvent)
	relay.ReplaceEvent = append(relay.ReplaceEvent, store.ReplaceEvent)
	relay.Router().HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, page)
	})
	server := &http.Server{Addr: ":3334", Handler: relay, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const page = `<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Nostr relay</title><link rel="icon" href="data:,">
<h1>Nostr relay</h1>
<p id="relay">Add the address of this page to the relays of your Nostr client, with <code>ws</code> in place of <code>http</code>.</p>
`

// ask has a client of the relay in this container. The connection ends with this process: the
// library's Close may take it away under what it is still writing.
func ask(ctx context.Context, do func(context.Context, *nostr.Relay) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	relay, err := nostr.RelayConnect(ctx, address)
	if err != nil {
		return err
	}
	return do(ctx, relay)
}

func put(ctx context.Context, relay *nostr.Relay, text string) error {
	event := nostr.Event{Kind: nostr.KindTextNote, CreatedAt: nostr.Now(), Tags: nostr.Tags{}, Content: text}
	if err := event.Sign(nostr.GeneratePrivateKey()); err != nil {
		return err
	}
	return relay.Publish(ctx, event)
}

func get(ctx context.Context, relay *nostr.Relay) error {
	events, err := relay.QuerySync(ctx, nostr.Filter{Kinds: []int{nostr.KindTextNote}, Limit: 100})
	if err != nil {
		return err
	}
	for _, e := range events {
		fmt.Println(e.Content)
	}
	return nil
}
