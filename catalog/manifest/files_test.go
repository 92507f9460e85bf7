package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// withFiles gives the valid manifest's container pair these files, in YAML.
func withFiles(files string) string {
	return strings.Replace(strings.Replace(valid, "[true]", "[/bin/true]", 1), "    depends_on:", "    files:\n"+files+"    depends_on:", 1)
}

// said has Parse find problems, of which one has each of these parts.
func said(t *testing.T, err error, parts ...string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v, expected %q", err, parts)
	}
	for _, part := range parts {
		if !slices.ContainsFunc(e.Problems, func(p Problem) bool { return strings.Contains(p.String(), part) }) {
			t.Errorf("%v\nexpected %q", err, part)
		}
	}
	if len(e.Problems) != len(parts) {
		t.Errorf("%d problems, expected %d: %v", len(e.Problems), len(parts), err)
	}
}

const everything = `      - path: /etc/pair.conf
        template: true
        content: |
          name={{node:name}}
          level={{setting:level}}
          password={{secret:password}}
          key={{secret:api-key}}
          at={{url:web}}
          port={{port:web}} peers={{port:peers}}
          chain={{app:chain.rpc.host}}
          literal={{ .Name }} {{canary}}
      - {path: /usr/bin/run, mode: "0755", content: "#!/bin/sh\necho {{setting:level}}\n"}
    environment: {AT: "{{url:web}}", CHAIN: "{{app:chain.rpc.host}}:8332", NODE: "{{node:name}}"}
    command: ["--port={{port:web}}"]
    health: {exec: [check, "{{setting:level}}"]}
`

