package manifest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// chain offers a service of a member with a credential, and two volumes, one of them to be
// read alone.
const chain = `apiVersion: archipelago/v1
id: chain
name: Chain
version: "1.0"
containers:
  - name: chain
    image: {build: image}
    volumes: [{name: blocks, path: /blocks}, {name: inbox, path: /inbox}]
  - name: chain-rpc
    image: {build: rpc}
generated_secrets: [{name: rpc-password}]
canary: {exec: {container: chain, write: [put, "{{canary}}"], read: [get]}}
exports:
  rpc: {container: chain-rpc, port: 8332, credentials: {password: rpc-password}}
  p2p: {port: 8333}
  blocks: {volume: blocks, read_only: true}
  inbox: {volume: inbox}
`

// wallet uses them all.
const wallet = `apiVersion: archipelago/v1
id: wallet
name: Wallet
version: "1.0"
containers:
  - name: wallet
    image: {build: image}
    environment: {RPC: "{{app:chain.rpc.host}}:{{app:chain.rpc.port}}"}
    imports:
      - {app: chain.rpc.password, path: /run/secrets/rpc}
      - {app: chain.rpc.password, env: RPC_PASSWORD}
      - {app: chain.blocks, path: /blocks, read_only: true}
      - {app: chain.inbox, path: /inbox}
    files:
      - {path: /etc/wallet.conf, template: true, content: "rpc={{app:chain.rpc.password}}@{{app:chain.rpc.host}}:{{app:chain.rpc.port}}"}
  - name: wallet-db
    image: {build: db}
requires:
  - {app: chain, uses: [rpc, blocks, inbox]}
`

