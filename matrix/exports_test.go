package matrix

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

const importer = `# Rendered
[Unit]
Description=Wallet: wallet
StartLimitIntervalSec=0
After=chain.service

[Container]
ContainerName=wallet
Image=localhost:5000/wallet@sha256:0
Pull=never
Label="io.archipelago.app=wallet"
DropCapability=all
NoNewPrivileges=true
Network=archipelago-wallet.network
Network=archipelago-wallet.chain.network
Volume=/var/lib/archipelago/chain/blocks:/chain:ro
Secret=chain.rpc-password,type=mount,target=/run/secrets/rpc,uid=0,gid=0,mode=0400
Environment="RPC=chain-rpc:8332"
StopTimeout=10
Label="io.archipelago.spec=0123456789abcdef"

[Service]
Restart=always
RestartSec=200ms
RestartSteps=8
RestartMaxDelaySec=60s
TimeoutStartSec=120s
TimeoutStopSec=20s
SuccessExitStatus=143

[Install]
WantedBy=default.target
`

func bridge(name string, internal string) string {
	return "[Unit]\nConditionPathExists=!%h/.local/share/containers/storage/networks/" + name + ".json\n\n[Network]\nNetworkName=" + name + "\nOptions=isolate=strict\n" + internal + "Label=\"io.archipelago.app=wallet\"\n"
}

// lending is an application that offers others something, and borrowing one that uses it.
func lending() (chain, wallet *manifest.Manifest) {
	chain = &manifest.Manifest{ID: "chain", Containers: []manifest.Container{{Name: "chain", Volumes: []manifest.Volume{{Name: "blocks", Path: "/blocks"}}}, {Name: "chain-rpc"}},
		Exports: map[string]manifest.Export{"rpc": {Container: "chain-rpc", Port: 8332, Credentials: map[string]string{"password": "rpc-password"}}, "blocks": {Volume: "blocks", ReadOnly: true}}}
	wallet = &manifest.Manifest{ID: "wallet", Name: "Wallet", Containers: []manifest.Container{{
		Name: "wallet", Image: manifest.Image{Ref: "localhost:5000/wallet", Digest: "sha256:0"}, Environment: map[string]string{"RPC": "{{app:chain.rpc.host}}:{{app:chain.rpc.port}}"},
		Imports: []manifest.Import{{App: "chain.rpc.password", Path: "/run/secrets/rpc"}, {App: "chain.blocks", Path: "/chain", ReadOnly: true}},
	}}, Requires: []manifest.Requirement{{App: "chain", Uses: []string{"rpc", "blocks"}}}}
	return chain, wallet
}

func TestWhatIsImportedIsRenderedAsItIsMeant(t *testing.T) {
	chain, wallet := lending()
	e, err := ExpectationOf(wallet, Facts{DataDir: nodes.DataDir, Apps: map[string]*manifest.Manifest{"chain": chain}})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"wallet.container": importer, "archipelago-wallet.network": bridge("archipelago-wallet", ""), "archipelago-wallet.chain.network": bridge("archipelago-wallet.chain", "Internal=true\n")}
	if wrong := CheckRendered(e, files); len(wrong) > 0 {
		t.Fatalf("red without a fault: %q", wrong)
	}
	for name, p := range map[string]planting{
		"data that can be written": {"", "/chain:ro", "/chain", "[Container] Volume /chain is /var/lib/archipelago/chain/blocks, wanted /var/lib/archipelago/chain/blocks, ro"},
		"other data":               {"", "chain/blocks:", "chain/wallets:", "[Container] Volume /chain is /var/lib/archipelago/chain/wallets, ro, wanted"},
		"more data":                {"", "StopTimeout=10", "StopTimeout=10\nVolume=/var/lib/archipelago/chain/keys:/keys", "[Container] Volume /keys is /var/lib/archipelago/chain/keys, and none is meant"},
		"another credential":       {"", "chain.rpc-password", "chain.admin-password", "[Container] Secret chain.admin-password is gid=0,mode=0400,target=/run/secrets/rpc,type=mount,uid=0, and none is meant"},
		"no credential":            {"", "Secret=", "# ", "[Container] Secret chain.rpc-password is missing"},
		"another port":             {"", "rpc:8332", "rpc:8333", "[Container] Environment RPC is chain-rpc:8333, wanted chain-rpc:8332"},
		"no link":                  {"", "Network=archipelago-wallet.chain.network\n", "", "[Container] Network archipelago-wallet.chain.network is missing"},
	} {
		bad := maps.Clone(files)
		if bad["wallet.container"] = strings.Replace(importer, p.old, p.by, 1); bad["wallet.container"] == importer {
			t.Fatalf("%s: not planted", name)
		}
		if wrong := CheckRendered(e, bad); !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, p.want) }) {
			t.Errorf("%s: %q, expected %q", name, wrong, p.want)
		}
	}
}

