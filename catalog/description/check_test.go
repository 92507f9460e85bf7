package description

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"crypto/sha256"
)

func TestAReleaseOfWhichAByteWasChangedIsNamed(t *testing.T) {
	d := &Description{Files: map[string]string{"a": fmt.Sprintf("%x", sha256.Sum256([]byte("one"))), "b": fmt.Sprintf("%x", sha256.Sum256([]byte("two")))}}
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  []string
	}{
		"as signed":    {fstest.MapFS{"a": {Data: []byte("one")}, "b": {Data: []byte("two")}}, nil},
		"one changed":  {fstest.MapFS{"a": {Data: []byte("one")}, "b": {Data: []byte("twO")}}, []string{"b is sha256:", "and signed is sha256:" + d.Files["b"]}},
		"both not":     {fstest.MapFS{"a": {Data: []byte("two")}}, []string{"a is sha256:", "b: open b: file does not exist"}},
		"more of them": {fstest.MapFS{"a": {Data: []byte("one\n")}, "b": {Data: []byte("two")}}, []string{"a is sha256:"}},
	} {
		err := d.Check(func(name string) (io.ReadCloser, error) { return fs.FS(c.files).Open(name) })
		if (err == nil) != (len(c.want) == 0) || err != nil && !errors.Is(err, ErrFiles) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: %v, expected %q", name, err, want)
			}
		}
	}
}
