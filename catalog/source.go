package catalog

import (
	"slices"
	"strconv"
	"strings"
)

// From says where a node got an application from.
type From string

// The sources.
const (
	FromDisk    From = "disk"
	FromCatalog From = "catalog"
	FromBoth    From = "disk, image by catalog"
)

// byTrust are the sources, each before those whose place it must not take.
var byTrust = []From{FromDisk, FromBoth, FromCatalog}

// Source is where a node got an application from.
type Source struct {
	From     From
	Document string // channel and serial of the signed catalog, such as "beta 7"
	SHA256   string // of the manifest, as the signed catalog states it
}

func (s Source) String() string { return strings.TrimSpace(string(s.From) + " " + s.Document) }

// ParseSource reads what String writes. Anything else, such as what an old record or a
// backup says, is the zero value: nobody knows where that is from.
func ParseSource(text string) Source {
	for _, from := range byTrust {
		rest, ok := strings.CutPrefix(text, string(from))
		if ok && (rest == "" || rest[0] == ' ') {
			return Source{From: from, Document: strings.TrimSpace(rest)}
		}
	}
	return Source{}
}

// Below tells whether what is from s must not take the place of what is from another
// source: a signed catalog's manifest or image is never replaced by the disk's.
func (s Source) Below(installed Source) bool {
	return s.rank() < installed.rank()
}

// rank is that of its trust; what nobody knows counts as the disk's.
func (s Source) rank() int { return max(slices.Index(byTrust, s.From), 0) }

// Forward tells whether a version from s is a step forward from one that is installed: a
// newer version, or the same one in a later document of the same channel, or the first
// that a signed catalog vouches for. One in an earlier document of the channel is none.
func (s Source) Forward(version string, installed Source, old string) bool {
	c := CompareVersions(version, old)
	if s.Below(installed) || c < 0 {
		return false
	}
	channel, serial := s.document()
	before, last := installed.document()
	switch {
	case channel != "" && channel == before:
		return serial > last || serial == last && c > 0
	case c == 0:
		return installed.Below(s)
	}
	return true
}

// document gives the channel and the serial of the signed catalog; empty and 0 for none.
func (s Source) document() (channel string, serial int64) {
	channel, number, _ := strings.Cut(s.Document, " ")
	serial, _ = strconv.ParseInt(number, 10, 64)
	return channel, serial
}
