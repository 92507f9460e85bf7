package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// heightFile holds how high the chain of simnet ever was, as far as blocks were mined here. btcd
// writes blocks to the disk every five minutes: what a power cut takes, nobody else has, and a
// wallet that knows a higher chain waits for it for ever.
var heightFile = "/data/simnet-height"

// highest gives it; 0 where no block was mined here.
func highest() (height int64, err error) {
	b, err := os.ReadFile(heightFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(string(b), &height); err != nil {
		return 0, fmt.Errorf("%s holds no height: %w", heightFile, err)
	}
	return height, nil
}

// reached has it be on the disk that the chain is so high.
func reached(height int64) error {
	if before, err := highest(); err == nil && before >= height {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(heightFile), ".height-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, height)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), heightFile)
}
