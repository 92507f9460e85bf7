package compose

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

var (
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	noDigest   = "sha256:" + strings.Repeat("0", 64)
)

// image pins what is pulled, or names the directory that is built.
func (im *importer) image(ctx context.Context, m *member) *node {
	if b := m.Build; b != nil {
		at := im.place("services", m.Name, "build")
		dir := im.relative(b.Context)
		if strings.Contains(b.Context, "://") || strings.HasPrefix(dir, "..") {
			im.left(m.Name, "build", at, "the directory that the image is built from is elsewhere", "a copy of it beside the manifest")
			dir = "image"
		}
		if d := b.Dockerfile; d != "" && d != "Dockerfile" && d != "Containerfile" {
			im.left(m.Name, "build.dockerfile", at, fmt.Sprintf("an image is built from the Containerfile of its directory, and this one is called %s", d), "a copy of it with that name")
		}
		if m.Image != "" {
			im.note(m.Name, "image", im.place("services", m.Name, "image"), "the publisher names the image that is built: "+m.Image)
		}
		if dir == "." {
			im.note(m.Name, "build", at, "the image is built from the directory of the manifest")
		}
		n := mapping()
		n.set("build", scalar(dir))
		return n
	}
	at := im.place("services", m.Name, "image")
	ref, digest, _ := strings.Cut(m.Image, "@")
	ref = fullRef(strings.TrimSuffix(ref, ":"))
	if lower := lowerRef(ref); lower != ref {
		im.left(m.Name, "image", at, "names of images are in small letters, not as in "+ref, "the name that its registry knows")
		ref = lower
	}
	if !refForm.MatchString(ref) {
		im.left(m.Name, "image", at, fmt.Sprintf("%q is no name of an image", ref), "image: {ref: REGISTRY/NAME:TAG, digest}")
		ref = "localhost/todo/" + m.name
	}
	if !digestForm.MatchString(digest) && im.Digest != nil {
		var err error
		if digest, err = im.Digest(ctx, ref); err != nil {
			im.note(m.Name, "image", at, "no digest: "+err.Error())
		}
	}
	if !digestForm.MatchString(digest) {
		im.left(m.Name, "image", at, "the image is named by a tag, which may mean another one tomorrow", "the digest of "+ref+", which --pin asks its registry for")
		digest = noDigest
	}
	n := mapping()
	n.set("ref", scalar(ref))
	n.set("digest", scalar(digest))
	return n
}

// refForm is a name with its registry, as the language has them.
var refForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9._-]+)+(:[A-Za-z0-9._-]{1,128})?$`)

// lowerRef writes the name in small letters; the tag stays.
func lowerRef(ref string) string {
	tag := tagOf(ref)
	return strings.ToLower(strings.TrimSuffix(ref, tag)) + tag
}

// fullRef names the registry of an image, as Docker understands a short name.
func fullRef(ref string) string {
	first, rest, deep := strings.Cut(ref, "/")
	switch {
	case !deep:
		return "docker.io/library/" + ref
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + ref
	case first == "index.docker.io" || first == "registry-1.docker.io":
		return "docker.io/" + rest
	}
	return ref
}