func referring(t *testing.T) *Manifest {
	t.Helper()
	src := strings.Replace(withFiles(everything), "host: 8080}]", "host: 8080}, {name: peers, container: 81, host: 8081}]", 1)
	src = strings.Replace(src, "interfaces:", "requires: [{app: chain}]\nsettings: [{name: level, default: info}, {name: api-key, secret: true}]\nhooks: {post_install: [{container: pair, command: [tell, \"{{node:name}}\"]}]}\ninterfaces:", 1)
	m, err := Parse("m.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReferencesAreFilledIn(t *testing.T) {
	m := referring(t)
	before := string(m.Canonical())
	got, err := m.With(map[string]string{"level": "debug", "api-key": ref}, Node{Name: "box", Domain: "box.local"})
	if err != nil {
		t.Fatal(err)
	}
	c := got.Containers[1]
	const public = "name=box\nlevel=debug\npassword={{secret:password}}\nkey={{secret:api-key}}\nat=https://box.local:18080\nport=18080 peers=8081\nchain=chain\nliteral={{ .Name }} {{canary}}\n"
	if text := c.Files[0].Public(); text != public {
		t.Errorf("public:\n%s", text)
	}
	whole := strings.NewReplacer("{{secret:password}}", "hunter1", "{{secret:api-key}}", "hunter2").Replace(public)
	if text := c.Files[0].Text(map[string]string{"password": "hunter1", "api-key": "hunter2"}); text != whole {
		t.Errorf("with its secrets:\n%s", text)
	}
	if f := c.Files[0]; !f.Secret() || f.Perm() != 0o600 {
		t.Errorf("secret %t, mode %o", f.Secret(), f.Perm())
	}
	if f := c.Files[1]; f.Secret() || f.Perm() != 0o755 || f.Text(nil) != "#!/bin/sh\necho {{setting:level}}\n" {
		t.Errorf("no template: secret %t, mode %o, %q", f.Secret(), f.Perm(), f.Text(nil))
	}
	want := map[string]string{"AT": "https://box.local:18080", "CHAIN": "chain:8332", "NODE": "box"}
	if !reflect.DeepEqual(c.Environment, want) || c.Command[0] != "--port=18080" || c.Health.Exec[1] != "debug" || got.Hooks.PostInstall[0].Command[1] != "box" {
		t.Errorf("%v, %q, %q, %q", c.Environment, c.Command, c.Health.Exec, got.Hooks.PostInstall[0].Command)
	}
	if !m.NamesNode() || !reflect.DeepEqual(m.Uses(), map[string][]string{"chain": {"rpc"}}) {
		t.Errorf("names the node: %t, uses %v", m.NamesNode(), m.Uses())
	}
	if string(m.Canonical()) != before {
		t.Error("the manifest itself was changed")
	}
}

// A value is text, whatever it looks like: nobody's setting asks for a secret.
func TestAValueIsNotFilledInAgain(t *testing.T) {
	m := referring(t)
	got, err := m.With(map[string]string{"level": "{{secret:password}}"}, Node{})
	if err != nil {
		t.Fatal(err)
	}
	if text := got.Containers[1].Files[0].Text(map[string]string{"password": "hunter1"}); !strings.Contains(text, "level={{secret:password}}\npassword=hunter1\n") {
		t.Error(text)
	}
}

// Another value of a secret setting is another text, though not by its value; one that is not
// set is empty.
func TestATextFollowsWhichValueASecretSettingHas(t *testing.T) {
	m := referring(t)
	texts := map[string]bool{}
	for _, config := range []map[string]string{nil, {"api-key": ref}, {"api-key": strings.ToUpper(ref)}} {
		got, err := m.With(config, Node{})
		if err != nil {
			t.Fatal(err)
		}
		f := got.Containers[1].Files[0]
		texts[f.Content] = true
		if !f.Secret() || config == nil && !strings.Contains(f.Text(map[string]string{"api-key": "stale"}), "key=\n") {
			t.Errorf("%v: %q", config, f.Text(map[string]string{"api-key": "stale"}))
		}
	}
	if len(texts) != 3 {
		t.Errorf("%d texts of 3 values", len(texts))
	}
}

func TestReferencesToNothingAreRefusedWithTheirPlace(t *testing.T) {
	file := func(text string) string {
		return withFiles("      - path: /etc/x\n        template: true\n        content: |\n          first\n          a " + text + "\n")
	}
	text := "m.yaml:17:18: containers[1].files[0].content: line 2, column 3 of the text: "
	other := strings.Replace(strings.Replace(valid, "[true]", "[/bin/true]", 1), "    depends_on:", "    command: [\"%\"]\n    depends_on:", 1)
	for name, c := range map[string]struct{ src, want string }{
		"setting":             {file("{{setting:x}}"), text + `no setting is named "x"`},
		"secret":              {file("{{secret:x}}"), text + `no generated secret and no secret setting is named "x"`},
		"port":                {file("{{port:x}}"), text + `no port is named "x"`},
		"node":                {file("{{node:address}}"), text + `of the node there is no "address"; write {{node:name}}`},
		"url":                 {file("{{url:admin}}"), text + `no http interface is named "admin"`},
		"application":         {file("{{app:chain.rpc.host}}"), text + `"chain" is not required; name it under requires`},
		"part of an export":   {file("{{app:chain.rpc}}"), text + `"{{app:chain.rpc}}" is no {{app:ID.EXPORT.host}}, {{app:ID.EXPORT.port}} or {{app:ID.EXPORT.CREDENTIAL}}`},
		"kind":                {file("{{env:HOME}}"), text + `nothing is called "env"; expected setting, secret, port, node, url or app`},
		"command":             {strings.Replace(other, "%", "{{port:x}}", 1), `m.yaml:14:15: containers[1].command[0]: no port is named "x"`},
		"secret in a command": {strings.Replace(other, "%", "{{secret:password}}", 1), "m.yaml:14:15: containers[1].command[0]: a secret is not filled in here"},
		"health check":        {strings.Replace(valid, "[true]", "[/bin/true, \"{{port:x}}\"]", 1), `containers[0].health.exec[1]: no port is named "x"`},
		"another member":      {strings.Replace(strings.Replace(valid, "[true]", "[/bin/true, \"{{app:chain.rpc.host}}\"]", 1), "interfaces:", "requires: [{app: chain}]\ninterfaces:", 1), `containers[0].health.exec[1]: only the container "pair" reaches other applications`},
		"hook":                {strings.Replace(strings.Replace(valid, "[true]", "[/bin/true]", 1), "interfaces:", "hooks: {pre_update: [{container: pair, command: [\"{{setting:x}}\"]}]}\ninterfaces:", 1), `hooks.pre_update[0].command[0]: no setting is named "x"`},
		"condition":           {strings.Replace(strings.Replace(valid, "[true]", "[/bin/true]", 1), "interfaces:", "ready: [{exec: {container: pair, command: [\"{{node:name}}\"]}}]\ninterfaces:", 1), `ready[0].exec.command[0]: {{node:name}} is not filled in here`},
		"secret setting":      {strings.Replace(file("{{setting:x}} {{secret:x}}"), "interfaces:", "settings: [{name: x, secret: true}]\ninterfaces:", 1), text + `the setting "x" is secret; write {{secret:x}}`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("m.yaml", []byte(c.src))
			said(t, err, c.want)
		})
	}
}

