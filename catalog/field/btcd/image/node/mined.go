package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// journal gives the blocks that btcd may not have on the disk, in their order. The last line may
// be cut off: of that block, nobody has heard.
func journal() (all []mined, err error) {
	f, err := os.Open(minedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var m mined
		var end string
		if n, _ := fmt.Sscan(lines.Text(), &m.height, &m.block, &end); n == 3 && end == "." {
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// highest gives how high the chain was when the last block was mined here; 0 where none was.
func highest() (int64, error) {
	all, err := journal()
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return all[len(all)-1].height, nil
}

// note has a block be on the disk, whatever btcd does.
func note(height int64, block []byte) error {
	f, err := os.OpenFile(minedFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "\n%d %s .", height, hex.EncodeToString(block))
	return errors.Join(err, f.Sync(), f.Close())
}

// giveBack gives btcd the blocks that a power cut took. Where it has all, as after every orderly
// end, they need not be kept any more. It is for the first time that btcd answers.
func giveBack(ctx context.Context, c *client) error {
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
	for _, m := range all {
		if m.height <= t.Height {
			continue
		}
		if err := c.call(ctx, "submitblock", nil, m.block); err != nil {
			return fmt.Errorf("block %d, which a power cut took: %w", m.height, err)
		}
	}
	return nil
}
