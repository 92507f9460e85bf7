package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyContextsThatAskGetTheAuthorities(t *testing.T) {
	if _, err := os.Stat(trusted); err != nil {
		t.Skip("this machine keeps its authorities elsewhere")
	}
	for text, want := range map[string]bool{
		"FROM base\nRUN go install x\n":                                             false,
		"FROM base\nRUN --mount=type=secret,id=ca-certificates \\\n go install x\n": true,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := wantsTrusted(dir); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if got, err := wantsTrusted(t.TempDir()); got || err != nil {
		t.Errorf("without a Containerfile: %v, %v", got, err)
	}
}
