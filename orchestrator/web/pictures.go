package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// Pictures gives a picture that a manifest names, from wherever the node's catalog is, and
// its media type.
type Pictures func(ctx context.Context, of *manifest.Listing, digest string) (b []byte, mediaType string, err error)

// picturePath is where the page finds a picture of an application; empty for none.
func picturePath(app, digest string) string {
	name := manifest.PictureFile(digest)
	if name == "" {
		return ""
	}
	return "/apps/" + app + "/pictures/" + name
}

// picture serves an icon or a screenshot of an application. An SVG is a document: whoever
// opens it by itself gets one that may load nothing and run nothing, in a sandbox.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	v, err := s.Reconciler.App(r.PathValue("id"))
	if errors.Is(err, request.ErrUnknownApp) {
		http.NotFound(w, r)
		return
	}
	digest := "sha256:" + r.PathValue("digest")
	of := []*manifest.Manifest{v.Manifest, v.Available}
	i := slices.IndexFunc(of, func(m *manifest.Manifest) bool { return m != nil && slices.Contains(m.Pictures(), digest) })
	if i < 0 {
		http.NotFound(w, r)
		return
	}
	b, mediaType, err := s.Reconciler.Picture(v.Manifest.ID, &of[i].Listing, digest)
	if err != nil && s.Pictures != nil {
		b, mediaType, err = s.Pictures(r.Context(), &of[i].Listing, digest)
	}
	if err != nil {
		s.Log.Warn("no picture", "app", v.Manifest.ID, "error", err)
		w.Header().Set("Cache-Control", "no-store")
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	h.Set("Cache-Control", "private, max-age=31536000, immutable") // its name is its digest
	w.Write(b)
}
