package manifest

import (
	"slices"
	"strings"
)

// Handshake proves that an application without a page answers: either Send, which may be
// empty, goes to the interface's port, and Expect must be in what comes back; or Exec.
// To be connected proves nothing: what forwards a port of a rootless container takes
// connections for the dead, too.
type Handshake struct {
	Send   string         `json:"send,omitempty"`
	Expect string         `json:"expect,omitempty"`
	Exec   *ExecHandshake `json:"exec,omitempty"`
}

// ExecHandshake is a command in a container, as its user, that ends with status 0 and prints
// Expect.
type ExecHandshake struct {
	Container string   `json:"container"`
	Argv      []string `json:"argv"`
	Expect    string   `json:"expect"`
}

// checkReach wants handshakes that prove something, and of an application with interfaces
// that there is something to reach it by.
func (d *document) checkReach(m *Manifest, names map[string]int) {
	_, _, reached := m.Web()
	for name, in := range m.Interfaces {
		reached = reached || in.Protocol == "mqtt" || in.Handshake != nil
		h := in.Handshake
		where := func(rest ...any) []any { return append([]any{"interfaces", name, "handshake"}, rest...) }
		switch {
		case h == nil:
		case in.Protocol != "tcp":
			d.report(at(where()...), false, "goes with protocol: tcp; an http interface is asked for its page, an mqtt one for a session")
		case h.Exec != nil && h.Send+h.Expect != "":
			d.report(at(where()...), false, "expected either exec, or expect with or without send")
		case h.Exec != nil:
			d.checkMember(names, h.Exec.Container, where("exec", "container")...)
			d.checkEcho(strings.Join(h.Exec.Argv, " "), h.Exec.Expect, where("exec", "expect")...)
		case h.Expect == "":
			d.report(at(where()...), false, "missing property 'expect', what the answer holds: to be connected proves nothing, since a rootless port takes connections for the dead, too")
		default:
			if p, ok := m.Port(in.Port); ok && slices.Contains(m.WebPorts(), p) {
				d.report(at("interfaces", name, "port"), false, "port %q is that of an http interface, which only the proxy reaches", in.Port)
			}
			d.checkEcho(h.Send, h.Expect, where("expect")...)
		}
	}
	if len(m.Interfaces) > 0 && !reached {
		d.report(at("interfaces"), false, "nothing here shows that the application answers: expected an http interface named web, an mqtt one, or a tcp one with a handshake")
	}
}

func (d *document) checkEcho(asked, expect string, where ...any) {
	if strings.Contains(asked, expect) {
		d.report(at(where...), false, "%q is in what is asked, so an echo would pass for an answer", short(expect))
	}
}
