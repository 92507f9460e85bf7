package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// broken are manifests with one thing wrong, each made of the valid one by an edit, and
// what is said of it: where, about what, with which word, and which word was meant.
var broken = []struct {
	name, old, new string
	where          string // LINE:COLUMN
	field, rule    string
	word, nearest  string
}{
	{"version that is a number", `version: "1.0"`, "version: 1.0", "4:10", "version", RuleType, `quote it: version: "1.0"`, ""},
	{"version with a zero that a number loses", `version: "1.0"`, "version: 2.10", "4:10", "version", RuleType, `quote it: version: "2.10"`, ""},
	{"version of one digit", `version: "1.0"`, "version: 7", "4:10", "version", RuleType, `quote it: version: "7"`, ""},
	{"version that is nothing", `version: "1.0"`, "version:", "4:9", "version", RuleType, "expected a string, found nothing", ""},
	{"version of a word", `version: "1.0"`, "version: latest", "4:10", "version", RuleValue, "expected a digit first", ""},
	{"number in an environment", "    depends_on:", "    environment: {WORKERS: 4}\n    depends_on:", "14:28", "containers[1].environment.WORKERS", RuleType, `quote it: WORKERS: "4"`, ""},
	{"boolean in an environment", "    depends_on:", "    environment: {DEBUG: true}\n    depends_on:", "14:26", "containers[1].environment.DEBUG", RuleType, `quote it: DEBUG: "true"`, ""},
	{"number in a command", "    depends_on:", "    command: [serve, 8080]\n    depends_on:", "14:22", "containers[1].command[1]", RuleType, `quote it: "8080"`, ""},
	{"user that is a number", `user: "100:102"`, "user: 100", "8:11", "containers[0].user", RuleType, `quote it: user: "100"`, ""},
	{"user by name", `user: "100:102"`, "user: postgres", "8:11", "containers[0].user", RuleValue, "user and group", ""},
	{"language of another version", "archipelago/v1", "archipelago/v2", "1:13", "apiVersion", RuleValue, "expected archipelago/v1", "archipelago/v1"},
	{"field in camel case", "    depends_on:", "    dependsOn:", "14:5", "containers[1].dependsOn", RuleUnknownField, "unknown field", "depends_on"},
	{"field with a hyphen", "    depends_on:", "    depends-on:", "14:5", "containers[1].depends-on", RuleUnknownField, "unknown field", "depends_on"},
	{"field with a letter too few", "    volumes:", "    volums:", "9:5", "containers[0].volums", RuleUnknownField, "unknown field", "volumes"},
	{"field with two letters swapped", "    image: {build", "    iamge: {build", "13:5", "containers[1].iamge", RuleUnknownField, "unknown field", "image"},
	{"field of a mapping in a list", "host: 8080", "hots: 8080", "15:40", "containers[1].ports[0].hots", RuleUnknownField, "unknown field", "host"},
	{"field at the top", "interfaces:", "interface:", "17:1", "interface", RuleUnknownField, "unknown field", "interfaces"},
	{"field in the wrong place", "name: Pair\n", "name: Pair\nhealth: {exec: [/bin/true]}\n", "4:1", "health", RuleUnknownField, "there is containers.health", ""},
	{"field of another language", "    depends_on:", "    restart: always\n    depends_on:", "14:5", "containers[1].restart", RuleUnknownField, "unknown field", ""},
	{"field far down", "    write: {method: POST", "    write: {methd: POST", "23:13", "canary.http.write.methd", RuleUnknownField, "unknown field", "method"},
	{"no name", "name: Pair\n", "", "1:1", "", RuleMissingField, "missing property 'name'", ""},
	{"container without an image", "    image: {build: image}\n", "", "12:5", "containers[1]", RuleMissingField, "missing property 'image'", ""},
	{"list that is a mapping", "ports: [{name: web, container: 80, host: 8080}]", "ports: {name: web, container: 80, host: 8080}", "15:12", "containers[1].ports", RuleType, "expected a list, found a mapping", ""},
	{"mapping that is a list", "health: {exec: [/bin/true], interval: 2s}", "health: [/bin/true]", "11:13", "containers[0].health", RuleType, "expected a mapping, found a list", ""},
	{"command that is a string", "exec: [/bin/true]", "exec: /bin/true", "11:20", "containers[0].health.exec", RuleType, "expected a list, found a string", ""},
	{"port in quotes", "container: 80,", `container: "80",`, "15:36", "containers[1].ports[0].container", RuleType, "expected an integer, found a string", ""},
	{"port with a fraction", "container: 80,", "container: 80.5,", "15:36", "containers[1].ports[0].container", RuleType, "expected an integer, found a number", ""},
	{"boolean in quotes", "shown: true", `shown: "yes"`, "16:45", "generated_secrets[0].shown", RuleType, "expected a boolean, found a string", ""},
	{"port below the user's", "host: 8080", "host: 80", "15:46", "containers[1].ports[0].host", RuleValue, "80 is less than 1024", ""},
	{"port beyond all", "container: 80,", "container: 70000,", "15:36", "containers[1].ports[0].container", RuleValue, "70000 is more than 65535", ""},
	{"condition that is mistyped", "condition: healthy", "condition: helthy", "14:50", "containers[1].depends_on[0].condition", RuleValue, "expected one of started, healthy", "healthy"},
	{"protocol in capitals", "host: 8080}", "host: 8080, protocol: TCP}", "15:62", "containers[1].ports[0].protocol", RuleValue, "expected one of tcp, udp", "tcp"},
	{"method that is none", "method: POST", "method: PSOT", "23:21", "canary.http.write.method", RuleValue, "expected one of GET", "POST"},
	{"duration without a unit", "interval: 2s", `interval: "2"`, "11:43", "containers[0].health.interval", RuleValue, "a number and ms, s, m or h", ""},
	{"duration that is a number", "interval: 2s", "interval: 2", "11:43", "containers[0].health.interval", RuleType, `quote it: interval: "2"`, ""},
	{"size in small letters", "    depends_on:", "    memory: 512m\n    depends_on:", "14:13", "containers[1].memory", RuleValue, "a number and K, M or G", ""},
	{"path that is relative", "path: /data", "path: data", "9:32", "containers[0].volumes[0].path", RuleValue, "an absolute path", ""},
	{"digest that is too short", `"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"`, `"sha256:0123"`, "7:52", "containers[0].image.digest", RuleValue, "64 hexadecimal digits", ""},
	{"reference without a registry", "registry.example/pair/db", "db", "7:18", "containers[0].image.ref", RuleValue, "registry, repository", ""},
	{"variable in small letters", "    depends_on:", "    environment: {debug: \"1\"}\n    depends_on:", "14:19", "containers[1].environment.debug", RuleValue, "not a valid name; expected upper-case letters", ""},
	{"interface with a name that is none", "  web: {port: web", "  Web_1: {port: web", "18:3", "interfaces.Web_1", RuleValue, "not a valid name; expected lower-case letters", ""},
	{"no containers", "containers:\n", "containers: []\nx:\n", "5:13", "containers", RuleValue, "minItems", ""},
	{"member that is mistyped", "container: pair-db,", "container: pair-bd,", "14:30", "containers[1].depends_on[0].container", RuleMeaning, `no container is named "pair-bd"`, "pair-db"},
	{"port that is mistyped", "web: {port: web", "web: {port: wbe", "18:15", "interfaces.web.port", RuleMeaning, `no port is named "wbe"`, "web"},
	{"secret that is mistyped", "secret: password}", "secret: pasword}", "22:34", "canary.http.login.secret", RuleMeaning, `no generated secret is named "pasword"`, "password"},
	{"secret of a container that is mistyped", "secrets: [{name: password,", "secrets: [{name: passwort,", "10:22", "containers[0].secrets[0].name", RuleMeaning, `is named "passwort"`, "password"},
	{"interface that is mistyped", "interface: web", "interface: wb", "21:16", "canary.http.interface", RuleMeaning, `no http interface is named "wb"`, "web"},
	{"setting that is mistyped", "canary:", "settings: [{name: cache, default: a}]\nready: [{exec: {container: piar, command: [x]}}]\ncanary:", "20:28", "ready[0].exec.container", RuleMeaning, `no container is named "piar"`, "pair"},
	{"signal that is mistyped", "    depends_on:", "    stop_signal: SIGITN\n    depends_on:", "14:18", "containers[1].stop_signal", RuleMeaning, "expected one of SIGHUP", "SIGINT"},
	{"limit that is mistyped", "    depends_on:", "    ulimits: {nofiles: 1024}\n    depends_on:", "14:15", "containers[1].ulimits.nofiles", RuleMeaning, "expected one of nofile, nproc", "nofile"},
	{"parameter that is mistyped", "    depends_on:", "    sysctls: {net.core.somaxcon: 1024}\n    depends_on:", "14:15", "containers[1].sysctls.net.core.somaxcon", RuleMeaning, "not a parameter", "net.core.somaxconn"},
	{"tab in the indent", "    user:", "\tuser:", "8:1", "", RuleSyntax, "", ""},
	{"bracket that stays open", "exec: [/bin/true]", "exec: [/bin/true", "11:44", "", RuleSyntax, "", ""},
	{"key twice", "name: Pair\n", "name: Pair\nname: Pair\n", "4:1", "", RuleSyntax, "already defined", ""},
	{"anchor", "name: Pair\n", "name: &n Pair\n", "3:7", "", RuleSyntax, "anchors are not part", ""},
}

