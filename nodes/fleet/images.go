package fleet

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
)

// Image is one that applications of the run have, as nodes pull it.
type Image struct {
	Ref   string   // with its digest
	Bytes int64    // of its layers, as they are transferred; 0 if that is not known
	Apps  []string // that have it
	Own   bool     // served by the gate itself: it can always be had
}

const (
	pullTimeout = 30 * time.Minute // of one image

	// An image takes its layers as they are transferred while it is pulled, and unpacked for
	// good; unpacked they are two to three times as large.
	unpacked = 4
	// reserve is left for the applications' data, the journal and everything else.
	reserve = 1 << 30
)

//go:embed images.sh
var imagesScript string

// Pull has images on the node: those that are missing are pulled by digest, one after the
// other. A node without the room for them is ErrRefused, before the first is pulled. What
// registries other than the gate's own do not give is in without, by reference, with why.
func (n *Node) Pull(ctx context.Context, images []Image) (without map[string]string, err error) {
	var refs []string
	for _, i := range images {
		refs = append(refs, i.Ref)
	}
	out, err := n.SSH.Run(ctx, bash(imagesScript, refs...))
	if err != nil {
		return nil, err
	}
	missing, err := judgeRoom(out, images)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", n.Node, nodes.ErrRefused, err)
	}
	without = map[string]string{}
	for _, i := range images {
		if !slices.Contains(missing, i.Ref) {
			continue
		}
		bounded, cancel := context.WithTimeoutCause(ctx, pullTimeout, fmt.Errorf("%s was not pulled within %s", i.Ref, pullTimeout))
		_, err := n.SSH.Run(bounded, "podman pull --quiet "+nodes.Quote(i.Ref))
		cancel()
		switch {
		case err == nil:
		case i.Own || ctx.Err() != nil || errors.Is(err, nodes.ErrLost):
			return nil, err
		default:
			without[i.Ref] = err.Error()
		}
	}
	return without, nil
}

// judgeRoom takes what images.sh printed, and gives the images that the node has not; an
// error if they would not fit.
func judgeRoom(facts string, images []Image) (missing []string, err error) {
	free, where, need := int64(-1), "", int64(0)
	for line := range strings.SplitSeq(facts, "\n") {
		what, value, _ := strings.Cut(line, " ")
		switch what {
		case "free":
			number, at, _ := strings.Cut(value, " ")
			if free, err = strconv.ParseInt(number, 10, 64); err != nil {
				return nil, fmt.Errorf("its free space: %w", err)
			}
			where = at
		case "missing":
			missing = append(missing, value)
			for _, i := range images {
				if i.Ref == value {
					need += unpacked * i.Bytes
				}
			}
		}
	}
	switch {
	case free < 0:
		return nil, fmt.Errorf("it does not say how much space is free for images: %q", facts)
	case need > 0 && need+reserve > free:
		return nil, fmt.Errorf("its images need about %d MiB, %d MiB in reserve included, and %s has %d MiB free; make room there", (need+reserve)>>20, int64(reserve)>>20, where, free>>20)
	}
	return missing, nil
}

// Bare takes every image off the node that no container uses. It gives those left.
func (n *Node) Bare(ctx context.Context) (left []string, err error) {
	out, err := n.SSH.Run(ctx, "podman image prune --all --force >/dev/null && podman images --quiet --no-trunc")
	return strings.Fields(out), err
}

// Boot identifies the boot that the node is on, asked over a new connection if the last one
// has ended.
func (n *Node) Boot(ctx context.Context) (nodes.BootID, error) {
	boot, err := n.SSH.BootID(ctx)
	if errors.Is(err, nodes.ErrLost) {
		n.SSH.Drop()
	}
	return boot, err
}

// LastWords are what the journal says of the node's boots, and of the end of the last one.
func (n *Node) LastWords(ctx context.Context) (string, error) {
	return n.SSH.Run(ctx, "(journalctl --list-boots --no-pager; journalctl --no-pager --boot=-1 --lines=200; last -x -n 10) 2>&1; true")
}

// Clock compares the node's clock with this machine's.
func (n *Node) Clock(ctx context.Context) (nodes.Clock, error) { return n.SSH.Clock(ctx) }

// Check compares the machine with the prerequisites of a node once more. One that it meets no
// longer is ErrRefused, if it is essential, and otherwise a warning.
func (n *Node) Check(ctx context.Context) (warnings []string, err error) {
	_, warnings, err = n.SSH.Check(ctx)
	return warnings, err
}
