// Package announce answers, by multicast DNS (RFC 6762), to the names that the node and
// its applications have on the local network: NODE.local, and APP.NODE.local for every
// installed application that has a web interface.
package announce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/pion/logging"
	"github.com/pion/mdns/v2"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// lookEvery is how often the node's addresses are looked at, and a responder is tried
// again that could not be started.
const lookEvery = time.Minute

// Source tells which applications have a web interface.
type Source interface {
	// Webs are the published ports of web interfaces, by application; the channel is
	// closed when they have changed.
	Webs() (map[string][]int, <-chan struct{})
}

// Serve answers for node, such as "box.local", and for the source's applications below it,
// until the context ends. Where it cannot, the names do not resolve, which is logged once;
// everything is still served under the node's addresses.
func Serve(ctx context.Context, node string, source Source, log *slog.Logger) {
	serve(ctx, node, source, log, start, lookEvery)
}

func serve(ctx context.Context, node string, source Source, log *slog.Logger, start func(names []string) (io.Closer, error), every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failed := false
	for ctx.Err() == nil {
		webs, changed := source.Webs()
		at := addresses()
		responder, err := start(names(node, webs))
		if err != nil && !failed {
			log.Warn("multicast DNS: names on the local network do not resolve until this is mended", "node", node, "error", err)
		}
		failed = err != nil
		for again := false; !again; {
			select {
			case <-ctx.Done():
				again = true
			case <-changed:
				again = true
			case <-tick.C:
				again = failed || !slices.Equal(at, addresses())
			}
		}
		if responder != nil {
			responder.Close()
		}
	}
}

// names are in order: the node's, then its applications'.
func names(node string, webs map[string][]int) []string {
	out := []string{node}
	for _, app := range slices.Sorted(maps.Keys(webs)) {
		out = append(out, app+"."+node)
	}
	return out
}

// addresses are the node's own now: a responder knows those that there were when it began.
func addresses() (out []string) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // the responder says why
	}
	for _, a := range all {
		out = append(out, a.String())
	}
	slices.Sort(out)
	return out
}

// start begins to answer on all interfaces, beside other responders of the node, if any.
func start(names []string) (io.Closer, error) {
	l4, err4 := listen("udp4", mdns.DefaultAddressIPv4)
	l6, err6 := listen("udp6", mdns.DefaultAddressIPv6)
	if l4 == nil && l6 == nil {
		return nil, errors.Join(err4, err6)
	}
	return respond(l4, l6, names)
}

func listen(network, address string) (*net.UDPConn, error) {
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUDP(network, a)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// respond answers on sockets, one of which may be nil.
func respond(l4, l6 *net.UDPConn, names []string, more ...mdns.ServerOption) (io.Closer, error) {
	var p4 *ipv4.PacketConn
	var p6 *ipv6.PacketConn
	if l4 != nil {
		p4 = ipv4.NewPacketConn(l4)
	}
	if l6 != nil {
		p6 = ipv6.NewPacketConn(l6)
	}
	silent := logging.NewDefaultLoggerFactory() // it would log what strangers send
	silent.DefaultLogLevel = logging.LogLevelDisabled
	conn, err := mdns.NewServer(p4, p6, append([]mdns.ServerOption{
		mdns.WithLocalNames(names...), mdns.WithRecordTypes(dnsmessage.TypeA, dnsmessage.TypeAAAA), mdns.WithCacheRefresh(false), mdns.WithLoggerFactory(silent),
	}, more...)...)
	if err != nil {
		for _, l := range []*net.UDPConn{l4, l6} {
			if l != nil {
				l.Close()
			}
		}
		return nil, err
	}
	return conn, nil
}