// sound is the valid manifest that the others are made of.
func sound() string { return strings.Replace(valid, "[true]", "[/bin/true]", 1) }

// TestBrokenManifestsAreRefusedWithPlaceAndWord wants, of each, what an author needs; and
// parser and schema to agree on which are the schema's.
func TestBrokenManifestsAreRefusedWithPlaceAndWord(t *testing.T) {
	if len(broken) < 50 {
		t.Fatalf("only %d", len(broken))
	}
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			src := strings.Replace(sound(), c.old, c.new, 1)
			if src == sound() {
				t.Fatalf("nothing is %q", c.old)
			}
			_, problems, _, err := Lint("m.yaml", []byte(src))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(problems, func(p Problem) bool {
				return fmt.Sprintf("%d:%d", p.Line, p.Column) == c.where && p.Field == c.field && p.Rule == c.rule && p.Nearest == c.nearest && strings.Contains(p.Message, c.word)
			}) {
				t.Errorf("expected %s, %s, %s, %q, nearest %q; found:", c.where, c.field, c.rule, c.word, c.nearest)
				for _, p := range problems {
					t.Errorf("%s\n%+v", p, p)
				}
			}
			if _, err := Parse("m.yaml", []byte(src)); err == nil || err.Error() != (&Error{problems}).Error() {
				t.Errorf("Parse says something else: %v", err)
			}
			bySchema := c.rule != RuleMeaning && c.rule != RuleSyntax
			if err := bySchemaAlone(t, []byte(src)); (err != nil) != bySchema && c.rule != RuleSyntax {
				t.Errorf("a problem of the schema: %v; the schema says %v", bySchema, err)
			}
		})
	}
}