func parsed(t *testing.T, src string) *Manifest {
	t.Helper()
	m, err := Parse("m.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatIsUsedOfAnotherApplicationIsFilledIn(t *testing.T) {
	other := parsed(t, chain)
	m, err := parsed(t, wallet).With(nil, Node{Apps: map[string]*Manifest{"chain": other}})
	if err != nil {
		t.Fatal(err)
	}
	c := m.Containers[0]
	if got := c.Environment["RPC"]; got != "chain-rpc:8332" {
		t.Errorf("RPC is %q", got)
	}
	f := c.Files[0]
	if got := f.Text(map[string]string{"chain.rpc-password": "hunter2"}); got != "rpc=hunter2@chain-rpc:8332" || !f.Secret() || f.Perm() != 0o600 {
		t.Errorf("%q, mode %o", got, f.Perm())
	}
	if got := f.Public(); got != "rpc={{secret:chain.rpc-password}}@chain-rpc:8332" {
		t.Errorf("%q", got)
	}
	var have []string
	for _, i := range c.Imports {
		have = append(have, i.Of+"/"+i.Name)
	}
	if want := []string{"chain/rpc-password", "chain/rpc-password", "chain/blocks", "chain/inbox"}; !slices.Equal(have, want) {
		t.Errorf("imports %q, expected %q", have, want)
	}
	if !c.Imports[0].Credential() || c.Imports[0].Mounts() || !c.Imports[2].Mounts() || !m.Borrows() || len(m.Borrowed()["chain"]) != 1 {
		t.Errorf("%+v", c.Imports)
	}
	// p2p is not used, so its container is not reached.
	if r := m.Requires[0]; !slices.Equal(r.Reaches, []string{"chain-rpc"}) || !r.Linked() {
		t.Errorf("%q are reached", r.Reaches)
	}
}

func TestWhatNobodyKnowsIsNotFilledIn(t *testing.T) {
	m, err := parsed(t, wallet).With(nil, Node{})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Containers[0].Environment["RPC"]; got != "{{app:chain.rpc.host}}:{{app:chain.rpc.port}}" || m.Borrows() || m.Requires[0].Linked() {
		t.Errorf("%q, %+v", got, m.Requires)
	}
}

func TestUsesAndExportsDecideWhatIsReached(t *testing.T) {
	plain, offering := &Manifest{ID: "chain"}, parsed(t, chain)
	for name, c := range map[string]struct {
		r    Requirement
		by   *Manifest
		want []string
	}{
		"as ever":           {Requirement{App: "chain"}, plain, []string{"chain"}},
		"nothing said":      {Requirement{App: "chain"}, offering, []string{}},
		"nothing used":      {Requirement{App: "chain", Uses: []string{}}, plain, []string{}},
		"a service":         {Requirement{App: "chain", Uses: []string{"p2p"}}, offering, []string{"chain"}},
		"two of a member":   {Requirement{App: "chain", Uses: []string{"rpc", "p2p"}}, offering, []string{"chain-rpc", "chain"}},
		"a volume alone":    {Requirement{App: "chain", Uses: []string{"blocks"}}, offering, []string{}},
		"what is not there": {Requirement{App: "chain", Uses: []string{"rest"}}, offering, []string{}},
	} {
		if got := c.by.Reached(c.r); !slices.Equal(got, c.want) || got == nil {
			t.Errorf("%s: %q are reached, expected %q", name, got, c.want)
		}
	}
}

// An empty list is another thing than none, wherever a manifest has been.
func TestNothingUsedStaysSo(t *testing.T) {
	for text, uses := range map[string]bool{"": false, ", uses: []": true} {
		m := parsed(t, strings.Replace(strings.Replace(valid, "[true]", "[/bin/true]", 1), "interfaces:", "requires: [{app: chain"+text+"}]\ninterfaces:", 1))
		again, err := ParseCanonical("m", m.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(m)
		var third Manifest
		if err := json.Unmarshal(b, &third); err != nil {
			t.Fatal(err)
		}
		if (again.Requires[0].Uses != nil) != uses || (third.Requires[0].Uses != nil) != uses {
			t.Errorf("%q: %#v, %#v", text, again.Requires[0].Uses, third.Requires[0].Uses)
		}
	}
}

func TestWhatAnotherApplicationLacksIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ chain, wallet, want string }{
		"nothing":         {chain, wallet, ""},
		"an export":       {strings.Replace(chain, "  inbox: {v", "  outbox: {v", 1), wallet, `wallet uses "inbox" of chain, and chain 1.0 has no export of that name`},
		"a credential":    {strings.Replace(chain, "{password:", "{token:", 1), wallet, `wallet wants the credential "password" of "rpc" of chain, and chain 1.0 has none of that name there`},
		"leave to write":  {chain, strings.Replace(wallet, ", read_only: true", "", 1), `wallet would write to "blocks" of chain, and chain 1.0 lets others only read it: read_only: true`},
		"a volume":        {strings.Replace(chain, "{volume: inbox}", "{port: 1}", 1), wallet, `wallet has the volume "inbox" of chain, and that export of chain 1.0 is a service`},
		"a service":       {strings.Replace(chain, "{container: chain-rpc, port: 8332, credentials: {password: rpc-password}}", "{volume: inbox}", 1), wallet, `of "rpc" of chain, and that export of chain 1.0 is a volume`},
		"anything to all": {chain, strings.Replace(strings.Replace(valid, "[true]", "[/bin/true]", 1), "interfaces:", "requires: [{app: chain}]\ninterfaces:", 1), "pair requires chain without saying what it uses of it, and chain 1.0 lets nothing be reached but its exports: blocks, inbox, p2p, rpc"},
	} {
		m := parsed(t, c.wallet)
		err := m.Lacks(m.Requires[0], parsed(t, c.chain))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, expected %s", name, err, c.want)
		}
		if _, with := m.With(nil, Node{Apps: map[string]*Manifest{"chain": parsed(t, c.chain)}}); (with == nil) != (err == nil) {
			t.Errorf("%s: %v", name, with)
		}
	}
}

