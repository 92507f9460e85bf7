package matrix

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

func digestOfText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// inNamespace starts a program in a user namespace of its own, as a container's is, and gives
// its process id.
func inNamespace(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", "echo there; exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "there\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return strconv.Itoa(cmd.Process.Pid)
}

// The program tells what a container reads in a file by a digest that says nothing of secrets,
// and is another one where a value is another one, or in another place.
func TestTheProgramReadsFilesWithoutTheirSecrets(t *testing.T) {
	pid := inNamespace(t)
	const key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw&BQYDK2Vw\n-----END PRIVATE KEY-----\n"
	for text, want := range map[string]string{
		"password=s3cret-value\n\n":             "password={{secret:password}}\n\n",
		"a s3cret-value-longer b":               "a {{secret:longer}} b",
		"key=hunter2-hunter2&\\1 s3cret-value":  "key={{secret:api-key}} {{secret:password}}",
		key + "s3cret-value":                    "{{secret:tls}}{{secret:password}}",
		"nothing é \\n $HOME `x` *":             "nothing é \\n $HOME `x` *",
		"a short one is text like any other: x": "a short one is text like any other: x",
		"":                                      "",
	} {
		root := t.TempDir()
		for name, content := range map[string]string{
			"data/_daemon/secrets/pair/password": "s3cret-value", "data/_daemon/secrets/pair/longer": "s3cret-value-longer",
			"data/_daemon/secrets/pair/api-key.abcdefghijABCDEFGHIJ": "hunter2-hunter2&\\1", "data/_daemon/secrets/pair/tls": key,
			"data/_daemon/secrets/pair/short": "x", "app.conf": text,
		} {
			writeFile(t, filepath.Join(root, name), content)
		}
		file := filepath.Join(root, "app.conf")
		var told []string
		for line := range strings.Lines(ask(t, root, questions{app: "pair", dataDir: filepath.Join(root, "data"), texts: []string{pid + ":" + file, pid + ":" + root + "/missing"}}, "")) {
			if strings.HasPrefix(line, "text ") {
				told = append(told, line)
			}
		}
		if want := []string{"text " + pid + " " + file + " " + digestOfText(want) + "\n"}; !slices.Equal(told, want) {
			t.Errorf("%q: %q, expected %q", text, told, want)
		}
	}
}

// A private key is found wherever a line of it leaks; what everybody may have is none.
func TestALeakOfAKeyIsFoundAndOneOfACertificateIsNone(t *testing.T) {
	line := strings.Repeat("MC4CAQAwBQYDK2Vw", 4)
	for leaked, want := range map[string][]string{
		line:                             {"journal"},
		"-----BEGIN PRIVATE KEY-----":    nil,
		"YWJj":                           nil,
		strings.Repeat("CERTIFICATE", 6): nil,
		strings.Repeat("PUBLICKEY", 7):   nil,
	} {
		write, look := node(t)
		write("data/_daemon/secrets/pair/tls", "-----BEGIN PRIVATE KEY-----\n"+line+"\nYWJj\n-----END PRIVATE KEY-----\n")
		write("data/_daemon/secrets/pair/cert", "-----BEGIN CERTIFICATE-----\n"+strings.Repeat("CERTIFICATE", 6)+"\n-----END CERTIFICATE-----\n")
		write("data/_daemon/secrets/pair/public", "-----BEGIN PUBLIC KEY-----\n"+strings.Repeat("PUBLICKEY", 7)+"\n-----END PUBLIC KEY-----\n")
		write("journal", "it says "+leaked+"\n")
		if s := look("[]"); !slices.Equal(s.Leaks, want) {
			t.Errorf("%s leaks in %q, expected %q", leaked, s.Leaks, want)
		}
	}
}

func TestAFileIsLookedAtInItsContainer(t *testing.T) {
	m := stack()
	m.Containers[0].Files = []manifest.File{{Path: "/etc/db.conf", Content: "x"}}
	if q := asMeant(nil).ask(m, nodes.DataDir, noon); !slices.Contains(q.inside, "100:/etc/db.conf") || !slices.Contains(q.texts, "100:/etc/db.conf") {
		t.Errorf("looked for are %q and %q", q.inside, q.texts)
	}
	// What the node does not say of a file that is mounted is not taken for anything.
	if _, err := lookAtOne(m, func(_, text string) string {
		return strings.Replace(text, "inside 100 /data ", "mount 100 /etc/db.conf ro ext4 /x -\ninside 100 /etc/db.conf 1 1 644 9\ninside 100 /data ", 1)
	}); err == nil || !strings.Contains(err.Error(), "the text of /etc/db.conf in container pair-db") {
		t.Error(err)
	}
}

// Nothing else of the daemon's own directory is an application's to mount.
func TestOnlyItsOwnFilesMayBeMountedFromTheDaemonsDirectory(t *testing.T) {
	for source, want := range map[string]string{
		"/var/lib/archipelago/_daemon/files/pair/pair.0123456789abcdef":   "",
		"/var/lib/archipelago/_daemon/files/pair":                         "holds more than its own data",
		"/var/lib/archipelago/_daemon/files/pair/pair":                    "holds more than its own data",
		"/var/lib/archipelago/_daemon/files/other/other.0123456789abcdef": "holds more than its own data",
		"/var/lib/archipelago/_daemon/secrets/pair/password":              "holds more than its own data",
		"/var/lib/archipelago/_daemon/files/pair/../x/a.0123456789abcdef": "holds more than its own data",
	} {
		s := healthy()
		s.Containers[1].Mounts = append(s.Containers[1].Mounts, source)
		wrong := CheckInvariants(stack(), s)
		if found := slices.ContainsFunc(wrong, func(w string) bool { return want != "" && strings.Contains(w, want) }); found != (want != "") || want == "" && len(wrong) > 0 {
			t.Errorf("%s: %q, expected %q", source, wrong, want)
		}
	}
}

func TestTheModeOfAFile(t *testing.T) {
	c := manifest.Container{Name: "pair", User: "7", Files: []manifest.File{
		{Path: "/a", Content: "x"}, {Path: "/b", Content: "x", Mode: "0755"}, {Path: "/c", Content: "{{secret:x}}", Template: true}, {Path: "/d", Content: "{{secret:x}}"},
	}}
	for file, want := range map[string]string{"/a": "644", "/b": "755", "/c": "600", "/d": "644"} {
		if f := filesMeant(stack(), c, "/d")[file]; f.Mode != want || f.UID != 7 || f.GID != 0 || f.Place != "/d/_daemon/files/pair/pair" {
			t.Errorf("%s: %+v, expected mode %s", file, f, want)
		}
	}
}

func TestFilesThatAreLeftAreRed(t *testing.T) {
	s := &Snapshot{Folders: []string{"_daemon/files/pair"}}
	if wrong := CheckAbsent(stack(), s); !slices.Equal(wrong, []string{"the folder _daemon/files/pair is left, in which its files were"}) {
		t.Errorf("%q", wrong)
	}
	s.Folders[0] = "_daemon/secrets/pair" // with the data
	if wrong := CheckAbsent(stack(), s); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestANodeIsKnownByTheFirstPartOfItsHostName(t *testing.T) {
	for host, want := range map[string]manifest.Node{
		"box": {Name: "box", Domain: "box.local"}, "Box.example.org": {Name: "box", Domain: "box.local"},
		"my_box": {Name: "localhost", Domain: "localhost"}, "": {Name: "localhost", Domain: "localhost"},
	} {
		if got := NodeOf(host); got.Name != want.Name || got.Domain != want.Domain {
			t.Errorf("%q is %+v, expected %+v", host, got, want)
		}
	}
}
