package plan

import (
	"maps"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// family is "chain", which exports a service of its second container and a volume, and
// "wallet", which uses some of it.
func family(uses []string, change func(*manifest.Requirement), imports ...manifest.Import) (chain, wallet *manifest.Manifest) {
	chain = &manifest.Manifest{ID: "chain", Version: "1", Containers: []manifest.Container{{Name: "chain", Volumes: []manifest.Volume{{Name: "blocks", Path: "/blocks"}}}, {Name: "chain-rpc"}},
		Exports: map[string]manifest.Export{"rpc": {Container: "chain-rpc", Port: 8332, Credentials: map[string]string{"password": "rpc-password"}}, "blocks": {Volume: "blocks"}}}
	r := manifest.Requirement{App: "chain", Uses: uses}
	if change != nil {
		change(&r)
	}
	return chain, &manifest.Manifest{ID: "wallet", Version: "1", Containers: []manifest.Container{{Name: "wallet", Imports: imports}}, Requires: []manifest.Requirement{r}}
}

func running(m *manifest.Manifest) state.Desired {
	return state.Desired{App: m.ID, Goal: state.Running, Manifest: m}
}

// onNode is an observation in which both are as a renderer makes them, and chain's containers
// are on networks; wallet is with chain or without it.
func onNode(t *testing.T, chain, wallet *manifest.Manifest, with bool, goal state.Goal, networks map[string][]string) host.Observation {
	t.Helper()
	apps := map[string]*manifest.Manifest{}
	if with {
		apps["chain"] = chain
	}
	filled, err := wallet.With(nil, manifest.Node{Apps: apps})
	if err != nil {
		t.Fatal(err)
	}
	o := world(filled, goal)
	var by []quadlet.Requirer
	if len(filled.Requires) > 0 && len(filled.Requires[0].Reaches) > 0 {
		by = append(by, quadlet.Requirer{App: "wallet", Reaches: filled.Requires[0].Reaches})
	}
	u := quadlet.Render(chain, dataDir, true, by...)
	maps.Copy(o.Files, u.Files)
	for _, c := range chain.Containers {
		o.Containers[c.Name] = host.Container{ID: "id-" + c.Name, Name: c.Name, App: "chain", Spec: u.Specs[c.Name], State: "running", Networks: networks[c.Name]}
		o.Units[c.Name+".service"] = host.Unit{Active: "active", Sub: "running"}
	}
	return o
}

func TestOnlyWhatIsUsedIsLinked(t *testing.T) {
	own, linked := []string{"archipelago-chain"}, []string{"archipelago-chain", "archipelago-wallet.chain"}
	for name, c := range map[string]struct {
		uses     []string
		networks map[string][]string
		want     string
	}{
		"a service of a member":          {[]string{"rpc"}, map[string][]string{"chain": own, "chain-rpc": own}, "link[chain-rpc +archipelago-wallet.chain], wait"},
		"linked already":                 {[]string{"rpc"}, map[string][]string{"chain": own, "chain-rpc": linked}, "prepare, write-units, start[wallet]"},
		"the main container, by mistake": {[]string{"rpc"}, map[string][]string{"chain": linked, "chain-rpc": linked}, "link[chain -archipelago-wallet.chain], prepare, write-units, start[wallet]"},
		"a volume alone":                 {[]string{"blocks"}, map[string][]string{"chain": own, "chain-rpc": own}, "prepare, write-units, start[wallet]"},
		"nothing":                        {[]string{}, map[string][]string{"chain": own, "chain-rpc": own}, "prepare, write-units, start[wallet]"},
	} {
		t.Run(name, func(t *testing.T) {
			chain, wallet := family(c.uses, nil)
			got := plan(onNode(t, chain, wallet, true, state.Stopped, c.networks), running(chain), running(wallet))
			if got := strings.Replace(verbs(got), "prepare, write-units, wait", "wait", 1); got != c.want {
				t.Errorf("planned %q, expected %q", got, c.want)
			}
		})
	}
}

// A credential is made when the other application is prepared.
func TestWhatHasACredentialWaitsUntilThereIsOne(t *testing.T) {
	chain, wallet := family([]string{"rpc"}, nil, manifest.Import{App: "chain.rpc.password", Env: "PASSWORD"})
	got := plan(host.Observation{}, running(chain), running(wallet))
	if verbs(got) != "prepare, write-units, start[chain chain-rpc], wait" {
		t.Errorf("planned %q", verbs(got))
	}
	o := onNode(t, chain, wallet, true, state.Stopped, map[string][]string{"chain": {"archipelago-chain"}, "chain-rpc": {"archipelago-chain", "archipelago-wallet.chain"}})
	if got := verbs(plan(o, running(chain), running(wallet))); got != "prepare, write-units, start[wallet]" {
		t.Errorf("planned %q", got)
	}
}

func TestAnotherPortOfWhatIsUsedMakesAContainerAnew(t *testing.T) {
	chain, wallet := family([]string{"rpc"}, nil)
	wallet.Containers[0].Environment = map[string]string{"RPC": "{{app:chain.rpc.host}}:{{app:chain.rpc.port}}"}
	networks := map[string][]string{"chain-rpc": {"archipelago-chain", "archipelago-wallet.chain"}}
	o := onNode(t, chain, wallet, true, state.Running, networks)
	if !strings.Contains(o.Files["wallet.container"], `Environment="RPC=chain-rpc:8332"`) {
		t.Fatal(o.Files["wallet.container"])
	}
	if got := verbs(plan(o, running(chain), running(wallet))); got != "" {
		t.Errorf("planned %q", got)
	}
	renderer := &render.Renderer{DataDir: dataDir} // one for all passes, as the daemon's is
	plan := func(o host.Observation, desired ...state.Desired) []Plan {
		return Make(Input{Desired: desired, Observed: o, Renderer: renderer})
	}
	if got := verbs(plan(o, running(chain), running(wallet))); got != "" {
		t.Errorf("planned %q", got)
	}
	moved := *chain
	moved.Exports = map[string]manifest.Export{"rpc": {Container: "chain-rpc", Port: 18332}}
	if got := verbs(plan(o, running(&moved), running(wallet))); got != "prepare, write-units, stop[wallet], start[wallet]" {
		t.Errorf("planned %q", got)
	}
	// One that offers it no more is none to run with.
	moved.Exports = map[string]manifest.Export{"rest": {Port: 80}}
	if got := verbs(plan(o, running(&moved), running(wallet))); !strings.HasSuffix(got, "blocked") {
		t.Errorf("planned %q", got)
	}
}

func TestWhatIsOptionalIsUsedWhileItIsThere(t *testing.T) {
	option := func(r *manifest.Requirement) { r.Optional, r.Missing = true, "No balance" }
	chain, wallet := family([]string{"rpc"}, option)
	own := map[string][]string{"chain-rpc": {"archipelago-chain"}}
	linked := map[string][]string{"chain-rpc": {"archipelago-chain", "archipelago-wallet.chain"}}
	stopped := running(chain)
	stopped.Goal = state.Stopped
	gone := running(chain)
	gone.Goal = state.Absent
	without := func() host.Observation {
		o := onNode(t, chain, wallet, false, state.Running, nil)
		for name := range o.Containers {
			if name != "wallet" {
				delete(o.Containers, name)
			}
		}
		return o
	}
	for name, c := range map[string]struct {
		obs     host.Observation
		desired []state.Desired
		want    string
	}{
		"it never was":     {without(), []state.Desired{running(wallet)}, ""},
		"it is on its way": {without(), []state.Desired{running(chain), running(wallet)}, "start[chain chain-rpc]"},
		"it has come":      {onNode(t, chain, wallet, false, state.Running, own), []state.Desired{running(chain), running(wallet)}, "prepare, write-units, link[chain-rpc +archipelago-wallet.chain], prepare, write-units, stop[wallet], start[wallet]"},
		"it is there":      {onNode(t, chain, wallet, true, state.Running, linked), []state.Desired{running(chain), running(wallet)}, ""},
		"it is to stop":    {onNode(t, chain, wallet, true, state.Running, linked), []state.Desired{stopped, running(wallet)}, "write-units, stop[chain-rpc chain]"},
		"it is to go":      {onNode(t, chain, wallet, true, state.Running, linked), []state.Desired{gone, running(wallet)}, "stop[chain chain-rpc], remove, forget, prepare, write-units, stop[wallet], start[wallet]"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := verbs(plan(c.obs, c.desired...)); got != c.want {
				t.Errorf("planned %q, expected %q", got, c.want)
			}
		})
	}
}

