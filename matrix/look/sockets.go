package look

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// socket is one that holds its port against others.
type socket struct{ protocol, address, inode string }

// sockets tells what listens, on any address of the node, and the programs of this user that
// hold it.
func (a *answer) sockets() {
	listening, err := listeners()
	if err != nil {
		a.say(failed, "sockets", err.Error())
		return
	}
	wanted := map[string]bool{}
	for _, s := range listening {
		wanted["socket:["+s.inode+"]"] = true
	}
	holder := holders(wanted)
	for _, s := range listening {
		name, group := "", ""
		if pid := holder["socket:["+s.inode+"]"]; pid != "" {
			name = strings.Join(strings.Fields(lines("/proc/" + pid + "/comm")[0]), "_")
			group = cgroup(pid)
		}
		a.say("socket", s.protocol, s.address, cmp.Or(name, none), cmp.Or(group, none))
	}
	a.say("sockets", fmt.Sprint(len(listening)))
}

// states are those in which a socket holds its port (include/net/tcp_states.h): TCP listens, UDP
// is bound and talks to nobody in particular.
const (
	listens = unix.BPF_TCP_LISTEN
	bound   = unix.BPF_TCP_CLOSE
)

// listeners asks the kernel for them (sock_diag(7)), which takes no privilege. Its tables in
// /proc/net tell the same, but for each it walks through the machine's whole hash of connections.
func listeners() (found []socket, err error) {
	kernel, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for sockets: %w", err)
	}
	defer kernel.Close()
	for _, q := range []struct {
		name                    string
		family, protocol, state byte
	}{
		{"tcp", unix.AF_INET, unix.IPPROTO_TCP, listens}, {"tcp6", unix.AF_INET6, unix.IPPROTO_TCP, listens},
		{"udp", unix.AF_INET, unix.IPPROTO_UDP, bound}, {"udp6", unix.AF_INET6, unix.IPPROTO_UDP, bound},
	} {
		request := make([]byte, 56) // inet_diag_req_v2
		request[0], request[1] = q.family, q.protocol
		binary.NativeEndian.PutUint32(request[4:], 1<<q.state)
		answers, err := kernel.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump}, Data: request,
		})
		if err != nil {
			return nil, fmt.Errorf("asking for %s sockets, which takes the kernel's modules tcp_diag and udp_diag: %w", q.name, err)
		}
		for _, m := range answers {
			if len(m.Data) < 72 { // inet_diag_msg
				return nil, fmt.Errorf("asking for %s sockets: %d bytes are none", q.name, len(m.Data))
			}
			found = append(found, socket{q.name, endpoint(m.Data), fmt.Sprint(binary.NativeEndian.Uint32(m.Data[68:]))})
		}
	}
	return found, nil
}

// endpoint is where the socket of an inet_diag_msg is bound, written as in proc_net_tcp(5).
func endpoint(m []byte) string {
	address := m[8:12]
	if m[0] == unix.AF_INET6 {
		address = m[8:24]
	}
	var out strings.Builder
	for word := range slices.Chunk(address, 4) {
		fmt.Fprintf(&out, "%08X", binary.NativeEndian.Uint32(word))
	}
	fmt.Fprintf(&out, ":%04X", binary.BigEndian.Uint16(m[4:]))
	return out.String()
}
