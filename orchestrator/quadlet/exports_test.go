package quadlet

import (
	"maps"
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestWhatIsImportedIsInTheUnit(t *testing.T) {
	chain := &manifest.Manifest{ID: "chain", Containers: []manifest.Container{{Name: "chain"}, {Name: "chain-rpc"}},
		Exports: map[string]manifest.Export{"rpc": {Container: "chain-rpc", Port: 8332, Credentials: map[string]string{"password": "rpc-password"}}, "blocks": {Volume: "blocks"}, "inbox": {Volume: "inbox"}}}
	wallet := &manifest.Manifest{ID: "wallet", Containers: []manifest.Container{{Name: "wallet", User: "1000:1001", Imports: []manifest.Import{
		{App: "chain.rpc.password", Path: "/run/rpc"}, {App: "chain.rpc.password", Env: "RPC"}, {App: "chain.blocks", Path: "/blocks", ReadOnly: true}, {App: "chain.inbox", Path: "/inbox"},
	}}}, Requires: []manifest.Requirement{{App: "chain", Uses: []string{"blocks", "inbox", "rpc"}}}}
	filled, err := wallet.With(nil, manifest.Node{Apps: map[string]*manifest.Manifest{"chain": chain}})
	if err != nil {
		t.Fatal(err)
	}
	unit := Render(filled, "/d", true).Files["wallet.container"]
	if got, want := values(unit, "Secret"), []string{"chain.rpc-password,type=mount,target=/run/rpc,uid=1000,gid=1001,mode=0400", "chain.rpc-password,type=env,target=RPC"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	if got, want := values(unit, "Volume"), []string{"/d/chain/blocks:/blocks:ro", "/d/chain/inbox:/inbox"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	joined := Render(chain, "/d", true, Requirer{"wallet", filled.Requires[0].Reaches})
	for name, want := range map[string][]string{"chain": nil, "chain-rpc": {"-/usr/bin/podman network connect archipelago-wallet.chain chain-rpc"}} {
		if got := values(joined.Files[name+".container"], "ExecStartPost"); !slices.Equal(got, want) {
			t.Errorf("%s joins %q, expected %q", name, got, want)
		}
	}
	// What nobody offers, or nobody knows of, is not there.
	without, err := wallet.With(nil, manifest.Node{})
	if err != nil {
		t.Fatal(err)
	}
	u := Render(without, "/d", true)
	if body := u.Files["wallet.container"]; len(values(body, "Secret"))+len(values(body, "Volume")) > 0 || len(values(body, "Network")) != 1 || len(u.Files) != 2 {
		t.Errorf("%d files: %s", len(u.Files), body)
	}
}

// What is between two applications in their units: the network of both, the credential and the
// volume that one has of the other, and who joins whom.
func TestUnitsOfApplicationsThatShareAreAsTheGoldenFiles(t *testing.T) {
	lender, err := manifest.ParseFile("testdata/lender.yaml")
	if err != nil {
		t.Fatal(err)
	}
	borrower, err := manifest.ParseFile("testdata/borrower.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if borrower, err = borrower.With(nil, manifest.Node{Name: "box", Domain: "box.local", Apps: map[string]*manifest.Manifest{"lender": lender}}); err != nil {
		t.Fatal(err)
	}
	files := Render(lender, "/var/lib/archipelago", true, Requirer{"borrower", borrower.Requires[0].Reaches}).Files
	maps.Copy(files, Render(borrower, "/var/lib/archipelago", true).Files)
	if got, want := slices.Sorted(maps.Keys(files)), []string{"archipelago-borrower.lender.network", "archipelago-borrower.network", "archipelago-lender.network", "borrower.container", "lender-db.container", "lender.container"}; !slices.Equal(got, want) {
		t.Fatalf("files %v, expected %v", got, want)
	}
	asGolden(t, files)
}
