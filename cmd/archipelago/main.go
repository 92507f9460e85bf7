// Command archipelago is the daemon of a node: it keeps the node's applications
// at their desired state, and serves the RPC, My Apps and the proxy.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/cmd/internal/manual"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/announce"
	"github.com/archipelago-cloud/archipelago/orchestrator/certificate"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/engine"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/proxy"
	"github.com/archipelago-cloud/archipelago/orchestrator/rpc"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
	"github.com/archipelago-cloud/archipelago/orchestrator/upgrade"
	"github.com/archipelago-cloud/archipelago/orchestrator/web"
)

// version is set by the linker.
var version = "0.0.0-dev"

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2 // usage or bad input
)

const (
	headerTimeout   = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 5 * time.Second
	eventsRetry     = time.Second

	caWarning = 365 * 24 * time.Hour // before the end of the node's CA
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "archipelago:", err)
		if usage.Is(err) {
			os.Exit(exitUsage)
		}
		os.Exit(exitFailed)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "archipelago", Short: "The daemon of an Archipelago node",
		Long:         "The daemon of an Archipelago node.\n\nExit status: 0 done; 1 it failed; 2 usage or bad input.",
		Example:      "  archipelago daemon\n  archipelago fingerprint",
		Version:      version,
		SilenceUsage: true, SilenceErrors: true,
	}
	d := &daemon{}
	serve := &cobra.Command{
		Use: "daemon", Short: "Keep this node's applications at their desired state",
		Long: "Keep this node's applications at their desired state. SIGHUP has the daemon look at\nthe engine at once, SIGUSR1 read the manifests on its disk again; it ends on SIGTERM, and\napplications run on.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	dataFlag(serve, &d.dataDir)
	serve.Flags().StringVar(&d.listen, "listen", fmt.Sprintf("127.0.0.1:%d", manifest.DaemonPort), "address on loopback of the RPC for programs on the node, unencrypted")
	serve.Flags().StringVar(&d.listenTLS, "listen-tls", fmt.Sprintf(":%d", manifest.DaemonTLSPort), "address of the RPC and My Apps, over TLS")
	addNames(serve, &d.names)
	root.AddCommand(serve, fingerprint(), renderCommand(), upgradeCommand(), doctorCommand(), proberCommand(), pageCommand(), shareCommand(), onDiskCommand(), claimCommand(), manual.Command())
	usage.Mark(root)
	return root
}

// fingerprint is what an owner compares with what a client shows.
func fingerprint() *cobra.Command {
	var dataDir string
	c := &cobra.Command{
		Use: "fingerprint", Short: "Print the fingerprint of the node's certificate authority, by which clients know it",
		Example: "  archipelago fingerprint",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := certificate.ReadFingerprint(stateDir(dataDir))
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), f)
			return nil
		},
	}
	dataFlag(c, &dataDir)
	return c
}

func dataFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "data", manifest.DataDir, "directory of applications' data and the daemon's state")
}

func stateDir(dataDir string) string { return filepath.Join(dataDir, manifest.OwnDir, "state") }

type daemon struct {
	dataDir, listen, listenTLS string
	names                      certificate.Names
}

// unprivileged refuses root.
func unprivileged(uid int) error {
	if uid == 0 {
		return errors.New("the daemon runs as an unprivileged user, never as root")
	}
	return nil
}

