package fleet

import (
	"slices"
	"strings"
	"testing"
)

func TestImagesMustFit(t *testing.T) {
	images := []Image{{Ref: "r/a@sha256:1", Bytes: 100 << 20}, {Ref: "r/b@sha256:2", Bytes: 300 << 20}, {Ref: "r/c@sha256:3", Bytes: 0}}
	for _, c := range []struct {
		name, facts string
		missing     []string
		want        string
	}{
		{"all are there", "free 1 /s\n", nil, ""},
		{"room for what is missing", "free 1600000000 /s\nmissing r/a@sha256:1\n", []string{"r/a@sha256:1"}, ""},
		{"no room", "free 1600000000 /s\nmissing r/a@sha256:1\nmissing r/b@sha256:2\n", nil, "its images need about 2624 MiB, 1024 MiB in reserve included, and /s has 1525 MiB free"},
		{"one of unknown size", "free 1 /s\nmissing r/c@sha256:3\n", []string{"r/c@sha256:3"}, ""},
		{"nothing said", "", nil, "does not say how much space is free"},
		{"nonsense", "free much /s\n", nil, "its free space"},
	} {
		missing, err := judgeRoom(c.facts, images)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || !slices.Equal(missing, c.missing) {
			t.Errorf("%s: %q, %v", c.name, missing, err)
		}
	}
}