// bySchemaAlone is what the schema says of a document, as an editor does.
func bySchemaAlone(t *testing.T, src []byte) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(src, &value); err != nil {
		return err
	}
	js, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	inst, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(inst)
}

// TestEveryProblemIsSaidAtOnce wants what the schema refuses and what the rest of the
// manifest contradicts together, and nothing that only follows from another problem.
func TestEveryProblemIsSaidAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		edits []string
		want  []string // all there are
	}{
		"a value and a reference": {
			[]string{"host: 8080", "host: 80", "container: pair-db,", "container: pair-bd,"},
			[]string{"14:30: containers[1].depends_on[0].container: no container", "15:46: containers[1].ports[0].host: 80 is less"}},
		"a field that the language leaves out, and a reference": {
			[]string{"name: Pair\n", "name: Pair\nprivileged: true\n", "{port: web, expect", "{port: wbe, expect"},
			[]string{"4:1: privileged: unknown", "19:3: interfaces: nothing here", "19:15: interfaces.web.port: no port"}},
		"a mistyped field, whose names are then unknown": {
			[]string{"    ports:", "    port:", "host: 8080", "host: 80"},
			[]string{`15:5: containers[1].port: unknown field; did you mean "ports"?`}},
		"a mistyped field that must be there": {
			[]string{"host: 8080", "hots: 8080"},
			[]string{`15:40: containers[1].ports[0].hots: unknown field; did you mean "host"?`}},
		"a mistyped canary": {
			[]string{"canary:", "canery:"},
			[]string{`19:1: canery: unknown field; did you mean "canary"?`}},
		"a wrong type, and a conflict elsewhere": {
			[]string{`version: "1.0"`, "version: 1.0", "path: /run/secrets/password", "path: /data"},
			[]string{"4:10: version: expected a string", "10:38: containers[0].secrets[0].path: \"/data\" is already used"}},
		"a duration that is none, and a conflict elsewhere": {
			[]string{"interval: 2s", "interval: soon", "path: /run/secrets/password", "path: /data"},
			[]string{"10:38: containers[0].secrets[0].path: \"/data\" is already used", "11:43: containers[0].health.interval: \"soon\" is not valid"}},
		"an id, on which much else rests": {
			[]string{"id: pair", "id: Pair", "{port: web, expect", "{port: wbe, expect"},
			[]string{"2:5: id:"}},
		"one wrong name in two containers": {
			[]string{"    depends_on:", "    environment: {a: \"1\"}\n    depends_on:", "    user:", "    environment: {a: \"1\"}\n    user:"},
			[]string{"8:19: containers[0].environment.a: not a valid name", "15:19: containers[1].environment.a: not a valid name"}},
	} {
		src := strings.NewReplacer(c.edits...).Replace(sound())
		_, problems, _, err := Lint("m.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		ok := len(problems) == len(c.want)
		for i := range problems {
			ok = ok && strings.HasPrefix(problems[i].String(), "m.yaml:"+c.want[i])
		}
		if !ok {
			t.Errorf("%s: expected %q, found:\n%v", name, c.want, &Error{problems})
		}
	}
}