func TestFilesThatAreNone(t *testing.T) {
	long := strings.Repeat("x", MaxFile)
	for name, c := range map[string]struct{ files, want string }{
		"nothing":               {"      - {path: /etc/x}\n", "m.yaml:15:9: containers[1].files[0]: expected either source, a file beside the manifest, or content"},
		"both":                  {"      - {path: /etc/x, source: a, content: b}\n", "containers[1].files[0]: expected either source"},
		"no directory":          {"      - {path: /etc/x, source: a.conf}\n", `m.yaml:15:32: containers[1].files[0].source: "a.conf" would stand beside a manifest on the disk, which this is not`},
		"another place":         {"      - {path: /etc/../x, content: b}\n", `containers[1].files[0].path: "/etc/../x" is not a clean absolute path`},
		"the engine's":          {"      - {path: /etc/hosts, content: b}\n", "m.yaml:15:16: containers[1].files[0].path: /etc/hosts belongs to the engine"},
		"the kernel's":          {"      - {path: /proc/version, content: b}\n", "files[0].path: /proc belongs to the engine"},
		"one place for two":     {"      - {path: /etc/x, content: b}\n      - {path: /etc/x, content: c}\n", `containers[1].files[1].path: "/etc/x" is already used by containers[1].files[0].path`},
		"a mode that lets all":  {"      - {path: /etc/x, content: b, mode: \"0666\"}\n", `containers[1].files[0].mode: "0666" is not valid here`},
		"setuid":                {"      - {path: /etc/x, content: b, mode: \"4755\"}\n", `containers[1].files[0].mode: "4755" is not valid here`},
		"a mode as a number":    {"      - {path: /etc/x, content: b, mode: 0644}\n", "containers[1].files[0].mode:"},
		"a secret for everyone": {"      - {path: /etc/x, content: \"{{secret:password}}\", template: true, mode: \"0644\"}\n", "containers[1].files[0].mode: a file with a secret in it has the mode 0600"},
		"a byte of zero":        {"      - {path: /etc/x, content: \"a\\0password\\0\"}\n", "containers[1].files[0].content: not a text in UTF-8"},
		"too much":              {"      - {path: /etc/x, content: " + long + "x}\n", "containers[1].files[0].content: 65537 bytes is too large for a file in a manifest; the limit is 65536"},
		"too much together": {strings.Repeat("      - {path: /etc/%, content: "+long+"}\n", 4) + "      - {path: /etc/x, content: b}\n",
			"containers[1].files[4]: with this one, the application's files are 262145 bytes or more; the limit for all is 262144"},
	} {
		t.Run(name, func(t *testing.T) {
			files := c.files
			for i := range strings.Count(files, "%") {
				files = strings.Replace(files, "%", string(rune('a'+i)), 1)
			}
			_, err := Parse("m.yaml", []byte(withFiles(files)))
			said(t, err, c.want)
		})
	}
	if _, err := Parse("m.yaml", []byte(withFiles("      - {path: /etc/x, content: "+long+"}\n"))); err != nil {
		t.Errorf("as much as may be: %v", err)
	}
}

// beside writes a manifest with a source, and files beside it.
func beside(t *testing.T, source string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["manifest.yaml"] = withFiles("      - {path: /etc/pair.conf, template: true, source: " + source + "}\n")
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "manifest.yaml")
}

