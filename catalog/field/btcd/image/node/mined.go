package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// minedFile holds the blocks that were mined here, each on a line with its height. btcd writes
// blocks to the disk every five minutes and when it ends: what a power cut takes, nobody else has
// on simnet, and a wallet that knows it would wait for it for ever.
var minedFile = "/data/simnet-mined"

// mined is a block that was mined here, in hex.
type mined struct {
	height int64
	block  string
}

// chainFile is locked by whoever adds to the chain, or to what was mined: of two blocks that follow
// the same one, btcd would keep one.
var chainFile = "/data/simnet-chain.lock"

func lockChain() (unlock func(), err error) {
	f, err := os.OpenFile(chainFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", chainFile, err), f.Close())
	}
	return func() { f.Close() }, nil
}

// journal gives the blocks that btcd may not have on the disk, in their order. The last line may
// be cut off: of that block, nobody has heard.
func journal() (all []mined, err error) {
	b, err := os.ReadFile(minedFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "." {
			continue
		}
		height, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			continue
		}
		all = append(all, mined{height, f[1]})
	}
	return all, nil
}

// highest gives how high the chain was when the last block was mined here; 0 where none was.
func highest() (int64, error) {
	all, err := journal()
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return all[len(all)-1].height, nil
}

// note has blocks be on the disk, whatever btcd does.
func note(blocks []mined) error {
	f, err := os.OpenFile(minedFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, m := range blocks {
		fmt.Fprintf(&lines, "\n%d %s .", m.height, m.block)
	}
	_, err = f.WriteString(lines.String())
	return errors.Join(err, f.Sync(), f.Close())
}

// giveBack gives btcd the blocks that a power cut took. Where it has all, as after every orderly
// end, they need not be kept any more. It is for the first time that btcd answers.
func giveBack(ctx context.Context, c *client) error {
	unlock, err := lockChain()
	if err != nil {
		return err
	}
	defer unlock()
	all, err := journal()
	if err != nil || len(all) == 0 {
		return err
	}
	t, err := c.tip(ctx)
	if err != nil {
		return err
	}
	if t.Height >= all[len(all)-1].height {
		return os.Truncate(minedFile, 0)
	}
	var lost [][]any
	for _, m := range all {
		if m.height > t.Height {
			lost = append(lost, []any{m.block})
		}
	}
	for some := range slices.Chunk(lost, atOnce) {
		if _, err := calls[*string](ctx, c, "submitblock", some); err != nil {
			return fmt.Errorf("blocks that a power cut took: %w", err)
		}
	}
	return nil
}
