package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadRefusesReferencesToInterfacesThatOthersDoNotHave(t *testing.T) {
	dir := folders(t, "wallet:chain", "chain")
	add := func(id, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, id, "manifest.yaml"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	add("chain", "    ports: [{name: rpc, container: 8332, host: 8332}]\n  - name: chain-ui\n    image: {build: ui}\n    ports: [{name: ui, container: 80, host: 8333}]\ninterfaces:\n  rpc: {port: rpc, protocol: tcp, handshake: {expect: x}}\n  ui: {port: ui, protocol: tcp, handshake: {expect: x}}\n")
	add("wallet", "hooks: {post_install: [{container: wallet, command: [\"{{app:chain.rpc.host}}\"]}]}\n")
	if _, err := Load(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "wallet", "manifest.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"p2p": `{{app:chain.p2p.host}}: chain has no interface named "p2p"`,
		"ui":  "{{app:chain.ui.host}}: the interface is not that of the container chain, which alone others reach",
	} {
		if err := os.WriteFile(file, []byte(strings.Replace(string(b), "chain.rpc", "chain."+name, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), file+": "+want) {
			t.Errorf("%v, expected %s", err, want)
		}
	}
}