// What stands beside the manifest is in it from then on: what is published, signed, kept and
// compared is one thing.
func TestASourceIsPacked(t *testing.T) {
	file := beside(t, "conf/pair.conf", map[string]string{"conf/pair.conf": "port={{port:web}}\n\"quoted\"\t<&>é\r\n"})
	m, err := ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []File{{Path: "/etc/pair.conf", Template: true, Content: "port={{port:web}}\n\"quoted\"\t<&>é\r\n"}}
	if !reflect.DeepEqual(m.Containers[1].Files, want) {
		t.Fatalf("%+v", m.Containers[1].Files)
	}
	for _, read := range []func(string, []byte) (*Manifest, error){Parse, ParseCanonical} {
		again, err := read("published", m.Canonical())
		if err != nil || again.Digest() != m.Digest() || !reflect.DeepEqual(again.Containers[1].Files, want) {
			t.Errorf("published, it is %+v, %v", again, err)
		}
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "conf/pair.conf"), []byte("port=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if other, err := ParseFile(file); err != nil || other.Digest() == m.Digest() {
		t.Errorf("another text has the same digest, %v", err)
	}
}

func TestTheLargestFilesCanBePublished(t *testing.T) {
	m := referring(t)
	m.Containers[1].Files = nil
	for i := range MaxFiles / MaxFile {
		m.Containers[1].Files = append(m.Containers[1].Files, File{Path: "/etc/" + string(rune('a'+i)), Content: strings.Repeat("\n", MaxFile)})
	}
	m.Settings = m.Settings[:1] // the secret one is in no file any more
	if _, err := ParseCanonical("published", m.Canonical()); err != nil {
		t.Error(err)
	}
}

func TestASourceIsATextBelowTheFolder(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		plant func(dir string) error
		want  string
	}{
		"missing":        {nil, nil, `"a.conf": no such file or directory`},
		"a link outside": {nil, func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "a.conf")) }, `"a.conf": path escapes from parent`},
		"a pipe":         {nil, func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "a.conf"), 0o600) }, `"a.conf" is no regular file`},
		"a directory":    {nil, func(dir string) error { return os.Mkdir(filepath.Join(dir, "a.conf"), 0o700) }, `"a.conf" is no regular file`},
		"empty":          {map[string]string{"a.conf": ""}, nil, `"a.conf" is empty`},
		"binary":         {map[string]string{"a.conf": "\x7fELF\x00"}, nil, `"a.conf" is not a text in UTF-8`},
		"no UTF-8":       {map[string]string{"a.conf": "\xff\xfe"}, nil, `"a.conf" is not a text in UTF-8`},
		"too large":      {map[string]string{"a.conf": strings.Repeat("é", MaxFile/2+1)}, nil, `"a.conf" is 65538 bytes, too large for a file in a manifest; the limit is 65536`},
	} {
		t.Run(name, func(t *testing.T) {
			files := c.files
			if files == nil {
				files = map[string]string{}
			}
			file := beside(t, "a.conf", files)
			if c.plant != nil {
				if err := c.plant(filepath.Dir(file)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := ParseFile(file)
			said(t, err, file+":15:56: containers[1].files[0].source: "+c.want)
		})
	}
	file := beside(t, "../secret", map[string]string{})
	_, err := ParseFile(file)
	said(t, err, `containers[1].files[0].source: "../secret" leaves the application's folder`)
}

// A problem in a source has the place in that.
func TestAProblemInASourceHasItsPlaceThere(t *testing.T) {
	file := beside(t, "conf/a.conf", map[string]string{"conf/a.conf": "first\n  {{setting:x}}\n{{port:y}}"})
	_, err := ParseFile(file)
	source := filepath.Join(filepath.Dir(file), "conf", "a.conf")
	said(t, err, source+`:2:3: containers[1].files[0].source: no setting is named "x"`, source+`:3:1: containers[1].files[0].source: no port is named "y"`)
}

func TestLintReadsWhatStandsBesideAManifest(t *testing.T) {
	for text, want := range map[string]string{"port={{port:web}}\n": "", "port={{port:x}}\n": `a.conf:1:6: containers[1].files[0].source: no port is named "x"`} {
		file := beside(t, "a.conf", map[string]string{"a.conf": text})
		src, err := ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, problems, _, err := LintFile(file, src)
		switch {
		case err != nil:
			t.Error(err)
		case want == "" && (len(problems) > 0 || m.Containers[1].Files[0].Content != text):
			t.Errorf("%v", problems)
		case want != "" && (len(problems) != 1 || problems[0].String() != filepath.Join(filepath.Dir(file), want)):
			t.Errorf("%v, expected %s", problems, want)
		}
	}
}
