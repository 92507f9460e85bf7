// Package nodes owns the machines that the gate drives: the inventory that names
// them, one SSH client, the identity of a boot, and deployment of the daemon. It does not
// know what is tested.
package nodes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/ssh"
)

// ErrInventory marks an inventory that cannot be used as it is written.
var ErrInventory = errors.New("inventory")

// Inventory is the content of a nodes.yaml.
type Inventory struct {
	Nodes []Node `yaml:"nodes"`

	file string
}

// Node is one machine, reached over SSH as an unprivileged user.
type Node struct {
	Name    string `yaml:"name"`               // as it appears in cells: ".228"
	Address string `yaml:"address"`            // IP address or host name
	Port    int    `yaml:"port,omitempty"`     // of SSH; default 22
	User    string `yaml:"user"`               // the user whose applications these are, never root
	Key     string `yaml:"key"`                // private key file, relative to the inventory
	HostKey string `yaml:"host_key,omitempty"` // in the form of authorized_keys: "ssh-ed25519 AAAA…"
	Power   Power  `yaml:"power,omitempty"`
}

// Power is how a node is rebooted and how its power is cut.
type Power struct {
	Reboot string   `yaml:"reboot,omitempty"` // run on the node; default "sudo -n systemctl reboot"
	Cut    []string `yaml:"cut,omitempty"`    // run beside the gate: takes the power away and gives it back; absent where that cannot be done
}

// DefaultReboot is how a node is rebooted unless its inventory says otherwise.
const DefaultReboot = "sudo -n systemctl reboot"

var nodeName = regexp.MustCompile(`^[A-Za-z0-9.][A-Za-z0-9._-]{0,62}$`)

// LoadInventory reads and checks a nodes.yaml. Every problem is reported at once,
// wrapped in ErrInventory.
func LoadInventory(path string) (*Inventory, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w (write one, or bring the lab up with 'gate lab up')", ErrInventory, err)
	}
	inv := &Inventory{file: path}
	dec := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict(), yaml.CustomUnmarshaler(asWritten))
	if err := dec.Decode(inv); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %s: %s", ErrInventory, path, strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	var problems []error
	bad := func(i int, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%w: %s: nodes[%d]: %s", ErrInventory, path, i, fmt.Sprintf(format, args...)))
	}
	if len(inv.Nodes) == 0 {
		problems = append(problems, fmt.Errorf("%w: %s: names no nodes", ErrInventory, path))
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for i := range inv.Nodes {
		n := &inv.Nodes[i]
		if n.Port == 0 {
			n.Port = 22
		}
		if n.Power.Reboot == "" {
			n.Power.Reboot = DefaultReboot
		}
		if !nodeName.MatchString(n.Name) {
			bad(i, "name %q: expected letters, digits, dots and dashes", n.Name)
		}
		if names[n.Name] {
			bad(i, "name %q is used twice", n.Name)
		}
		names[n.Name] = true
		if n.Address == "" {
			bad(i, "address is missing")
		}
		if addresses[n.Addr()] {
			bad(i, "address %s is used twice: one machine cannot be two nodes", n.Addr())
		}
		addresses[n.Addr()] = true
		if n.Port < 1 || n.Port > 65535 {
			bad(i, "port %d: expected 1 to 65535", n.Port)
		}
		switch n.User {
		case "":
			bad(i, "user is missing: the unprivileged user whose applications these are")
		case "root":
			bad(i, "user root: applications run rootless; name an unprivileged user with linger enabled")
		}
		if n.Key == "" {
			bad(i, "key is missing: the private key file")
		} else if !filepath.IsAbs(n.Key) {
			n.Key = filepath.Join(filepath.Dir(path), n.Key)
		}
		if n.HostKey != "" {
			key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(n.HostKey))
			if err != nil {
				bad(i, "host_key is not a public key: %v", err)
				continue
			}
			// Without a comment, so that two names for one machine have the same.
			n.HostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
		}
	}
	return inv, errors.Join(problems...)
}

// asWritten reads a string exactly as the file has it: YAML reads the name .228 as the
// number 0.228.
func asWritten(out *string, b []byte) error {
	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return err
	}
	if s, ok := v.(string); ok {
		*out = s
	} else {
		*out = strings.TrimSpace(string(b))
	}
	return nil
}

// Node finds a node by name.
func (inv *Inventory) Node(name string) (*Node, error) {
	var known []string
	for i := range inv.Nodes {
		if inv.Nodes[i].Name == name {
			return &inv.Nodes[i], nil
		}
		known = append(known, inv.Nodes[i].Name)
	}
	return nil, fmt.Errorf("%w: no node %q; there are %s", ErrInventory, name, strings.Join(known, ", "))
}

// Save replaces the inventory at path atomically.
func (inv *Inventory) Save(path string) error {
	b, err := yaml.Marshal(inv)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Addr is host:port of the node's SSH.
func (n *Node) Addr() string { return net.JoinHostPort(n.Address, fmt.Sprint(n.Port)) }

// String names the node in messages.
func (n *Node) String() string { return fmt.Sprintf("node %s (%s@%s)", n.Name, n.User, n.Addr()) }