func TestAnAlternativeThatWasChosenIsTheOneThatCounts(t *testing.T) {
	either := func(r *manifest.Requirement) { r.App, r.AnyOf = "", []string{"chain-pruned", "chain"} }
	chain, wallet := family([]string{"rpc"}, either)
	d := running(wallet)
	d.Chosen = []string{"chain"}
	o := onNode(t, chain, wallet, true, state.Running, map[string][]string{"chain-rpc": {"archipelago-chain", "archipelago-wallet.chain"}})
	if got := verbs(plan(o, running(chain), d)); got != "" {
		t.Errorf("planned %q", got)
	}
	pruned := &manifest.Manifest{ID: "chain-pruned", Containers: []manifest.Container{{Name: "chain-pruned"}}, Exports: map[string]manifest.Export{"rpc": {Port: 1}}}
	if got := verbs(plan(o, running(chain), running(pruned), d)); got != "prepare, write-units, start[chain-pruned]" {
		t.Errorf("another one that comes changes what is used: %q", got)
	}
}

// Nobody writes to data that is copied, replaced or deleted.
func TestDataThatOthersHaveIsLetGoFirst(t *testing.T) {
	chain, wallet := family([]string{"blocks"}, nil, manifest.Import{App: "chain.blocks", Path: "/chain"})
	o := onNode(t, chain, wallet, true, state.Running, nil)
	if !strings.Contains(o.Files["wallet.container"], "\nVolume="+dataDir+"/chain/blocks:/chain\n") {
		t.Fatal(o.Files["wallet.container"])
	}
	newer := *chain
	newer.Version = "2"
	updating := running(chain)
	for _, phase := range []state.Phase{state.Staged, state.RollingBack} {
		updating.Update = &state.Update{To: &newer, Phase: phase}
		if got := verbs(plan(o, updating, running(wallet))); got != "wait, stop[wallet], wait" {
			t.Errorf("%s: planned %q", phase, got)
		}
	}
	stopped := onNode(t, chain, wallet, true, state.Stopped, nil)
	if got := verbs(plan(stopped, updating, running(wallet))); !strings.HasPrefix(got, "stop[") || !strings.HasSuffix(got, ", wait") {
		t.Errorf("planned %q", got)
	}
	gone := running(chain)
	gone.Goal, gone.Purge = state.Absent, true
	leaving := running(wallet)
	leaving.Goal = state.Absent
	if got := verbs(plan(o, gone, leaving)); got != "wait, stop[wallet], remove, forget" {
		t.Errorf("planned %q", got)
	}
	// Of two that are to be updated, the one that has the other's data goes first.
	updating.Update = &state.Update{To: &newer, Phase: state.Staged}
	both, next := running(wallet), *wallet
	next.Version = "2"
	both.Update = &state.Update{To: &next, Phase: state.Staged}
	if got := verbs(plan(o, updating, both)); got != "wait, prepare, stop[wallet], copy, switch, write-units, start[wallet], commit" {
		t.Errorf("both: planned %q", got)
	}
}
