package description

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

func signer(t testing.TB) *sign.Signer {
	t.Helper()
	s, err := sign.NewSigner("release")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func example() Description {
	return Description{Version: "1.2.0", Created: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), Commit: "abcdef",
		Files: map[string]string{Daemon("amd64"): strings.Repeat("0a", 32), "install.sh": strings.Repeat("0b", 32)}}
}

func TestWhatIsSignedIsWhatIsRead(t *testing.T) {
	a, b := signer(t), signer(t)
	want := example()
	envelope, err := Sign(context.Background(), want, a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(context.Background(), envelope, []sign.PublicKey{a.PublicKey}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != want.Version || !got.Created.Equal(want.Created) || got.Commit != want.Commit || !maps.Equal(got.Files, want.Files) {
		t.Errorf("%+v, expected %+v", got, want)
	}
	both := []sign.PublicKey{a.PublicKey, b.PublicKey}
	if _, err := Verify(context.Background(), envelope, both, 2); !errors.Is(err, sign.ErrUntrusted) {
		t.Errorf("one signature of two: %v", err)
	}
	if envelope, err = sign.Add(context.Background(), envelope, MaxSize, b); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(context.Background(), envelope, both, 2); err != nil {
		t.Errorf("both have signed: %v", err)
	}
	if _, err := Verify(context.Background(), envelope, []sign.PublicKey{signer(t).PublicKey}, 1); !errors.Is(err, sign.ErrUntrusted) {
		t.Errorf("another key: %v", err)
	}
}

func TestADescriptionSaysEverything(t *testing.T) {
	key := signer(t)
	for name, change := range map[string]func(*Description){
		"no version":     func(d *Description) { d.Version = "" },
		"two words":      func(d *Description) { d.Version = "1.2 .0" },
		"no time":        func(d *Description) { d.Created = time.Time{} },
		"a fraction":     func(d *Description) { d.Created = d.Created.Add(time.Millisecond) },
		"no commit":      func(d *Description) { d.Commit = "" },
		"no files":       func(d *Description) { d.Files = nil },
		"a directory":    func(d *Description) { d.Files["../x"] = d.Files["install.sh"] },
		"a short digest": func(d *Description) { d.Files["x"] = "00" },
		"upper case":     func(d *Description) { d.Files["x"] = strings.Repeat("0A", 32) },
	} {
		d := example()
		change(&d)
		if _, err := Sign(context.Background(), d, key); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOnlyADescriptionIsOne: the same keys sign other statements, and another text of the
// same statement could be read as another by another reader.
func TestOnlyADescriptionIsOne(t *testing.T) {
	key := signer(t)
	d := example()
	good, err := d.encode()
	if err != nil {
		t.Fatal(err)
	}
	first := "    {\n      \"name\": \"" + Daemon("amd64") + "\",\n      \"digest\": {\n        \"sha256\": \"" + strings.Repeat("0a", 32) + "\"\n      }\n    },\n"
	for name, c := range map[string]struct{ old, new string }{
		"another statement": {predicateType, "https://in-toto.io/attestation/test-result/v0.1"},
		"another type":      {statementType, "https://in-toto.io/Statement/v0.1"},
		"an unknown name":   {`"commit"`, `"surprise": true, "commit"`},
		"other spaces":      {"\n", "\n "},
		"a file twice":      {first, first + strings.Replace(first, "0a0a", "0c0c", 1)},
	} {
		bad := bytes.Replace(good, []byte(c.old), []byte(c.new), 1)
		if bytes.Equal(bad, good) {
			t.Fatalf("%s: nothing was changed in %s", name, good)
		}
		envelope, err := sign.Sign(context.Background(), payloadType, bad, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(context.Background(), envelope, []sign.PublicKey{key.PublicKey}, 1); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	envelope, err := sign.Sign(context.Background(), "application/vnd.archipelago.catalog+json", good, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(context.Background(), envelope, []sign.PublicKey{key.PublicKey}, 1); !errors.Is(err, sign.ErrUntrusted) {
		t.Errorf("signed as something else: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	d := example()
	good, err := d.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decode(b)
		if err != nil {
			return
		}
		if again, err := d.encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is read as %q, %v", b, again, err)
		}
	})
}
