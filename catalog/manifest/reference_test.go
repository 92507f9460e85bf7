package manifest

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "rewrite docs/manifest.md")

// referencePage is docs/manifest.md: a table for each object of the language, with an anchor
// for each field.
func referencePage() string {
	var b strings.Builder
	b.WriteString("# The manifest, field by field\n\n" +
		"Written by `make docs` from `catalog/manifest/schema.json` and `fields.yaml`; do not edit it. [HACKING.md](../HACKING.md#a-new-application) shows how a manifest is begun,\n" +
		"`archy app validate` checks one. A field in **bold** must be there.\n")
	parents := []string{""}
	for _, f := range Fields() {
		if !slices.Contains(parents, f.Parent()) {
			parents = append(parents, f.Parent())
		}
	}
	for _, parent := range parents {
		fmt.Fprintf(&b, "\n## Fields %s\n\n| field | holds | meaning | example |\n| --- | --- | --- | --- |\n", cmp.Or(strings.Repeat("of "+parent, min(len(parent), 1)), "at the top"))
		for _, f := range Fields() {
			if f.Parent() != parent {
				continue
			}
			name := "`" + f.Path[strings.LastIndexByte(f.Path, '.')+1:] + "`"
			if f.Required {
				name = "**" + name + "**"
			}
			if slices.Contains(parents, f.Path) {
				name = "[" + name + "](#fields-of-" + strings.ReplaceAll(f.Path, ".", "") + ")" // the anchor of that heading
			}
			holds := f.Type
			if f.Bounds != "" {
				holds += ": " + f.Bounds
			}
			fmt.Fprintf(&b, "| <a id=\"%s\"></a>%s | %s | %s | `%s` |\n", f.Path, name, cell(holds), cell(f.About), strings.ReplaceAll(f.Path[strings.LastIndexByte(f.Path, '.')+1:]+": "+f.Example, "|", `\|`))
		}
	}
	return b.String()
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "{{", "`{{", "}}", "}}`", "_", `\_`).Replace(s)
}

func TestReferenceIsThatOfTheSchema(t *testing.T) {
	const file = "../../docs/manifest.md"
	want := referencePage()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/manifest.md is not what schema.json and fields.yaml say: 'make docs' writes it")
	}
}

// TestEveryFieldIsExplained wants fields.yaml to explain every field of the schema and
// nothing else, each with an example that the schema takes.
func TestEveryFieldIsExplained(t *testing.T) {
	if len(Fields()) < 150 {
		t.Fatalf("only %d fields", len(Fields()))
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("manifest.json", doc); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, f := range Fields() {
		used[f.Path] = true
		if f.About == "" {
			t.Errorf("catalog/manifest/fields.yaml does not explain %s: add it below \"fields\"", f.Path)
		}
		schema, err := c.Compile("manifest.json#" + f.Pointer)
		if err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		var value any
		if err := yaml.Unmarshal([]byte(f.Example), &value); err != nil {
			t.Errorf("fields.yaml, example of %s: %v", f.Path, err)
			continue
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("fields.yaml, example of %s: %s: %v", f.Path, f.Example, err)
		}
		if a := Anchor(f.Path); a != f.Path {
			t.Errorf("the anchor of %s is %s", f.Path, a)
		}
	}
	for path := range theGrammar().words.Fields {
		if !used[path] && path[0] != '(' {
			t.Errorf("fields.yaml explains %s, which the schema has not", path)
		}
	}
	for path := range theGrammar().words.Expected {
		if !used[path] {
			t.Errorf("fields.yaml says what is expected of %s, which the schema has not", path)
		}
	}
}

func TestAnchorsLeadToTheFieldOrTheOneAroundIt(t *testing.T) {
	for field, want := range map[string]string{
		"": "", "version": "version", "privileged": "", "containers[0]": "containers", "containers[12].ports[3].host": "containers.ports.host",
		"containers[0].environment.NAME": "containers.environment", "containers[0].sysctls.net.core.somaxconn": "containers.sysctls",
		"interfaces.web.expect.tolerate[0].text": "interfaces.expect.tolerate.text", "interfaces.port.port": "interfaces.port",
		"hooks.pre_update[0].timeout": "hooks.pre_update.timeout", "canary.http.write.path": "canary.http.write.path", "containers[0].volums": "containers",
	} {
		if got := Anchor(field); got != want {
			t.Errorf("%s: %s, expected %s", field, got, want)
		}
	}
}