// Of the other, only the container that serves what is used may be on the link.
func TestOnlyWhatServesAnExportIsOnALink(t *testing.T) {
	chain, wallet := lending()
	e, err := ExpectationOf(chain, Facts{DataDir: nodes.DataDir, Requirers: []Requirer{{App: "wallet", Uses: []string{"rpc"}}, {App: "reader", Uses: []string{"blocks"}}, {App: "former"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range e.Containers {
		want := map[string][]string{"chain-rpc": {"wallet"}}[c.Name]
		if !slices.Equal(c.Joins, want) || len(c.MayNetworks) != len(want) {
			t.Errorf("%s may join %q, expected %q", c.Name, c.Joins, want)
		}
	}
	on, err := wallet.On(map[string]*manifest.Manifest{"chain": chain})
	if err != nil {
		t.Fatal(err)
	}
	const link = "archipelago-wallet.chain"
	for name, c := range map[string]struct {
		m    *manifest.Manifest
		seen Seen
		want string
	}{
		"the one that serves":                {chain, Seen{Name: "chain-rpc", App: "chain", Networks: []string{"archipelago-chain", link}}, ""},
		"the main one, which serves nothing": {chain, Seen{Name: "chain", App: "chain", Networks: []string{"archipelago-chain", link}}, "container chain is on network " + link},
		"seen from the other":                {on, Seen{Name: "chain-rpc", App: "chain", Networks: []string{"archipelago-chain", link}}, ""},
		"the main one, seen from the other":  {on, Seen{Name: "chain", App: "chain", Networks: []string{"archipelago-chain", link}}, "container chain is on network " + link},
		"the one that uses it":               {on, Seen{Name: "wallet", App: "wallet", Networks: []string{"archipelago-wallet", link}}, ""},
		"the one that uses it, not linked":   {on, Seen{Name: "wallet", App: "wallet", Networks: []string{"archipelago-wallet"}}, "container wallet is not on network " + link},
	} {
		wrong := checkNetworks(c.m, c.seen)
		if c.want == "" && len(wrong) > 0 || c.want != "" && !slices.Contains(wrong, c.want) {
			t.Errorf("%s: %q, expected %q", name, wrong, c.want)
		}
	}
	for name, c := range map[string]struct {
		seen Seen
		want []string
	}{
		"linked":                               {Seen{Name: "chain-rpc", State: "running", Health: "healthy", Networks: []string{"archipelago-chain", link}}, nil},
		"not linked":                           {Seen{Name: "chain-rpc", State: "running", Health: "healthy", Networks: []string{"archipelago-chain"}}, []string{"container chain-rpc, which it uses, is not on network " + link}},
		"not linked yet, while it is starting": {Seen{Name: "chain-rpc", State: "running", Health: "starting", Networks: []string{"archipelago-chain"}}, nil},
		"one that is not used":                 {Seen{Name: "chain", State: "running", Networks: []string{"archipelago-chain"}}, nil},
	} {
		c.seen.App = "chain"
		if wrong := checkReached(on, &Snapshot{Containers: []Seen{c.seen}}); !slices.Equal(wrong, c.want) {
			t.Errorf("%s: %q, expected %q", name, wrong, c.want)
		}
	}
	own := &Snapshot{Containers: []Seen{{Name: "wallet", App: "wallet", Networks: []string{"archipelago-wallet", link}, Mounts: []string{nodes.DataDir + "/chain/blocks"}, Rootless: true}}}
	if wrong := CheckInvariants(on, own); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
	own.Containers[0].Mounts = []string{nodes.DataDir + "/chain/keys"}
	if wrong := CheckInvariants(on, own); len(wrong) != 1 || !strings.Contains(wrong[0], "holds more than its own data") {
		t.Errorf("%q", wrong)
	}
}
