package manifest

import (
	"strings"
	"testing"
)

// TestDeepNestingIsRefusedAtOnce: the parser needs minutes and gigabytes for it.
func TestDeepNestingIsRefusedAtOnce(t *testing.T) {
	for name, deep := range map[string]string{
		"lists": strings.Repeat("[", 1000), "maps": strings.Repeat("{a: ", 1000), "dashes": strings.Repeat("- ", 1000), "keys": strings.Repeat("? ", 1000),
	} {
		_, err := Parse("deep.yaml", []byte("apiVersion: archipelago/v1\nid: "+deep))
		if err == nil || !strings.Contains(err.Error(), "deep.yaml:2:") || !strings.Contains(err.Error(), "nested more than 200 deep") {
			t.Errorf("%s: %.200v", name, err)
		}
	}
	if i := nestedTooDeep([]byte(strings.Repeat("a: [{b: c}]\n- - x\n", 1000))); i >= 0 {
		t.Errorf("what is flat is refused at %d", i)
	}
}
