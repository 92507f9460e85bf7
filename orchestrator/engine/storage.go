package engine

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ShareFolder opens a folder of the owner's to all containers that are given it, and gives
// what its mark holds; where all is true, so is what is in it already, and left is how many
// files could not be. It runs this program in the user namespace, outside the daemon's
// sandbox, which can write to no such folder.
func (e *Engine) ShareFolder(ctx context.Context, dir, name string, all bool) (id string, left int, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", 0, err
	}
	argv, l := []string{"/usr/bin/podman", "unshare", program, "share", "--", dir, name}, quick
	if all {
		argv, l = []string{"/usr/bin/podman", "unshare", program, "share", "--all", "--", dir, name}, patient
	}
	out, err := e.helper(ctx, l, "archipelago: a folder of the owner's", argv...)
	if err != nil {
		return "", 0, err
	}
	id, count, _ := strings.Cut(strings.TrimSpace(out), " ")
	if left, err = strconv.Atoi(count); err != nil {
		return "", 0, fmt.Errorf("sharing %s: %q is no answer", dir, out)
	}
	return id, left, nil
}
