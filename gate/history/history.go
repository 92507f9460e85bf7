// Package history owns the index of all runs: what was tested, and what became of each cell, in
// an SQLite database beside the runs. It only answers questions over many runs. Nothing is
// judged by it: it follows from the runs' own files, and is made anew from them when it is
// missing or cannot be read. The record behind the limit on red runs is the ledger.
package history

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite" // the driver "sqlite"
	lib "modernc.org/sqlite/lib"
)

// File is the database's name, beside the runs. It can be deleted at any time.
const File = "history.db"

// format is increased whenever schema.sql changes, or what is put into its tables.
const format = 2

//go:embed schema.sql
var schema string

// History is the index of the runs in a directory.
type History struct {
	out string
	db  *sql.DB
}

// Open opens the index of the runs in out, and makes it anew if it is missing, damaged, or of
// another format. It says nothing of runs that came since it was last brought up to date; see
// Update.
func Open(ctx context.Context, out string) (*History, error) {
	if _, err := os.Stat(out); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	h, err := open(ctx, out)
	if err == nil || !useless(err) {
		return h, err
	}
	for _, name := range []string{File, File + "-journal"} {
		if err := os.Remove(filepath.Join(out, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("history: removing what cannot be read: %w", err)
		}
	}
	return open(ctx, out)
}

// errFormat says that a database is none of this gate's.
var errFormat = errors.New("another format")

// useless tells whether a database is to be made anew: it is none, it is damaged, or of another
// format. One that somebody else is writing to is not.
func useless(err error) bool {
	var s *sqlite.Error
	if errors.As(err, &s) {
		code := s.Code() & 0xff // without what SQLite calls the extended part
		return code == lib.SQLITE_NOTADB || code == lib.SQLITE_CORRUPT
	}
	return errors.Is(err, errFormat)
}

func open(ctx context.Context, out string) (*History, error) {
	file, err := filepath.Abs(filepath.Join(out, File))
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	// Two gates may write at the same time: each waits for the other, and takes the lock at once.
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: "_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_txlock=immediate"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	db.SetMaxOpenConns(1)
	h := &History{out, db}
	if err := h.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("history: %s: %w", file, err), db.Close())
	}
	return h, nil
}

// prepare makes the tables of a new database, and wants those of an old one to be whole.
func (h *History) prepare(ctx context.Context) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var version, tables int
	var whole string
	err = errors.Join(
		tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version),
		tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables),
		tx.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&whole))
	switch {
	case err != nil:
		return err
	case whole != "ok":
		return fmt.Errorf("%w: %s", errFormat, whole)
	case version == format:
		return tx.Commit()
	case version != 0 || tables != 0:
		return fmt.Errorf("%w: %d", errFormat, version)
	}
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", format)); err != nil {
		return err
	}
	return tx.Commit()
}

// Close closes the index.
func (h *History) Close() error { return h.db.Close() }
