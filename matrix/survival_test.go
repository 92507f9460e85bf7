package matrix

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// TestNodesOfAMachineRebootInTurn: one waits while another has the turn, and has it when that ends.
func TestNodesOfAMachineRebootInTurn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "turns")
	first, err := takeTurn(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := takeTurn(ctx, file); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("two have the turn at once: %v", err)
	}
	taken := make(chan error)
	go func() {
		second, err := takeTurn(t.Context(), file)
		if err == nil {
			err = second.Close()
		}
		taken <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Error(err)
	}
	if _, err := takeTurn(t.Context(), filepath.Join(file, "none")); !errors.Is(err, ErrIncomplete) {
		t.Errorf("%v", err)
	}
}
