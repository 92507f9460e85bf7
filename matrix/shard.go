package matrix

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// ShardVariable is the environment variable that names the file of the shard to work on.
const ShardVariable = "ARCHIPELAGO_SHARD"

// ResultsVariable, if set, tells the suite that a gate reads results from file
// descriptor 3: one reports.Result as JSON on each line.
const ResultsVariable = "ARCHIPELAGO_RESULTS"

// Running is the status in a line that only says that a cell has begun.
const Running reports.Status = "running"

// CatalogVariable is the environment variable that names the catalog for level 0;
// default: those in the source tree.
const CatalogVariable = "ARCHIPELAGO_CATALOG"

// DaemonVariable is the environment variable that names the daemon for level 0; default:
// one that is built from the source tree.
const DaemonVariable = "ARCHIPELAGO_DAEMON"

// Shard is the piece of a run that one process of the suite works on: some
// applications on one node in one cycle.
type Shard struct {
	Run     string               `json:"run"`
	Dir     string               `json:"dir"` // of the run; evidence goes below it
	Node    nodes.Node           `json:"node"`
	Host    string               `json:"host"` // the node's own name for itself
	RPC     string               `json:"rpc"`
	Token   string               `json:"token"`
	Trusted nodes.Authority      `json:"trusted,omitzero"` // the node's, all that is trusted of its certificates
	Archy   string               `json:"archy,omitempty"`  // path of the owner's command, where its word is to be heard too
	Look    string               `json:"look"`             // path of the witnesses' program for the node
	Cycle   int                  `json:"cycle"`
	Turns   string               `json:"turns,omitempty"`  // file that a node of a machine locks while it reboots, which several nodes share
	Bare    bool                 `json:"bare,omitempty"`   // the node began the cycle without any image
	Browse  bool                 `json:"browse,omitempty"` // the run opens pages in a browser
	Steps   []string             `json:"steps"`
	Apps    []*manifest.Manifest `json:"apps"` // as published
	// EvidenceFull says that the run has all the evidence that it may have (reports.MaxRun).
	EvidenceFull bool `json:"evidence_full,omitempty"`

	Resumed []string `json:"resumed,omitempty"` // applications that an interrupted run, or a cell that did not pass, may have left anywhere

	// Previous are the earlier releases, by application, from which this cycle's installs go
	// through an update.
	Previous map[string]*manifest.Manifest `json:"previous,omitempty"`

	// Fixtures are what Apps require: installed and running before the first cell, each
	// after those it requires itself. Absent are what an earlier failure may have left that
	// requires Apps, and stands in their way: purged before the first cell, in this order.
	Fixtures []*manifest.Manifest `json:"fixtures,omitempty"`
	Absent   []*manifest.Manifest `json:"absent,omitempty"`

	Requirers map[string][]Requirer        `json:"requirers,omitempty"` // applications of the run that require one of these, by its id
	Config    map[string]map[string]string `json:"config,omitempty"`    // settings in force, by application; none: the defaults

	there map[string]*manifest.Manifest // all applications that are on the node while Apps are
}

// ReadShard reads the shard that the environment names; ok is false if it names none.
func ReadShard() (s *Shard, ok bool, err error) {
	file := os.Getenv(ShardVariable)
	if file == "" {
		return nil, false, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, false, fmt.Errorf("reading the shard: %w", err)
	}
	s = &Shard{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, false, fmt.Errorf("reading the shard %s: %w", file, err)
	}
	for _, name := range s.Steps {
		if _, known := FindStep(name); !known {
			return nil, false, fmt.Errorf("reading the shard %s: unknown step %q", file, name)
		}
	}
	if err := s.settle(); err != nil {
		return nil, false, fmt.Errorf("reading the shard %s: %w", file, err)
	}
	return s, true, nil
}

// Write writes the shard to a file that only its owner can read, since it holds the
// node's access token.
func (s *Shard) Write(file string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// newCanary is a value that nobody can have seen before.
func newCanary() string {
	var b [8]byte
	rand.Read(b[:])
	return "canary-" + hex.EncodeToString(b[:])
}

// planted gives the canary that a process of this run has planted last in this cycle;
// empty where none has.
func (s *Shard) planted(app string) (string, error) {
	b, err := os.ReadFile(s.plantedFile(app))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

func (s *Shard) plantedFile(app string) string {
	return filepath.Join(s.Dir, "canaries", fmt.Sprintf("%s-%s-%d", app, s.Node.Name, s.Cycle))
}

func (s *Shard) rememberPlanted(app, canary string) error {
	if err := os.MkdirAll(filepath.Dir(s.plantedFile(app)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.plantedFile(app), []byte(canary), 0o644)
}

// evidenceDir is where a cell's evidence goes, relative to the run's directory.
func (s *Shard) evidenceDir(app, step string) string {
	return filepath.Join("evidence", app, fmt.Sprintf("cycle%d%s-%s", s.Cycle, s.Node.Name, step))
}

// reach is what a browser may reach, as host:port: My Apps of the shard's node, and the ports
// there of its applications and of what these require.
func (s *Shard) reach() []string {
	at := func(port int) string { return net.JoinHostPort(s.Node.Address, strconv.Itoa(port)) }
	out := []string{at(manifest.DaemonTLSPort)}
	for _, m := range slices.Concat(s.Apps, s.Fixtures) {
		for _, p := range m.NodePorts() {
			if !p.UDP {
				out = append(out, at(p.Number))
			}
		}
	}
	return out
}
