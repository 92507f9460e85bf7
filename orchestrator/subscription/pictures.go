package subscription

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	pictureTries  = 4                // at the same time; further ones wait
	pictureTime   = 20 * time.Second // for one, from all mirrors
	pictureAgain  = 5 * time.Minute  // until mirrors are asked again for one that none had
	picturesBytes = 64 << 20         // that are kept; the oldest go first
	maxMissing    = 4096
)

// Picture gives a picture that a manifest of the signed catalog names, and its media type:
// the one kept here, or else the first mirror's. Whatever the mirror is, the bytes are those
// of the digest, and are looked at before they are kept. catalog.ErrNoPicture is wrapped
// where no mirror has it.
func (s *Subscription) Picture(ctx context.Context, of *manifest.Listing, digest string) (b []byte, mediaType string, err error) {
	name := manifest.PictureFile(digest)
	if name == "" || !slices.Contains(of.Pictures(), digest) {
		return nil, "", fmt.Errorf("%w %q", catalog.ErrNoPicture, digest)
	}
	file := filepath.Join(s.dir, manifest.PicturesDir, name)
	if b, err := catalog.ReadPicture(file); err == nil {
		if mediaType, err := of.CheckPicture(digest, b); err == nil {
			return b, mediaType, nil
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pictureTime, fmt.Errorf("no mirror had the picture within %s", pictureTime))
	defer cancel()
	select {
	case s.pictures.turns <- struct{}{}:
		defer func() { <-s.pictures.turns }()
	case <-ctx.Done():
		return nil, "", fmt.Errorf("%w: %w", catalog.ErrNoPicture, context.Cause(ctx))
	}
	s.mu.Lock()
	mirrors := s.rec.Mirrors
	since, missing := s.pictures.missing[digest]
	s.mu.Unlock()
	if missing && s.now().Sub(since) < pictureAgain {
		return nil, "", fmt.Errorf("%w: no mirror had it", catalog.ErrNoPicture)
	}
	problems := []error{fmt.Errorf("%w %s", catalog.ErrNoPicture, digest)}
	for _, m := range mirrors {
		b, err := s.get(ctx, strings.TrimSuffix(m, "/")+"/"+mirror.Picture(digest), manifest.MaxScreenshot)
		if err == nil && b == nil {
			continue
		}
		if err == nil {
			mediaType, err = of.CheckPicture(digest, b)
		}
		if err == nil {
			return b, mediaType, s.keepPicture(file, b)
		}
		problems = append(problems, fmt.Errorf("%s: %w", m, err))
	}
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) { // a visitor who left says nothing of mirrors
		s.mu.Lock()
		if s.pictures.missing == nil || len(s.pictures.missing) >= maxMissing {
			s.pictures.missing = map[string]time.Time{}
		}
		s.pictures.missing[digest] = s.now()
		s.mu.Unlock()
	}
	return nil, "", errors.Join(problems...)
}

// keepPicture writes a picture, and removes the oldest ones beyond what may be kept.
func (s *Subscription) keepPicture(file string, b []byte) error {
	s.pictures.keeping.Lock()
	defer s.pictures.keeping.Unlock()
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := atomicfile.Write(file, b, 0o600); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	type kept struct {
		name string
		size int64
		at   time.Time
	}
	var all []kept
	var sum int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			all = append(all, kept{e.Name(), info.Size(), info.ModTime()})
			sum += info.Size()
		}
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.name, b.name)) })
	for _, k := range all {
		if sum <= s.pictures.limit || k.name == filepath.Base(file) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, k.name)); err != nil {
			return err
		}
		sum -= k.size
	}
	return nil
}
