package subscription

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
	"github.com/archipelago-cloud/archipelago/catalog/root"
)

// roots asks a mirror for successors of the root, and brings them into force.
func (s *Subscription) roots(ctx context.Context, base string) error {
	for range maxRoots {
		s.mu.Lock()
		rec := s.rec
		s.mu.Unlock()
		p, err := root.Verify(time.Time{}, rec.Roots[0], rec.Roots[1:]...) // an expired root may have a successor
		if err != nil {
			return err
		}
		b, err := s.get(ctx, base+"/"+mirror.Root(p.Version+1), root.MaxSize)
		if err != nil || b == nil {
			return err
		}
		if _, err := root.Verify(time.Time{}, rec.Roots[0], append(slices.Clone(rec.Roots[1:]), b)...); err != nil {
			return err
		}
		rec.Roots, rec.ETags = append(slices.Clone(rec.Roots), b), nil // whatever is in force is verified again
		if err := s.write(rec); err != nil {
			return err
		}
	}
	return nil
}

// reexamine verifies the catalog in force again where a newer root has come and no newer
// catalog with it: a mirror that has only the one must not keep removed keys in force. It
// says whether another catalog is in force now, or none, and then why.
func (s *Subscription) reexamine(ctx context.Context) (changed bool, err error) {
	s.mu.Lock()
	p, err := s.policy(time.Time{}) // an expired root removes keys, too
	due := err == nil && s.held.Digest != "" && s.under != p.Version && ctx.Err() == nil
	s.mu.Unlock()
	if !due {
		return false, nil
	}
	envelope, err := os.ReadFile(filepath.Join(s.dir, catalogFile))
	var d *document.Document
	if err == nil {
		d, err = s.verify(ctx, envelope)
	}
	if err == nil || errors.Is(err, document.ErrExpired) {
		s.hold(d)
		s.changed(d)
		return true, nil
	}
	s.mu.Lock()
	s.held, s.status.Serial, s.status.Created, s.status.Expires = document.Document{}, 0, time.Time{}, time.Time{}
	s.mu.Unlock()
	s.changed(nil)
	return true, fmt.Errorf("the catalog that was in force is not valid under root %d: %w; what is installed runs on, and nothing is installed from a catalog until a mirror has a newer one", p.Version, err)
}