func TestAlternativesAndOptionalRequirements(t *testing.T) {
	either := strings.Replace(wallet, "{app: chain, uses", "{any_of: [chain-pruned, chain], uses", 1)
	pruned := parsed(t, strings.NewReplacer("id: chain", "id: chain-pruned", "name: chain", "name: chain-pruned", "container: chain", "container: chain-pruned", "8332", "9332").Replace(chain))
	m := parsed(t, either)
	for name, c := range map[string]struct {
		apps map[string]*Manifest
		want string
	}{
		"the first": {map[string]*Manifest{"chain-pruned": pruned, "chain": parsed(t, chain)}, "chain-pruned-rpc:9332"},
		"the other": {map[string]*Manifest{"chain": parsed(t, chain)}, "chain-rpc:8332"},
	} {
		got, err := m.With(nil, Node{Apps: c.apps})
		if err != nil || got.Containers[0].Environment["RPC"] != c.want || got.Requires[0].App == "" {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
	for chosen, want := range map[string]string{"": "chain-pruned", "chain": "chain"} {
		if need, ok := m.Need(want, []string{chosen}); !ok || need.App != want {
			t.Errorf("%q: %+v", chosen, m.Needs([]string{chosen}))
		}
	}
	option := parsed(t, strings.Replace(wallet, "inbox]}", "inbox], optional: true, missing: No balance}", 1))
	if len(option.Needs(nil)) > 0 || len(option.Options()) != 1 {
		t.Errorf("%+v", option.Needs(nil))
	}
	without, err := option.With(nil, Node{})
	if err != nil {
		t.Fatal(err)
	}
	c := without.Containers[0]
	if len(without.Requires) > 0 || c.Environment["RPC"] != ":" || c.Files[0].Text(nil) != "rpc=@:" || !c.Files[0].Secret() || without.Borrows() {
		t.Errorf("%+v", without)
	}
}

func TestRequirementsAndExportsThatMeanNothing(t *testing.T) {
	for name, c := range map[string]struct{ src, old, by, want string }{
		"neither":                 {wallet, "{app: chain, uses", "{uses", "m.yaml:19:5: requires[0]: expected either app, or any_of"},
		"both":                    {wallet, "{app: chain, uses", "{app: chain, any_of: [a, b], uses", "requires[0]: expected either app, or any_of"},
		"itself among others":     {wallet, "{app: chain, uses", "{any_of: [chain, wallet], uses", "requires[0].any_of[1]: an application cannot require itself"},
		"twice":                   {wallet, "  - {app: chain, uses", "  - {any_of: [chain, x], uses: []}\n  - {app: chain, uses", `requires[1].app: "chain" is already required`},
		"optional, and what for":  {wallet, "inbox]}", "inbox], optional: true}", "requires[0]: missing property 'missing'"},
		"missing, and never":      {wallet, "inbox]}", "inbox], missing: x}", "requires[0].missing: nothing is missing"},
		"optional alternatives":   {wallet, "{app: chain, uses: [rpc, blocks, inbox]", "{any_of: [chain, x], optional: true, missing: x, uses: [rpc, blocks, inbox]", "requires[0].any_of: an optional requirement names one"},
		"optional settings":       {wallet, "inbox]}", "inbox], optional: true, missing: x, config: {a: b}}", "requires[0].config: an optional requirement changes no settings"},
		"alternatives, all of it": {wallet, "  - {app: chain, uses", "  - {any_of: [x, y]}\n  - {app: chain, uses", "requires[0]: missing property 'uses'"},
		"not used":                {wallet, "uses: [rpc, ", "uses: [", `m.yaml:8:24: containers[0].environment.RPC: "rpc" is not among what is used of chain; name it under uses`},
		"not used, imported":      {wallet, "blocks, inbox]", "blocks]", `m.yaml:13:15: containers[0].imports[3].app: "inbox" is not among what is used of chain`},
		"nothing said":            {wallet, ", uses: [rpc, blocks, inbox]", "", "containers[0].imports[0].app: say what is used of chain, with uses: [rpc]"},
		"a port, nothing said":    {wallet, ", uses: [rpc, blocks, inbox]", "", "containers[0].environment.RPC: say what is used of chain, with uses: [rpc]"},
		"in another member":       {wallet, "    image: {build: db}", "    image: {build: db}\n    imports: [{app: chain.inbox, path: /x}]", `containers[1].imports[0].app: only the container "wallet" reaches other applications`},
		"somebody else's":         {wallet, "chain.inbox,", "other.inbox,", `containers[0].imports[3].app: "other" is not required; name it under requires`},
		"a credential in clear":   {wallet, `"{{app:chain.rpc.host}}:`, `"{{app:chain.rpc.password}}:`, "containers[0].environment.RPC: a credential is not filled in here"},
		"a volume as a variable":  {wallet, "chain.inbox, path: /inbox", "chain.inbox, env: INBOX", "containers[0].imports[3]: expected a path"},
		"a credential nowhere":    {wallet, "password, path: /run/secrets/rpc", "password", "containers[0].imports[0]: expected either path, for a file, or env"},
		"a read-only credential":  {wallet, "path: /run/secrets/rpc", "path: /run/secrets/rpc, read_only: true", "containers[0].imports[0].read_only: read_only goes with a volume"},
		"at the same place":       {wallet, "path: /inbox", "path: /blocks", `containers[0].imports[3].path: "/blocks" is already used by containers[0].imports[2].path`},
		"in a variable that is":   {wallet, "env: RPC_PASSWORD", "env: RPC", `containers[0].imports[1].env: "RPC" is already set by the environment`},
		"a name of four parts":    {wallet, "chain.inbox,", "chain.inbox.x.y,", "containers[0].imports[3].app: \"chain.inbox.x.y\" is not valid here; expected an application's id, its export and perhaps a credential"},
		"an export of nothing":    {chain, "{port: 8333}", "{read_only: true}", "exports.p2p: expected either port, for a service, or volume"},
		"an export of both":       {chain, "{port: 8333}", "{port: 8333, volume: inbox}", "exports.p2p: expected either port, for a service, or volume"},
		"a volume that is not":    {chain, "{volume: inbox}", "{volume: index}", `exports.inbox.volume: no volume is named "index"`},
		"a volume's credentials":  {chain, "{volume: inbox}", "{volume: inbox, credentials: {a: rpc-password}}", "exports.inbox: container and credentials go with"},
		"a service to be read":    {chain, "{port: 8333}", "{port: 8333, read_only: true}", "exports.p2p.read_only: read_only goes with a volume"},
		"a container that is not": {chain, "container: chain-rpc,", "container: chain-web,", `exports.rpc.container: no container is named "chain-web"`},
		"a secret that is not":    {chain, "{password: rpc-password}", "{password: rpc-token}", `exports.rpc.credentials.password: no generated secret is named "rpc-token"`},
		"a credential named host": {chain, "{password: rpc-password}", "{host: rpc-password}", "exports.rpc.credentials.host: {{app:chain.rpc.host}} is the service's own host"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(c.src, c.old) {
				t.Fatal("not planted")
			}
			// What rests on it may be refused as well.
			if _, err := Parse("m.yaml", []byte(strings.Replace(c.src, c.old, c.by, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, expected %s", err, c.want)
			}
		})
	}
}

func TestOwnersAreToldWhatGoesBetweenApplications(t *testing.T) {
	m := parsed(t, wallet)
	want := []string{
		"knows the credential password of what chain exports as rpc",
		"reaches what chain exports as rpc",
		"reads and changes the data that chain exports as inbox",
		"reads the data that chain exports as blocks",
	}
	if got := m.Grants(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := m.Privileges(); !slices.Contains(got, "requires chain, and installs it where it is missing") || slices.Contains(got, "requires chain, joins its network, and installs it where it is missing") {
		t.Errorf("%q", got)
	}
	option := parsed(t, strings.Replace(wallet, "inbox]}", "inbox], optional: true, missing: No balance}", 1))
	if got := option.Grants(); !slices.Contains(got, "reads the data that chain exports as blocks, where that is installed") {
		t.Errorf("%q", got)
	}
	want = []string{
		"lets applications that require it reach its container chain, which serves p2p at port 8333",
		"lets applications that require it reach its container chain-rpc, which serves rpc at port 8332, and have its secrets rpc-password",
		"lets applications that require it read and change its volume inbox, as inbox",
		"lets applications that require it read its volume blocks, as blocks",
	}
	got := parsed(t, chain).Shares()
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
