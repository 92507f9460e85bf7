package orchestrator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/support"
)

// Supported is what a report for support asks of the node.
type Supported interface {
	Doctor(ctx context.Context, dataDir string) []host.Finding
	Logs(ctx context.Context, container string, follow bool, tail int, emit func(host.LogLine) error) error
	Version(ctx context.Context) (string, error)
}

const (
	logTime     = 5 * time.Second  // until a container's log is given up
	supportTime = 2 * time.Minute  // until nothing more is asked for a report
	supportWait = 30 * time.Second // for another report to be ready
)

// Support makes the report that the owner gives to whoever helps, one at a time: it asks much of
// Podman. What cannot be learned in its time, or the context's, is said to be missing. It fails
// where it is not known what to leave out.
func (r *Reconciler) Support(ctx context.Context, node Supported, about []support.Fact, damaged error) (string, error) {
	waiting, enough := context.WithTimeout(ctx, supportWait)
	defer enough()
	select {
	case r.supporting <- struct{}{}:
		defer func() { <-r.supporting }()
	case <-waiting.Done():
		return "", fmt.Errorf("%w: another report is being made", operation.ErrBusy)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, supportTime, fmt.Errorf("not asked: the report has taken %s already", supportTime))
	defer cancel()
	secret, err := r.secretValues()
	if err != nil {
		return "", err
	}
	n := support.Node{Made: time.Now(), About: about, Asked: map[string][]state.Asked{}, Logs: map[string]support.Log{}, Secrets: support.Known(secret)}
	podman, err := node.Version(ctx)
	if err != nil {
		podman = err.Error()
	}
	var heard Hearing
	n.Apps, heard = r.Installed()
	n.About = append(n.About, support.Fact{Name: "Podman", Value: podman}, support.Fact{Name: "containers last seen", Value: heard.At.UTC().Format(time.RFC3339) + " " + heard.Stale})
	n.Findings = append(node.Doctor(ctx, r.dataDir), r.Findings(ctx, damaged)...)
	r.asked(&n, "")
	for _, v := range n.Apps {
		r.asked(&n, v.Manifest.ID)
		for _, c := range v.Containers {
			if c.State != "" {
				n.Logs[c.Name] = said(ctx, node, c.Name)
			}
		}
	}
	return n.Text(), nil
}

// secretValues are all that the node keeps and nobody else is to see, by what they are.
func (r *Reconciler) secretValues() (map[string]string, error) {
	all, err := r.secrets.Values()
	if err != nil {
		return nil, err
	}
	repositories, err := r.backups.To.Secrets()
	if err != nil {
		return nil, err
	}
	for name, value := range repositories {
		all["repository "+name] = value
	}
	for name, value := range r.notices.Secrets() {
		all["target "+name] = value
	}
	all["the node's access token"], err = r.store.Token()
	return all, err
}

// asked adds what was asked of an application, or of the node.
func (r *Reconciler) asked(n *support.Node, app string) {
	all, err := r.store.Asked(app, support.Asked)
	if err != nil {
		n.About = append(n.About, support.Fact{Name: "the audit log", Value: err.Error()})
	}
	if len(all) > 0 {
		n.Asked[app] = all
	}
}

// said is what a container said last.
func said(ctx context.Context, node Supported, container string) (l support.Log) {
	ctx, cancel := context.WithTimeoutCause(ctx, logTime, fmt.Errorf("its log did not come in %s", logTime))
	defer cancel()
	err := node.Logs(ctx, container, false, support.Tail, func(line host.LogLine) error {
		line.Text = strings.Clone(plain.Clip(line.Text, support.Looked)) // a line may have a MiB
		l.Lines = append(l.Lines, line)
		return ctx.Err()
	})
	if err != nil {
		l.Problem = err.Error()
		if cause := context.Cause(ctx); cause != nil {
			l.Problem = cause.Error()
		}
	}
	return l
}
