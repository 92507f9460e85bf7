package client

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
)

func TestOpenBackup(t *testing.T) {
	owner, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(values any) []byte {
		var b bytes.Buffer
		w, err := age.Encrypt(&b, owner.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(w).Encode(values); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	backup := func(secrets []byte) *zip.Reader {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		var sums []byte
		add := func(name string, body []byte) {
			w, err := z.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(body); err != nil {
				t.Fatal(err)
			}
			sums = fmt.Appendf(sums, "%x  %s\n", sha256.Sum256(body), name)
		}
		add(archive.Header, []byte(`{"app":"feeds"}`))
		add(archive.Secrets, secrets)
		add(archive.Volumes, []byte("a tar"))
		add(archive.Sums, sums)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	got, err := OpenBackup(backup(seal(map[string]string{"db-password": "sesame"})), []age.Identity{owner})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	volumes, err := io.ReadAll(got.volumes)
	if err != nil || string(volumes) != "a tar" || string(got.header.Backup) != `{"app":"feeds"}` || got.header.Secrets["db-password"] != "sesame" ||
		got.header.VolumesSha256 != fmt.Sprintf("%x", sha256.Sum256(volumes)) {
		t.Errorf("%v, %q, %v", got.header, volumes, err)
	}

	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		z  *zip.Reader
		id *age.X25519Identity
	}{
		"somebody else's identity": {backup(seal(map[string]string{})), other},
		"secrets of another form":  {backup(seal([]string{"sesame"})), owner},
		"secrets in the clear":     {backup([]byte(`{"db-password":"sesame"}`)), owner},
	} {
		if _, err := OpenBackup(c.z, []age.Identity{c.id}); err == nil || !strings.Contains(err.Error(), archive.Secrets) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
