package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // a form of screenshots
	"image/png"
	"path/filepath"
	"strings"
)

// How much a picture may hold, in bytes, and how many pixels wide and high it may be.
const (
	MaxIcon       = 64 << 10
	MaxScreenshot = 512 << 10

	maxIconSide       = 1024
	maxScreenshotSide = 4096
)

const digestPrefix = "sha256:"

// PicturesDir is the directory that holds the pictures of published manifests, each in a file
// that PictureFile names: beside the applications' folders of a catalog on a node's disk,
// beside a signed catalog, and in a mirror.
const PicturesDir = "pictures"

// ErrPicture is wrapped where bytes are no picture that may be shown.
var ErrPicture = errors.New("not a picture that can be shown")

// PictureDigest names a picture in a published manifest: "sha256:" and hex.
func PictureDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return digestPrefix + hex.EncodeToString(sum[:])
}

// PictureFile is the name of the file that holds a picture; empty for what is no digest.
func PictureFile(digest string) string {
	name, ok := strings.CutPrefix(digest, digestPrefix)
	if b, err := hex.DecodeString(name); !ok || err != nil || len(b) != sha256.Size {
		return ""
	}
	return name
}

// CheckPicture looks at the bytes of one of the pictures before anybody sees them:
// whether they are the ones that the digest names, and show something and do nothing. It
// gives their media type; otherwise ErrPicture is wrapped.
func (l *Listing) CheckPicture(digest string, b []byte) (mediaType string, err error) {
	if have := PictureDigest(b); have != digest {
		return "", fmt.Errorf("%w: its digest is %s, expected %s", ErrPicture, have, digest)
	}
	mediaType, wrong := pictureType(b, l.Icon == digest)
	if wrong != nil {
		return "", fmt.Errorf("%w: %w", ErrPicture, wrong[0])
	}
	return mediaType, nil
}

// inPicture is what is wrong with a picture, at a place in its text; line is 0 where it has
// no lines.
type inPicture struct {
	line, column int
	message      string
}

func (e inPicture) Error() string {
	if e.line == 0 {
		return e.message
	}
	return fmt.Sprintf("line %d, column %d: %s", e.line, e.column, e.message)
}

// pictureType gives the media type of an icon or a screenshot, or everything that is wrong
// with it.
func pictureType(b []byte, icon bool) (string, []error) {
	refuse := func(format string, args ...any) (string, []error) {
		return "", []error{inPicture{message: fmt.Sprintf(format, args...)}}
	}
	limit, side := MaxScreenshot, maxScreenshotSide
	if icon {
		limit, side = MaxIcon, maxIconSide
	}
	if len(b) > limit {
		return refuse("%d bytes is too large; the limit is %d", len(b), limit)
	}
	config, form, err := image.DecodeConfig(bytes.NewReader(b))
	switch {
	case err != nil && icon:
		if wrong := checkSVG(b); len(wrong) > 0 {
			return "", wrong
		}
		return "image/svg+xml", nil
	case err != nil:
		return refuse("neither a PNG nor a JPEG")
	case icon && form != "png":
		return refuse("expected an SVG or a PNG")
	case config.Width > side || config.Height > side:
		return refuse("%d by %d pixels is too large; the limit is %d by %d", config.Width, config.Height, side, side)
	case !icon:
		return "image/" + form, nil
	}
	r := bytes.NewReader(b)
	if _, err := png.Decode(r); err != nil {
		return refuse("a damaged PNG: %v", err)
	}
	if r.Len() > 0 {
		return refuse("%d bytes follow the end of the PNG", r.Len())
	}
	return "image/png", nil
}

// packPictures has digests stand for the pictures beside the manifest.
func (d *document) packPictures(m *Manifest) {
	pack := func(p *string, icon bool, where ...any) {
		if *p == "" || strings.HasPrefix(*p, digestPrefix) {
			return
		}
		if d.dir == "" {
			if d.root == nil {
				d.report(at(where...), false, "%q stands beside its author's manifest; a published one names its digest", *p)
			}
			return // its text alone is read, in which the name is as good
		}
		limit := int64(MaxScreenshot)
		if icon {
			limit = MaxIcon
		}
		b, err := d.bytesBeside(*p, limit)
		if err != nil {
			d.report(at(where...), false, "%v", err)
			return
		}
		file := filepath.Join(d.dir, *p)
		_, wrong := pictureType(b, icon)
		for _, w := range wrong {
			if in, ok := w.(inPicture); ok && in.line > 0 {
				d.problems = append(d.problems, Problem{File: file, Line: in.line, Column: in.column, Field: field(at(where...)), Message: in.message, Rule: RuleMeaning})
				continue
			}
			d.report(at(where...), false, "%q: %v", *p, w)
		}
		if len(wrong) > 0 {
			return
		}
		*p = PictureDigest(b)
		if m.Beside == nil {
			m.Beside = map[string]string{}
		}
		m.Beside[*p] = file
	}
	pack(&m.Icon, true, "icon")
	for i := range m.Screenshots {
		pack(&m.Screenshots[i], false, "screenshots", i)
	}
}
