package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// watched are the addresses that the owner watches, each with what it is for, kept as BIP 329
// has it: a line of JSON each.
type watched struct {
	file string
	mu   sync.Mutex
	of   map[string]string // by the address
}

// label is a line.
type label struct {
	Type  string `json:"type"`
	Ref   string `json:"ref"`
	Label string `json:"label"`
}

// What is kept at most.
const (
	maxLabel   = 250 // bytes
	maxWatched = 100
)

func openWatched(file string) (*watched, error) {
	l := &watched{file: file, of: map[string]string{}}
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		var one label
		if err := json.Unmarshal(line, &one); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		l.of[one.Ref] = one.Label
	}
	return l, nil
}

func (l *watched) label(address string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[address]
}

// set watches an address from now on, for what its label says; with an empty one no more.
func (l *watched) set(address, text string) error {
	text = strings.TrimSpace(text)
	if len(text) > maxLabel || !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n") {
		return fmt.Errorf("expected one line of at most %d bytes", maxLabel)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	of := maps.Clone(l.of)
	if of[address] = text; text == "" {
		delete(of, address)
	}
	if len(of) > maxWatched {
		return fmt.Errorf("there are %d addresses already", maxWatched)
	}
	if err := replace(l.file, lines(of)); err != nil {
		return err
	}
	l.of = of
	return nil
}

// all are sorted by address.
func (l *watched) all() (out []label) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, address := range slices.Sorted(maps.Keys(l.of)) {
		out = append(out, label{"addr", address, l.of[address]})
	}
	return out
}

// lines are all of them, for other programs.
func (l *watched) lines() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lines(l.of)
}

func lines(of map[string]string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, address := range slices.Sorted(maps.Keys(of)) {
		e.Encode(label{"addr", address, of[address]})
	}
	return b.Bytes()
}

// replace leaves a file's old content or the new after a power cut, never a part of either.
func replace(file string, b []byte) error {
	f, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
