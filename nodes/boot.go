package nodes

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// BootID identifies one boot of a node: the kernel's boot_id and the start time
// of PID 1 in clock ticks (proc(5), /proc/PID/stat, field 22). The pair changes
// at every reboot, of a machine or of a container.
type BootID string

// BootID reads the identity of the node's current boot.
func (c *Client) BootID(ctx context.Context) (BootID, error) {
	out, err := c.script(ctx, "boot-id.sh", nil)
	if err != nil {
		return "", err
	}
	f := strings.Fields(out)
	if len(f) != 2 {
		return "", fmt.Errorf("%s: boot identity: expected two fields, got %q", c.Node, out)
	}
	return BootID(f[0] + "/" + f[1]), nil
}

// Reboot asks the node to reboot and waits until it answers on another boot.
// A reboot ends the connection while the command runs.
func (c *Client) Reboot(ctx context.Context) (BootID, error) {
	before, err := c.BootID(ctx)
	if err != nil {
		return "", err
	}
	if _, err := c.Run(ctx, c.Node.Power.Reboot); err != nil && !errors.Is(err, ErrLost) {
		return "", fmt.Errorf("rebooting: %w", err)
	}
	return c.AwaitBoot(ctx, before)
}

// PowerCut cuts the node's power and restores it with the inventory's command, and
// waits until it answers on another boot.
func (c *Client) PowerCut(ctx context.Context) (BootID, error) {
	if len(c.Node.Power.Cut) == 0 {
		return "", fmt.Errorf("%s: the inventory names no way to cut its power (power.cut)", c.Node)
	}
	before, err := c.BootID(ctx)
	if err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, c.Node.Power.Cut[0], c.Node.Power.Cut[1:]...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: cutting power: %w: %s", c.Node, err, strings.TrimSpace(string(out)))
	}
	return c.AwaitBoot(ctx, before)
}

// ErrAway is wrapped, beside ErrLost, where a node does not answer on another boot in time.
var ErrAway = errors.New("it did not come back")

// AwaitBoot waits until the node answers with a boot identity other than before; ErrAway if
// it does not.
func (c *Client) AwaitBoot(ctx context.Context, before BootID) (BootID, error) {
	tick := time.NewTicker(retryPause)
	defer tick.Stop()
	var last error
	for {
		attempt, cancel := context.WithTimeout(ctx, dialTimeout)
		now, err := c.BootID(attempt)
		cancel()
		switch {
		case err == nil && now != before:
			return now, nil
		case err == nil:
			last = errors.New("it is still on the old boot")
		case errors.Is(err, ErrRefused):
			return "", err
		default:
			last = err
			c.Drop()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("%s: %w: %w on a new boot: %w", c.Node, ErrLost, ErrAway, last)
		}
	}
}
