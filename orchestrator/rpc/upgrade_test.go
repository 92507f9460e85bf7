package rpc

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// TestTheTokenAloneRunsNoProgram sends programs as a client that holds the token does.
func TestTheTokenAloneRunsNoProgram(t *testing.T) {
	ctx := context.Background()
	key, err := sign.NewSigner("release")
	if err != nil {
		t.Fatal(err)
	}
	thief, err := sign.NewSigner("thief")
	if err != nil {
		t.Fatal(err)
	}
	trust := func(k *sign.Signer) []byte {
		role := root.Role{Keys: []sign.PublicKey{k.PublicKey}, Threshold: 1}
		b, err := root.Sign(root.Policy{Version: 1, Expires: time.Now().Add(time.Hour), Root: role, Catalog: role}, k)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	dir := t.TempDir()
	program, ran := filepath.Join(dir, "archipelago"), filepath.Join(dir, "ran")
	if err := os.WriteFile(program, []byte("the one that serves"), 0o755); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 1)
	own := t.TempDir() // the daemon's state
	s, _ := server(t, own)
	s.Program, s.Version, s.End = program, "1.1.0", func() { ended <- struct{}{} }
	mux := http.NewServeMux()
	mux.Handle(s.Handler(access.NewGuard(s.Sessions)))
	web := httptest.NewServer(mux)
	defer web.Close()
	c := client.New(web.URL, "sesame", "")

	text := "#!/bin/sh\ntouch " + ran + "\necho archipelago version 1.2.0\n" + strings.Repeat("#", 2<<20)
	upgrade := func(release []byte, text, announced string) error {
		stream := c.Upgrade(ctx)
		err := stream.Send(&api.UpgradeRequest{Sha256: announced, Release: release})
		for rest := text; err == nil && rest != ""; {
			n := min(len(rest), 256<<10)
			err, rest = stream.Send(&api.UpgradeRequest{Program: []byte(rest[:n])}), rest[n:]
		}
		_, err = stream.CloseAndReceive()
		return err
	}
	digest := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	release := func(version, text string, by *sign.Signer) []byte {
		b, err := description.Sign(ctx, description.Description{Version: version, Created: time.Now().UTC().Truncate(time.Second), Commit: "ab", Files: map[string]string{description.Daemon(runtime.GOARCH): digest(text)}}, by)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	refused := func(name string, release []byte, text, announced, want string) {
		t.Helper()
		err := upgrade(release, text, announced)
		if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", name, err, want)
		}
		if _, err := os.Stat(ran); err == nil {
			t.Errorf("%s: it was run", name)
		}
		if b, err := os.ReadFile(program); err != nil || string(b) != "the one that serves" {
			t.Errorf("%s: %q is in place, %v", name, b, err)
		}
	}
	good := release("1.2.0", text, key)
	refused("signed, where no root is trusted", good, text, digest(text), "no catalog is followed")
	if _, err := c.Subscribe(ctx, connect.NewRequest(&api.SubscribeRequest{Channel: "beta", Root: trust(key)})); err != nil {
		t.Fatal(err)
	}
	refused("unsigned", nil, text, digest(text), "archipelago upgrade --unsigned FILE")
	refused("by an unknown key", release("1.2.0", text, thief), text, digest(text), "not trusted")
	refused("an older release", release("1.0.9", text, key), text, digest(text), "older than what runs, 1.1.0")
	refused("another program", good, text+"#", digest(text+"#"), "has the SHA-256")
	refused("another program under the signed digest", good, text+"#", digest(text), "arrived damaged")
	if _, err := c.Subscribe(ctx, connect.NewRequest(&api.SubscribeRequest{Channel: "beta", Root: trust(thief)})); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("the thief's root: %v", err)
	}
	refused("signed by the thief, who has sent a root", release("1.2.0", text, thief), text, digest(text), "not trusted")
	if err := upgrade(release("1.2.1", text, key), text, digest(text)); connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), `its release "archipelago version 1.2.1"`) {
		t.Errorf("a program that is not the version that was signed: %v", err)
	}
	select {
	case <-ended:
		t.Error("the daemon ended for what it refused")
	default:
	}
	if err := upgrade(good, text, digest(text)); err != nil {
		t.Fatalf("the release: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("waited 10 s for the daemon to end after an upgrade")
	}
	if b, err := os.ReadFile(program); err != nil || string(b) != text {
		t.Errorf("%d bytes are in place, %v", len(b), err)
	}
	audit, err := os.ReadFile(filepath.Join(own, "audit.jsonl"))
	const what = `"what":"upgrade the daemon to `
	if err != nil || strings.Count(string(audit), what+`a program that is not trusted","refused":`) != 6 || strings.Count(string(audit), what+`1.2.`) != 3 || !strings.Contains(string(audit), what+`1.2.0"}`) {
		t.Errorf("the audit log: %s, %v", audit, err)
	}
}