func (d *daemon) run(ctx context.Context) error {
	if err := onLoopback(d.listen); err != nil {
		return usage.Wrap(fmt.Errorf("--listen: %w", err))
	}
	if err := unprivileged(os.Geteuid()); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	own := filepath.Join(d.dataDir, manifest.OwnDir)
	stateDir := stateDir(d.dataDir)
	store, err := state.Open(stateDir)
	if err != nil {
		return err
	}
	token, err := store.Token()
	if err != nil {
		return err
	}
	sec, err := secrets.Open(filepath.Join(own, "secrets"))
	if err != nil {
		return err
	}
	// An invalid manifest costs its own application, not the node.
	onDisk, err := catalog.Load(filepath.Join(own, "catalog"))
	if err != nil {
		log.Error("catalog", "error", err)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	digest, err := selfDigest()
	if err != nil {
		return err
	}
	eng, err := engine.Open(ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	eng.Reserve = store.Reserve()
	listener, err := net.Listen("tcp", d.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if d.names.Host, err = os.Hostname(); err != nil {
		return err
	}
	authority, err := certificate.Open(stateDir, d.names)
	switch {
	case errors.Is(err, certificate.ErrName):
		return usage.Wrap(err)
	case err != nil:
		return err
	}
	if left := time.Until(authority.Ends()); left < caWarning {
		log.Warn("the node's CA ends: remove ca.crt and ca.key for a new one, and have clients and browsers trust it", "directory", stateDir, "ends", authority.Ends())
	}
	secure, err := net.Listen("tcp", d.listenTLS)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	secure = proxy.RefuseContainers(secure)
	// Before anything is begun that what they work on may be in the way of.
	if err := eng.EndHelpers(ctx); err != nil {
		log.Error("the daemon before this one", "error", err)
	}
	r := orchestrator.New(eng, store, sec, onDisk, d.dataDir, log)
	r.SetNode(nodeNamed(d.names.Host))
	sub := subscription.Open(ctx, filepath.Join(stateDir, "subscription"), time.Now, r.SetCatalog)
	switch st, err := sub.Status(); {
	case err != nil && !errors.Is(err, subscription.ErrNone):
		log.Error("the signed catalog", "error", err)
	case st.Error != "":
		log.Error("the signed catalog", "error", st.Error)
	}
	r.Follows(func() error {
		if _, err := sub.Status(); !errors.Is(err, subscription.ErrNone) {
			return err
		}
		return nil
	})
	passwords := access.NewPasswords(stateDir)
	sessions := access.OpenSessions(stateDir, token, passwords, log)
	guard := access.NewGuard(sessions)
	port := secure.Addr().(*net.TCPAddr).Port
	claim, err := access.OpenClaim(stateDir, port, passwords)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	plain := http.NewServeMux() // the unencrypted port's
	started := time.Now()
	reached := func() []string { return addresses(d.names.Host, port) }
	service, handler := (&rpc.Server{Reconciler: r, Subscription: sub, Engine: eng, Sessions: sessions, DataDir: d.dataDir, Node: certificate.Local(d.names.Host), Addresses: reached, Program: program, End: end, Version: version, Digest: digest, StartedAt: started}).Handler(guard)
	trust := web.Trust(d.names.Host, authority.Fingerprint(), authority.PEM())
	metrics := guard.Token(access.Takes(access.Read), promhttp.HandlerFor(r.Metrics(), promhttp.HandlerOpts{}))
	about := web.About{Version: version, Digest: digest, Name: certificate.Local(d.names.Host), DataDir: d.dataDir, StartedAt: started, Fingerprint: authority.Fingerprint(), Addresses: reached}
	pages := &web.Server{Reconciler: r, Guard: guard, Sessions: sessions, Claim: claim, Named: authority.Named, Pictures: sub.Picture, Engine: eng, Subscription: sub, Memory: store, About: about, Log: log}
	for _, m := range []*http.ServeMux{mux, plain} {
		m.Handle(service, handler)
		m.Handle("GET /metrics", metrics)
		m.Handle("GET /ca.crt", pages.Fetches(trust))
		m.Handle("GET /trust", trust)
	}
	mux.Handle("/", pages.Handler())
	plain.Handle("/", web.ToTLS(port))
	serve := func(h http.Handler) *http.Server {
		return &http.Server{
			Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, TLSConfig: authority.Config(),
			BaseContext: func(net.Listener) context.Context { return ctx },
		}
	}
	server, plainServer := serve(mux), serve(plain)
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx) })
	wg.Go(func() { sub.Run(ctx) })
	wg.Go(func() { r.Rollout(ctx, sub.MayUpdate) })
	wg.Go(func() { r.Backups().Run(ctx) })
	wg.Go(func() { r.RunNotices(ctx) })
	wg.Go(func() { pages.Run(ctx) })
	node := certificate.Local(d.names.Host)
	webs := &proxy.Server{Source: r, TLS: authority.Config(), Token: token, Domain: node, Log: log}
	wg.Go(func() { webs.Serve(ctx) })
	if node != "" {
		wg.Go(func() { announce.Serve(ctx, node, r, log) })
	}
	look, reread := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(look, syscall.SIGHUP)
	signal.Notify(reread, syscall.SIGUSR1)
	wg.Go(func() {
		defer signal.Stop(look)
		defer signal.Stop(reread)
		for {
			select {
			case <-look:
				r.Wake()
			case <-reread:
				onDisk, err := catalog.Load(filepath.Join(own, "catalog"))
				if err != nil {
					log.Error("catalog", "error", err)
				}
				if onDisk != nil { // the directory can be read
					r.SetDisk(onDisk)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	wg.Go(func() { eng.UnitChanges(ctx, r.UnitChanged) })
	wg.Go(func() {
		if err := disk.Changes(ctx, r.Wake); err != nil {
			log.Warn("a disk that is mounted is found by the next look alone", "error", err)
		}
	})
	wg.Go(func() {
		if err := eng.MemoryKills(ctx, r.MemoryKilled); err != nil {
			log.Warn("no notice will say what was killed for want of memory", "error", err)
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := eng.Events(ctx, r.ContainerChanged); err != nil && ctx.Err() == nil {
				log.Warn("podman's events", "error", err)
			}
			select {
			case <-time.After(eventsRetry):
			case <-ctx.Done():
			}
		}
	})
	wg.Go(func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		for _, s := range []*http.Server{server, plainServer} {
			if s.Shutdown(bounded) != nil {
				s.Close()
			}
		}
	})
	log.Info("serving", "version", version, "digest", digest, "listen", listener.Addr().String(), "tls", secure.Addr().String(), "fingerprint", authority.Fingerprint(), "apps", len(onDisk))
	if code := claim.Code(); code != "" {
		log.Info("this node has no owner yet: 'archipelago claim' prints this again", "code", access.Spaced(code))
		if err := invite(os.Stderr, addresses(d.names.Host, port), access.Spaced(code), authority.Fingerprint()); err != nil {
			log.Warn("printing how the node is claimed", "error", err)
		}
	}
	wg.Go(func() {
		if err := server.ServeTLS(secure, "", ""); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serving TLS", "error", err)
		}
	})
	if _, err := sdnotify.SdNotify(false, sdnotify.SdNotifyReady); err != nil {
		log.Warn("telling systemd", "error", err)
	}
	wg.Go(func() {
		if r.AwaitObserved(ctx) == nil {
			if err := upgrade.Passed(program); err != nil {
				log.Error("ending the trial of this version", "error", err)
			}
		}
	})
	err = plainServer.Serve(listener)
	wg.Wait()
	if fault.Planted(fault.ShutdownKills) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		for _, m := range onDisk {
			for _, c := range m.Containers {
				eng.StopUnit(bounded, c.Name+".service")
			}
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// nodeNamed is what manifests may know of a node with this host name: that by which its
// certificate and My Apps know it.
func nodeNamed(host string) manifest.Node {
	domain := certificate.Local(host)
	if domain == "" {
		domain = "localhost" // for which there is a certificate, too
	}
	name, _, _ := strings.Cut(domain, ".")
	return manifest.Node{Name: name, Domain: domain}
}

// selfDigest is the SHA-256 of the running binary.
func selfDigest() (string, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("reading the running binary: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading the running binary: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
