package client

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
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
	zipped := func(secrets []byte) []byte {
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
		return b.Bytes()
	}
	// encrypted is what the daemon makes.
	encrypted := func(b []byte) []byte {
		var file bytes.Buffer
		w, err := archive.Seal(&file, []age.Recipient{owner.Recipient()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return file.Bytes()
	}
	open := func(b []byte, id age.Identity) (*Backup, error) {
		return OpenBackup(bytes.NewReader(b), int64(len(b)), []age.Identity{id})
	}

	good := zipped(seal(map[string]string{"db-password": "sesame"}))
	for form, file := range map[string][]byte{"the daemon's": encrypted(good), "release 0.1's": good} {
		got, err := open(file, owner)
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		defer got.Close()
		volumes, err := io.ReadAll(got.volumes)
		if err != nil || string(volumes) != "a tar" || string(got.header.Backup) != `{"app":"feeds"}` || got.header.Secrets["db-password"] != "sesame" ||
			got.header.VolumesSha256 != fmt.Sprintf("%x", sha256.Sum256(volumes)) {
			t.Errorf("%s: %v, %q, %v", form, got.header, volumes, err)
		}
	}
	whole := encrypted(good)
	if _, err := open(whole[:len(whole)-1], owner); err == nil {
		t.Error("a part of a backup is taken for a whole one")
	}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-20] ^= 1
	if _, err := open(damaged, owner); err == nil {
		t.Error("a damaged backup is opened")
	}
	if _, err := open([]byte("a letter"), owner); !errors.Is(err, archive.ErrNotBackup) {
		t.Errorf("a letter: %v", err)
	}

	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file []byte
		id   *age.X25519Identity
		why  string
	}{
		"somebody else's identity":        {whole, other, "did not match any"},
		"somebody else's, of release 0.1": {good, other, archive.Secrets},
		"secrets of another form":         {encrypted(zipped(seal([]string{"sesame"}))), owner, archive.Secrets},
		"secrets in the clear":            {encrypted(zipped([]byte(`{"db-password":"sesame"}`))), owner, archive.Secrets},
	} {
		if _, err := open(c.file, c.id); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
