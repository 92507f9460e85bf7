package archive

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	good := func() map[string]string {
		return map[string]string{Header: `{"app":"feeds"}`, Secrets: "sealed", Volumes: "a tar"}
	}
	sums := func(members map[string]string) string {
		var b strings.Builder
		for name, body := range members {
			fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256([]byte(body)), name)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		change func(members map[string]string) // after the checksums were taken
		want   string
	}{
		"a good one":           {func(map[string]string) {}, ""},
		"no header":            {func(m map[string]string) { delete(m, Header) }, "backup.json: file does not exist"},
		"no secrets":           {func(m map[string]string) { delete(m, Secrets) }, "secrets.age: file does not exist"},
		"no volumes":           {func(m map[string]string) { delete(m, Volumes) }, "volumes.tar: file does not exist"},
		"no checksums":         {func(m map[string]string) { delete(m, Sums) }, "SHA256SUMS: file does not exist"},
		"an edited header":     {func(m map[string]string) { m[Header] = `{"app":"other"}` }, "backup.json is damaged"},
		"other secrets":        {func(m map[string]string) { m[Secrets] = "Sealed" }, "secrets.age is damaged"},
		"a bomb":               {func(m map[string]string) { m[Header] = strings.Repeat(" ", maxMember+1) }, "backup.json is larger than"},
		"a header not checked": {func(m map[string]string) { m[Sums] = "" }, "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			members := good()
			members[Sums] = sums(members)
			c.change(members)
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			for name, body := range members {
				m, err := w.Create(name)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(m, body); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Open(z)
			if c.want != "" {
				if !errors.Is(err, ErrNotBackup) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, expected %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer got.Volumes.Close()
			volumes, err := io.ReadAll(got.Volumes)
			want := good()
			if err != nil || string(got.Header) != want[Header] || string(got.Secrets) != want[Secrets] || string(volumes) != want[Volumes] ||
				got.VolumesSHA256 != fmt.Sprintf("%x", sha256.Sum256(volumes)) {
				t.Errorf("%+v, %q, %v", got, volumes, err)
			}
		})
	}
}