func TestWarningsAreOfWhatIsValidAndUnwise(t *testing.T) {
	pinned := `{ref: "registry.example/pair:1.0", digest: "sha256:` + strings.Repeat("0", 64) + `"}`
	wise := strings.NewReplacer("    depends_on:", "    user: \"1:1\"\n    health: {exec: [/bin/true]}\n    depends_on:", "{build: image}", pinned, "registry.example/pair/db", "registry.example/pair/db:17", "canary:", "budget: {start: 60s}\nicon: icon.svg\ncategory: web\ntagline: Two of a kind\ncanary:").Replace(sound())
	if _, problems, warnings, err := Lint("m.yaml", []byte(wise)); err != nil || len(problems)+len(warnings) > 0 {
		t.Fatalf("%v: %v %v", err, problems, warnings)
	}
	for _, c := range []struct{ old, new, rule, where string }{
		{"pair:1.0", "pair:latest", RuleFloatingTag, "13:18"},
		{"pair:1.0", "pair:stable", RuleFloatingTag, "13:18"},
		{"pair:1.0", "pair", RuleFloatingTag, "13:18"},
		{"pair:1.0", "pair:latest-1.0", "", ""},
		{"    health: {exec: [/bin/true]}\n", "", RuleNoHealth, "12:5"},
		{"    user: \"1:1\"\n", "", RuleRootUser, "12:5"},
		{"user: \"1:1\"", "user: \"0:1\"", RuleRootUser, "14:11"},
		{"budget: {start: 60s}\n", "", RuleNoBudget, "1:1"},
		{"icon: icon.svg\n", "", RuleNoIcon, "1:1"},
		{"category: web\n", "", RuleNoCategory, "1:1"},
		{"tagline: Two of a kind\n", "", RuleNoTagline, "1:1"},
		{"tagline: Two of a kind\n", "tagline: Two of a kind\nrequires: [{app: chain}]\n", RuleWholeApp, "25:12"},
		{"tagline: Two of a kind\n", "tagline: Two of a kind\nrequires: [{app: chain, uses: []}]\n", "", ""},
		{"path: /run/secrets/password}", "env: PASSWORD}", RuleEnvSecret, "10:37"},
		{"    depends_on:", "    environment: {ADMIN_PASSWORD: hunter2}\n    depends_on:", RuleEnvSecret, "16:35"},
		{"    depends_on:", "    environment: {API_TOKEN: hunter2}\n    depends_on:", RuleEnvSecret, "16:30"},
		{"    depends_on:", "    environment: {ADMIN_PASSWORD_FILE: /run/p, PASSWORD_MIN_LENGTH: \"8\", TOKEN: /run/t}\n    depends_on:", "", ""},
	} {
		src := strings.Replace(wise, c.old, c.new, 1)
		if src == wise {
			t.Fatalf("nothing is %q", c.old)
		}
		_, problems, warnings, err := Lint("m.yaml", []byte(src))
		if err != nil || len(problems) > 0 {
			t.Fatalf("%q: %v %v", c.new, err, problems)
		}
		if c.rule == "" && len(warnings) > 0 || c.rule != "" && (len(warnings) != 1 || warnings[0].Rule != c.rule || fmt.Sprintf("%d:%d", warnings[0].Line, warnings[0].Column) != c.where) {
			t.Errorf("%q: expected %s at %s, found %+v", c.new, c.rule, c.where, warnings)
		}
	}
	const bare = "apiVersion: archipelago/v1\nid: a\nname: A\nversion: \"1\"\ncontainers: [{name: a, image: {build: image}}]\n"
	_, _, warnings, _ := Lint("m.yaml", []byte(bare))
	if !slices.ContainsFunc(warnings, func(p Problem) bool { return p.Rule == RuleNoCanary }) {
		t.Errorf("no canary: %+v", warnings)
	}
	for _, w := range warnings {
		if Rules[w.Rule] == "" {
			t.Errorf("%s is no rule", w.Rule)
		}
	}
}

