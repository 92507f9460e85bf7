package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest/findings"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
)

// settled is how long nothing may have changed before manifests are looked at: an editor
// that saves a file changes several things.
const settled = 100 * time.Millisecond

// watch checks manifests now, and whenever one of them changes, appears or goes, until the
// command is interrupted, which is its ordinary end.
func (a *app) watch(cmd *cobra.Command, paths []string, format string) error {
	concerned := func(e fsnotify.Event) bool { return concerns(e, paths) }
	return watching(cmd.Context(), paths, concerned, func(away error) error {
		err := errors.Join(away, a.validate(cmd, paths, format, false))
		if err != nil && !usage.Is(err) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), err)
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "watching for changes; Ctrl-C ends")
		return nil
	})
}

// watching calls look now, and whenever something has changed below paths that concerns it,
// until the context or look ends it. away says what cannot be watched for the moment: it may
// come back, where its directory is still watched.
func watching(ctx context.Context, paths []string, concerned func(fsnotify.Event) bool, look func(away error) error) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching files: %w", err)
	}
	defer w.Close()
	if err := follow(w, paths); err != nil {
		return usage.Wrap(err)
	}
	if err := look(nil); err != nil {
		return err
	}
	changed := time.NewTimer(settled)
	changed.Stop()
	defer changed.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if concerned(e) {
				changed.Reset(settled)
			}
		case err := <-w.Errors:
			return fmt.Errorf("watching files: %w", err)
		case <-changed.C:
			if err := look(follow(w, paths)); err != nil {
				return err
			}
		}
	}
}

// follow watches the directories that hold the manifests, or may come to: a file that is
// replaced is another one, so files themselves are not watched.
func follow(w *fsnotify.Watcher, paths []string) error {
	for _, p := range paths {
		p = findings.Root(p)
		err := filepath.WalkDir(p, func(name string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist) && name != p:
				return nil // went in the meantime
			case err != nil:
				return err
			case !d.IsDir() && name == p:
				return w.Add(filepath.Dir(name))
			case d.IsDir() && name != p && strings.HasPrefix(d.Name(), "."):
				return fs.SkipDir
			case d.IsDir():
				return w.Add(name)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("watching %s: %w", p, err)
		}
	}
	return nil
}

// concerns tells whether an event may be one of a manifest, or of a directory that holds some.
func concerns(e fsnotify.Event, paths []string) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	name := filepath.Clean(e.Name)
	for _, p := range paths {
		if name == filepath.Clean(p) {
			return true
		}
	}
	return filepath.Base(name) == findings.FileName || filepath.Ext(name) == ""
}
