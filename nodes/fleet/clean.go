package fleet

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/archipelago-cloud/archipelago/nodes"
)

// ErrOccupied is wrapped when a node holds data that no gate put there.
var ErrOccupied = errors.New("node is in use")

// mark is a file that a gate leaves on nodes that were empty when it first came: from
// then on all data of applications there is a gate's, and may be deleted.
const mark = nodes.DataDir + "/_gate"

// visited is a file that 'gate deploy' leaves on nodes that were nobody's when it first came:
// it may come again. What is then installed there is whose it is, and not deleted.
const visited = nodes.DataDir + "/_deployed"

//go:embed owned.sh
var owned string

//go:embed occupied.sh
var occupied string

//go:embed reset.sh
var reset string

// Clean removes all applications and their data from the nodes. A node that held data
// before a gate first came to it is refused: a gate deletes only what is a gate's.
func (f *Fleet) Clean(ctx context.Context) error {
	errs := make([]error, len(f.Nodes))
	var wg sync.WaitGroup
	for i, n := range f.Nodes {
		wg.Go(func() { errs[i] = n.clean(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (n *Node) clean(ctx context.Context) error {
	out, err := n.SSH.Run(ctx, bash(occupied, nodes.DataDir, mark))
	if err != nil {
		return err
	}
	if found := strings.Fields(out); len(found) > 0 {
		return fmt.Errorf("%s: %w: it holds data that the gate did not put there and would delete: %s; use another machine, or uninstall with --purge", n.Node, ErrOccupied, strings.Join(found, ", "))
	}
	if _, err := n.SSH.Run(ctx, "touch "+mark+"; "+bash(reset, nodes.DataDir)); err != nil {
		return fmt.Errorf("%s: removing what an earlier run left: %w", n.Node, err)
	}
	return nil
}

// Visit refuses nodes that are an owner's: where applications or a daemon are that no gate put
// there, or where something has a say beside it (Alone). It deletes nothing. Nodes that are
// named in yes are let be, and not looked at.
func (f *Fleet) Visit(ctx context.Context, yes ...string) error {
	ours := &Fleet{}
	for _, n := range f.Nodes {
		if !slices.Contains(yes, n.Name) {
			ours.Nodes = append(ours.Nodes, n)
		}
	}
	if err := ours.Alone(ctx); err != nil {
		return err
	}
	for _, n := range ours.Nodes {
		out, err := n.SSH.Run(ctx, bash(owned, nodes.DataDir, mark, visited))
		if err != nil {
			return err
		}
		if err := judgeOwned(n.Name, out); err != nil {
			return fmt.Errorf("%s: %w", n.Node, err)
		}
	}
	for _, n := range ours.Nodes {
		if _, err := n.SSH.Run(ctx, "touch "+visited); err != nil {
			return err
		}
	}
	return nil
}

// judgeOwned takes what owned.sh printed.
func judgeOwned(name, found string) error {
	all := strings.FieldsFunc(found, func(r rune) bool { return r == '\n' })
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%w: it is an owner's, with %s that no gate put there; '--take %s' replaces its daemon and catalog all the same", ErrOccupied, strings.Join(all, ", "), name)
}

// bash is a command that runs a script with arguments. The script is not passed on
// standard input, because the programs it starts could read from it.
func bash(script string, args ...string) string {
	words := []string{"bash", "-c", nodes.Quote(script), "bash"}
	for _, a := range args {
		words = append(words, nodes.Quote(a))
	}
	return strings.Join(words, " ")
}

//go:embed unfollow.sh
var unfollow string

// Unfollow takes the gate's own channel, by which a run offers earlier releases, off the
// nodes. Any other stays.
func (f *Fleet) Unfollow(ctx context.Context) error {
	errs := make([]error, len(f.Nodes))
	var wg sync.WaitGroup
	for i, n := range f.Nodes {
		wg.Go(func() {
			if _, err := n.SSH.Run(ctx, bash(unfollow, nodes.OfferedMark)); err != nil {
				errs[i] = fmt.Errorf("%s: taking the gate's channel off: %w", n.Node, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

//go:embed foreign.sh
var foreign string

// Alone refuses nodes on which something would have a say in what is tested, or would be
// tested with it: an image of the node's own that takes the place of a pinned one, a channel
// that the daemon follows, a container that is no application's.
func (f *Fleet) Alone(ctx context.Context) error {
	errs := make([]error, len(f.Nodes))
	var wg sync.WaitGroup
	for i, n := range f.Nodes {
		wg.Go(func() {
			out, err := n.SSH.Run(ctx, bash(foreign, nodes.DataDir))
			if err == nil {
				err = judgeForeign(out)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", n.Node, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// judgeForeign takes what foreign.sh printed.
func judgeForeign(facts string) error {
	var problems []error
	looked := false
	for line := range strings.SplitSeq(facts, "\n") {
		what, name, _ := strings.Cut(line, " ")
		problem := ""
		switch what {
		case "looked":
			looked = true
		case "image":
			problem = fmt.Sprintf("the image %s would take the place of a pinned one; remove it with 'podman rmi %s'", name, name)
		case "follows":
			problem = fmt.Sprintf("its daemon follows a channel (%s), which changes what is installed; stop the daemon, remove that, and start it again", name)
		case "container":
			problem = fmt.Sprintf("the container %s is not of an application; remove it with 'podman rm -f %s'", name, name)
		}
		if problem != "" {
			problems = append(problems, fmt.Errorf("%w: %s", ErrOccupied, problem))
		}
	}
	if !looked {
		return fmt.Errorf("what else is on it could not be seen: %q", facts)
	}
	return errors.Join(problems...)
}