// TestShippedManifestsAreValidForSchemaAndParser reads everything that is shipped, and the
// fixtures of the renderer.
func TestShippedManifestsAreValidForSchemaAndParser(t *testing.T) {
	files, err := filepath.Glob("../apps/*/manifest.yaml")
	fixtures, err2 := filepath.Glob("../../orchestrator/quadlet/testdata/*.yaml")
	if err != nil || err2 != nil || len(files) < 3 || len(fixtures) < 2 {
		t.Fatal(files, fixtures, err, err2)
	}
	for _, f := range append(files, fixtures...) {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := bySchemaAlone(t, src); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if _, err := Parse(f, src); err != nil {
			t.Error(err)
		}
	}
}

// TestSchemaAndTypesHaveTheSameFields wants each field of the schema to be one of the Go
// types, and the reverse.
func TestSchemaAndTypesHaveTheSameFields(t *testing.T) {
	inTypes := map[string]bool{}
	var walk func(of reflect.Type, path string)
	walk = func(of reflect.Type, path string) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
			of = of.Elem()
		}
		for i := 0; of.Kind() == reflect.Struct && i < of.NumField(); i++ {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if of.Field(i).Anonymous {
				walk(of.Field(i).Type, path)
				continue
			}
			if name == "-" {
				continue
			}
			sub := strings.TrimPrefix(path+"."+name, ".")
			inTypes[sub] = true
			walk(of.Field(i).Type, sub)
		}
	}
	walk(reflect.TypeFor[Manifest](), "")
	for _, f := range Fields() {
		if !inTypes[f.Path] {
			t.Errorf("the schema has %s, the types have not", f.Path)
		}
		delete(inTypes, f.Path)
	}
	for path := range inTypes {
		// The canary's login is the interface's without what a browser needs.
		if !strings.HasPrefix(path, "canary.") || !strings.Contains(path, ".login.") {
			t.Errorf("the types have %s, the schema has not", path)
		}
	}
}

// FuzzLint wants whatever is said to be of a place in the file, and Parse to agree.
func FuzzLint(f *testing.F) {
	for _, c := range broken {
		f.Add([]byte(strings.Replace(sound(), c.old, c.new, 1)))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		m, problems, warnings, err := Lint("m.yaml", src)
		if err != nil || (m == nil) != (len(problems) > 0) {
			t.Fatalf("manifest %v, problems %v, error %v", m, problems, err)
		}
		if _, err := Parse("m.yaml", src); (err == nil) != (len(problems) == 0) {
			t.Fatalf("Parse: %v; problems: %v", err, problems)
		}
		for _, p := range append(problems, warnings...) {
			if p.Line < 1 && len(src) <= MaxSize || p.Message == "" || Rules[p.Rule] == "" {
				t.Fatalf("%+v", p)
			}
			Anchor(p.Field)
		}
	})
}
