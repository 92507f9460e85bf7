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

// labels are what the owner has noted of transactions, kept as BIP 329 has it: a line of
// JSON each.
type labels struct {
	file string
	mu   sync.Mutex
	of   map[string]string // by the transaction's id
}

// label is a line.
type label struct {
	Type  string `json:"type"`
	Ref   string `json:"ref"`
	Label string `json:"label"`
}

// What is kept at most.
const (
	maxLabel  = 250 // bytes
	maxLabels = 10_000
)

func openLabels(file string) (*labels, error) {
	l := &labels{file: file, of: map[string]string{}}
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

func (l *labels) get(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[id]
}

// set keeps a label; an empty one takes away what was there.
func (l *labels) set(id, text string) error {
	switch text = strings.TrimSpace(text); {
	case !hash.MatchString(id):
		return errors.New("expected the id of a transaction")
	case len(text) > maxLabel || !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n"):
		return fmt.Errorf("expected one line of at most %d bytes", maxLabel)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	of := maps.Clone(l.of)
	if of[id] = text; text == "" {
		delete(of, id)
	}
	if len(of) > maxLabels {
		return fmt.Errorf("there are %d labels already", maxLabels)
	}
	if err := replace(l.file, lines(of)); err != nil {
		return err
	}
	l.of = of
	return nil
}

// lines are all labels, sorted by what they are of.
func (l *labels) lines() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lines(l.of)
}

func lines(of map[string]string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, id := range slices.Sorted(maps.Keys(of)) {
		e.Encode(label{"tx", id, of[id]})
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
