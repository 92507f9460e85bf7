package plan

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/reports"
)

// Required is the policy that the run was planned under, with the applications of the
// release. Plans from before policies were recorded were made under the default one,
// which had no roles then, and
// named no application.
func (p *Plan) Required() reports.Policy {
	policy := p.Policy
	if policy.Cycles == 0 {
		policy = Default()
		policy.Roles, policy.Catalog = nil, nil
	}
	policy.Apps = p.Release
	return policy
}

// some names the first of a list, and says how many more there are.
func some(list []string) string {
	const most = 10
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// SmokeWhy says what keeps the run from releasing anything; empty means that it is no
// SMOKE.
func (p *Plan) SmokeWhy() []string { return p.Missing(p.Required()) }

// Missing says what a policy demands and the run does not do. A policy without a list of
// applications demands all of the catalog.
func (p *Plan) Missing(policy reports.Policy) (why []string) {
	if p.Shard != nil {
		why = append(why, fmt.Sprintf("only %s, which 'gate merge' joins with the others", p.Shard))
	}
	if p.Asked.Cycles < policy.Cycles {
		why = append(why, fmt.Sprintf("%d of %d cycles", p.Asked.Cycles, policy.Cycles))
	}
	for n, part := range p.Parts() { // each machine of a merged run tested what no other one did
		on := ""
		if len(p.Shards) > 0 {
			on = " on " + p.Shards[n].Machine
		}
		_, twins := part.machines()
		why = append(why, twins...)
		for i, node := range part.Filled(policy) {
			if node == "" {
				why = append(why, "no "+Role(policy, i)+on)
			}
		}
	}
	missing := func(what string, need, have []string) {
		if m := Without(need, have); len(m) > 0 {
			why = append(why, fmt.Sprintf("without %s %s", what, some(m)))
		}
	}
	missing("step", policy.Steps, p.Asked.Steps)
	if policy.Hardware {
		for _, part := range p.Parts() {
			why = append(why, part.notHardware()...)
		}
	}
	if policy.Update {
		why = append(why, p.notUpdated()...)
	}
	if len(policy.Apps) > 0 {
		missing("app", policy.Apps, p.Asked.Apps)
		missing("the release's app", Without(policy.Catalog, policy.Apps), p.Asked.Apps)
	} else {
		missing("app", p.Release, p.Asked.Apps)
		missing("the release's app", Without(policy.Catalog, p.Release), p.Asked.Apps)
		if len(p.Policy.Apps) > 0 {
			why = append(why, "not all apps of the catalog, only "+strings.Join(p.Policy.Apps, ", "))
		}
	}
	return why
}

// Without gives what of a list is not in another.
func Without(list, other []string) (out []string) {
	for _, s := range list {
		if !slices.Contains(other, s) {
			out = append(out, s)
		}
	}
	return out
}

// TooLarge warns of nodes whose memory is less than all applications may take together: a
// reboot and the end of a cycle have all of them running.
func (p *Plan) TooLarge() (why []string) {
	sum := int64(0)
	for _, w := range p.Weights {
		sum += w.Memory
	}
	for _, n := range p.Nodes {
		if n.Memory > 0 && sum > n.Memory {
			why = append(why, fmt.Sprintf("node %s: its applications may take %d MiB of memory together, and %d MiB were available", n.Name, sum>>20, n.Memory>>20))
		}
	}
	return why
}

// notHardware names the nodes that are no machines of their own, or do not say so. Before a
// run has seen its nodes, nothing is known of them.
func (p *Plan) notHardware() (why []string) {
	for _, name := range p.Asked.Nodes {
		i := slices.IndexFunc(p.Nodes, func(n reports.Node) bool { return n.Name == name })
		if i >= 0 && p.Nodes[i].Kind != reports.Hardware && (p.Nodes[i].Kind != "" || len(p.Sessions) > 0) {
			why = append(why, fmt.Sprintf("node %s is no hardware (%s)", name, cmp.Or(string(p.Nodes[i].Kind), "it does not say what it is")))
		}
	}
	return why
}

// AnotherPolicy says what the built-in policy demands and the run does not do, if the run
// was planned under a policy that demands less. Otherwise it is empty: then a run that
// does too little is a SMOKE.
func (p *Plan) AnotherPolicy() []string {
	if p.Policy.Cycles == 0 || PolicyDigest(p.Policy) == PolicyDigest(Default()) {
		return nil // it was made under the built-in one
	}
	required := p.Required()
	demanded := Plan{Asked: required, Policy: p.Policy, Release: p.Release, Previous: p.Previous}
	if weaker := Default().Hardware && !required.Hardware || Default().Update && !required.Update; !weaker && len(demanded.Missing(Default())) == 0 {
		return nil
	}
	return p.Missing(Default())
}

// Role names one of a policy's nodes for people: "second node (.198)".
func Role(policy reports.Policy, i int) string {
	role := RoleID(policy, i)
	if policy.Nodes[i] == role {
		return role + " node"
	}
	return fmt.Sprintf("%s node (%s)", role, policy.Nodes[i])
}

// RoleID is the role of one of a policy's nodes, such as "second".
func RoleID(policy reports.Policy, i int) string {
	roles := policy.Roles
	if len(roles) == 0 {
		roles = Default().Roles
	}
	if i < len(roles) {
		return roles[i]
	}
	return policy.Nodes[i] // of a plan that somebody edited
}

// Filled gives, for each node of a policy, the node of this run in that role; empty if
// there is none. A node with the expected name takes its role, any other machine one of
// those that are left.
func (p *Plan) Filled(policy reports.Policy) []string {
	free, _ := p.machines()
	out := make([]string, len(policy.Nodes))
	for i, name := range policy.Nodes {
		if j := slices.IndexFunc(free, func(node string) bool { return path.Base(node) == name }); j >= 0 {
			out[i] = free[j]
			free = slices.Delete(free, j, j+1)
		}
	}
	for i := range out {
		if out[i] == "" && len(free) > 0 {
			out[i], free = free[0], free[1:]
		}
	}
	return out
}

// KeyMaterial is what identifies a machine in a host key of the form of authorized_keys: the
// bytes of the key, without type, options and comment (sshd(8)), however they are written.
func KeyMaterial(hostKey string) string {
	for field := range strings.FieldsSeq(hostKey) {
		// Every key begins with the length of its type's name (RFC 4253, 6.6).
		if b, err := base64.StdEncoding.DecodeString(field); err == nil && len(b) > 4 && b[0] == 0 && b[1] == 0 && b[2] == 0 {
			return string(b)
		}
	}
	return hostKey
}

// machines gives the nodes asked for that are machines of their own, and names those
// that are not. Before a run has seen its nodes, host keys may not be known yet; then
// the names count.
func (p *Plan) machines() (distinct, twins []string) {
	keys := map[string]string{} // host key -> name
	for _, name := range p.Asked.Nodes {
		i := slices.IndexFunc(p.Nodes, func(n reports.Node) bool { return n.Name == name && n.HostKey != "" })
		if i >= 0 {
			key := KeyMaterial(p.Nodes[i].HostKey)
			if other, twice := keys[key]; twice {
				twins = append(twins, fmt.Sprintf("nodes %s and %s are one machine under two names: they have the same SSH host key", other, name))
				continue
			}
			keys[key] = name
		}
		distinct = append(distinct, name)
	}
	return distinct, twins
}
