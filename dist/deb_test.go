package dist

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packed is a file of a package.
type packed struct {
	mode int64
	body string
}

// buildPackages builds both packages of programs that are scripts, and gives their files.
func buildPackages(t *testing.T, out string) (node, tools string) {
	t.Helper()
	programs := t.TempDir()
	for _, name := range []string{"archipelago", "archy", "gate"} {
		write(t, filepath.Join(programs, name+"-linux-amd64"), "program "+name, 0o755)
		write(t, filepath.Join(programs, name), `#!/bin/sh
case $1 in
docs) mkdir -p "$3"; echo "man page" >"$3/`+name+`.1" ;;
completion) echo "`+name+` in $2" ;;
esac
`, 0o755)
	}
	cmd := exec.Command("sh", "deb/build.sh", "v1.2.0-rc1", "amd64", programs, out)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return filepath.Join(out, "archipelago_1.2.0~rc1_amd64.deb"), filepath.Join(out, "archipelago-tools_1.2.0~rc1_amd64.deb")
}

// unpack reads what a package installs, or with --ctrl-tarfile what dpkg reads of it.
func unpack(t *testing.T, deb, which string) map[string]packed {
	t.Helper()
	b, err := exec.Command("dpkg-deb", which, deb).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]packed{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 1700000000 {
			t.Errorf("%s: %s is of %d:%d, and of %s", deb, h.Name, h.Uid, h.Gid, h.ModTime)
		}
		if h.Typeflag == tar.TypeDir {
			if h.Mode&0o777 != 0o755 {
				t.Errorf("%s: %s has mode %o", deb, h.Name, h.Mode)
			}
			continue
		}
		body, err := io.ReadAll(r)
		if err != nil || h.Typeflag != tar.TypeReg {
			t.Fatalf("%s: %v, type %c", h.Name, err, h.Typeflag)
		}
		files[strings.TrimPrefix(h.Name, ".")] = packed{h.Mode & 0o7777, string(body)}
	}
}

func TestPackagesHoldWhatAReleaseHas(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	node, tools := buildPackages(t, t.TempDir())
	same := func(where string, got, want map[string]packed) {
		t.Helper()
		for name, w := range want {
			if g, there := got[name]; !there || g.mode != w.mode || w.body != "" && g.body != w.body {
				t.Errorf("%s: %s: mode %o, there: %v, expected mode %o and\n%.80s, got\n%.80s", where, name, g.mode, there, w.mode, w.body, g.body)
			}
		}
		for name := range got {
			if _, meant := want[name]; !meant {
				t.Errorf("%s: %s is more than is meant", where, name)
			}
		}
	}
	const lib = "/usr/lib/archipelago/"
	installed := map[string]packed{
		lib + "archipelago":                    {0o755, "program archipelago"},
		"/usr/share/doc/archipelago/copyright": {0o644, read("../LICENSE")},
		"/usr/share/doc/archipelago/README.md": {0o644, read("README.md")},
	}
	for name, body := range Release() {
		switch filepath.Ext(name) {
		case ".sh":
			installed[lib+name] = packed{0o755, string(body)}
		case ".service", ".conf":
			installed[lib+name] = packed{0o644, string(body)}
		}
	}
	delete(installed, lib+"install.sh")
	installed["/usr/bin/archipelago"] = installed[lib+"archipelago.sh"]
	delete(installed, lib+"archipelago.sh")
	installed["/etc/issue.d/archipelago.issue"] = packed{0o644, read("archipelago.issue")}
	same("the node's", unpack(t, node, "--fsys-tarfile"), installed)

	control := unpack(t, node, "--ctrl-tarfile")
	same("what dpkg reads", control, map[string]packed{
		"/control": {0o644, ""}, "/md5sums": {0o644, ""}, "/conffiles": {0o644, "/etc/issue.d/archipelago.issue\n"},
		"/postinst": {0o755, read("deb/postinst")}, "/prerm": {0o755, read("deb/prerm")}, "/postrm": {0o755, read("deb/postrm")},
	})
	depends := strings.ReplaceAll(strings.Replace(strings.Replace(packages, "podman ", "podman (>= "+MinPodman+") ", 1), "systemd ", fmt.Sprintf("systemd (>= %d) ", MinSystemd), 1), " ", ", ")
	depends = strings.ReplaceAll(depends, ", (>=, ", " (>= ")
	for _, want := range []string{"Package: archipelago\n", "Version: 1.2.0~rc1\n", "Architecture: amd64\n", "Depends: " + depends + "\n", "Recommends: catatonit\n"} {
		if !strings.Contains(control["/control"].body, want) {
			t.Errorf("no %q in\n%s", want, control["/control"].body)
		}
	}

	people := map[string]packed{"/usr/share/doc/archipelago-tools/copyright": {0o644, ""}}
	for _, name := range []string{"archy", "gate"} {
		people["/usr/bin/"+name] = packed{0o755, "program " + name}
		people["/usr/share/man/man1/"+name+".1.gz"] = packed{0o644, ""}
		people["/usr/share/bash-completion/completions/"+name] = packed{0o644, name + " in bash\n"}
		people["/usr/share/zsh/vendor-completions/_"+name] = packed{0o644, name + " in zsh\n"}
		people["/usr/share/fish/vendor_completions.d/"+name+".fish"] = packed{0o644, name + " in fish\n"}
	}
	same("people's", unpack(t, tools, "--fsys-tarfile"), people)
	for name := range unpack(t, tools, "--ctrl-tarfile") {
		if name != "/control" && name != "/md5sums" {
			t.Errorf("the package of commands has a script: %s", name)
		}
	}
}

func TestTheSameProgramsMakeTheSamePackages(t *testing.T) {
	t.Parallel()
	var before [][]byte
	for range 2 {
		node, tools := buildPackages(t, t.TempDir())
		a, err := os.ReadFile(node)
		b, other := os.ReadFile(tools)
		if err := errors.Join(err, other); err != nil {
			t.Fatal(err)
		}
		if before != nil && (!bytes.Equal(before[0], a) || !bytes.Equal(before[1], b)) {
			t.Error("they were built otherwise the second time")
		}
		before = [][]byte{a, b}
	}
}

func TestVersionsOfPackagesAreInTheOrderOfTheirCommits(t *testing.T) {
	t.Parallel()
	version := func(described string) (string, error) {
		out, err := exec.Command("sh", "deb/build.sh", "--version", described).Output()
		return strings.TrimSpace(string(out)), err
	}
	before := ""
	for _, described := range []string{"36fc7d7", "0.0.0-dev", "1", "v1.2.0-rc1", "1.2.0-rc1-4-gabcdef0", "v1.2.0-rc2", "v1.2.0", "v1.2.0-4-g36fc7d7", "v1.2.0-4-g36fc7d7-dirty", "v1.2.0-11-gabcdef0", "v1.2.1", "v1.10.0"} {
		v, err := version(described)
		if err != nil {
			t.Fatalf("%s: %v", described, err)
		}
		if before != "" {
			if err := exec.Command("dpkg", "--compare-versions", before, "lt", v).Run(); err != nil {
				t.Errorf("%s: %s does not come after %s: %v", described, v, before, err)
			}
		}
		before = v
	}
	for _, bad := range []string{"", "x.1", "main", "1.0 2", "1.0;ls", "1.0_1"} {
		if v, err := version(bad); err == nil {
			t.Errorf("%q became %s", bad, v)
		}
	}
}
