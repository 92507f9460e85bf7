package compose

import (
	"fmt"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/tree"
)

// carried are the fields of a service that have code of their own here. All others are
// listed: with what stands about them below or, those that the specification has yet to
// gain, with nothing but their names.
var carried = map[string]bool{
	"build": true, "command": true, "configs": true, "container_name": true, "depends_on": true, "deploy": true, "entrypoint": true,
	"env_file": true, "environment": true, "expose": true, "extends": true, "healthcheck": true, "hostname": true, "image": true,
	"init": true, "labels": true, "links": true, "mem_limit": true, "network_mode": true, "networks": true, "ports": true,
	"profiles": true, "read_only": true, "restart": true, "secrets": true, "security_opt": true, "shm_size": true, "stop_grace_period": true,
	"stop_signal": true, "sysctls": true, "tmpfs": true, "ulimits": true, "user": true, "volumes": true, "volumes_from": true,
	"working_dir": true, "cpu_count": true, "cpu_period": true, "cpu_quota": true, "cpus": true, "pids_limit": true, "cap_drop": true, "extra_hosts": true, "devices": true, "cap_add": true, "privileged": true,
}

// remark is why a field is not carried. Without what would do instead it is a note.
type remark struct{ reason, instead string }

const (
	noNamespace  = "the namespaces of the node, and those of other containers, cannot be joined"
	noLimit      = "the language has no such limit; the kernel shares out what there is"
	noSwarm      = "it is about a cluster; a node runs one of each container"
	ownNetwork   = "members of an application have one network of their own, and find each other by their names"
	noDaemon     = "it is about the other engine"
	atEveryStart = "a command at a start or a stop, for which the language has no place"
)

// remarks are by the pattern of the field's path.
var remarks = map[tree.Path]remark{
	"services.*.annotations":                                     {"annotations are not carried: nothing reads them here", ""},
	"services.*.attach":                                          {noDaemon, ""},
	"services.*.blkio_config":                                    {noLimit, ""},
	"services.*.cgroup":                                          {noNamespace, "nothing; an application that needs it cannot be carried"},
	"services.*.cgroup_parent":                                   {"systemd decides about the control group", ""},
	"services.*.cpu_percent":                                     {noLimit, ""},
	"services.*.cpu_rt_period":                                   {noLimit, ""},
	"services.*.cpu_rt_runtime":                                  {noLimit, ""},
	"services.*.cpu_shares":                                      {noLimit, ""},
	"services.*.cpuset":                                          {noLimit, ""},
	"services.*.credential_spec":                                 {"it is about Windows", ""},
	"services.*.deploy.endpoint_mode":                            {noSwarm, ""},
	"services.*.deploy.labels":                                   {noSwarm, ""},
	"services.*.deploy.mode":                                     {noSwarm, ""},
	"services.*.deploy.placement":                                {noSwarm, ""},
	"services.*.deploy.resources.reservations.cpus":              {"nothing is reserved", ""},
	"services.*.deploy.resources.reservations.memory":            {"nothing is reserved", ""},
	"services.*.deploy.resources.reservations.devices":           {"devices are named by their class", "devices: [{class: gpu}], if the program takes what is in /dev/dri; otherwise the program without it"},
	"services.*.deploy.resources.reservations.generic_resources": {noSwarm, ""},
	"services.*.deploy.restart_policy":                           {"a container that ends is always started again, at growing intervals", ""},
	"services.*.deploy.rollback_config":                          {noSwarm, ""},
	"services.*.deploy.update_config":                            {noSwarm, ""},
	"services.*.develop":                                         {"it is about building the program", ""},
	"services.*.device_cgroup_rules":                             {"devices are named by their class", "devices: [{class: gpu}], if the program takes what is in /dev/dri; otherwise the program without it"},
	"services.*.dns":                                             {"names are resolved by the node", "a setting of the program's own, if it has one"},
	"services.*.dns_opt":                                         {"names are resolved by the node", ""},
	"services.*.dns_search":                                      {"names are resolved by the node", ""},
	"services.*.domainname":                                      {"containers have no domain", ""},
	"services.*.external_links":                                  {"containers of others are not reached", "requires: [{app: ID}], if that is an application of the catalog"},
	"services.*.gpus":                                            {"devices are named by their class", "devices: [{class: gpu}], if the program takes what is in /dev/dri; otherwise the program without it"},
	"services.*.group_add":                                       {"a container has the user and the group of its manifest, and no other groups", "user: \"UID:GID\" with that group"},
	"services.*.healthcheck.start_interval":                      {"the node decides how often it looks during a start", ""},
	"services.*.ipc":                                             {noNamespace, "shm_size, where memory is what it is about; a volume, where it is sockets"},
	"services.*.isolation":                                       {"it is about Windows", ""},
	"services.*.label_file":                                      {"labels are not carried: nothing reads them here", ""},
	"services.*.logging":                                         {"everything is logged to the journal of the node", ""},
	"services.*.mac_address":                                     {ownNetwork, ""},
	"services.*.mem_reservation":                                 {"nothing is reserved", ""},
	"services.*.mem_swappiness":                                  {noLimit, ""},
	"services.*.memswap_limit":                                   {noLimit, ""},
	"services.*.models":                                          {noDaemon, "a member that serves the model"},
	"services.*.oom_kill_disable":                                {"the node decides what ends when memory does", ""},
	"services.*.oom_score_adj":                                   {"the node decides what ends when memory does", ""},
	"services.*.pid":                                             {noNamespace, "nothing; an application that needs it cannot be carried"},
	"services.*.platform":                                        {"a node pulls what fits it", ""},
	"services.*.post_start":                                      {atEveryStart, "hooks.post_install, or the program's entrypoint"},
	"services.*.pre_start":                                       {atEveryStart, "the program's entrypoint"},
	"services.*.pre_stop":                                        {atEveryStart, "stop_signal and stop_timeout"},
	"services.*.provider":                                        {noDaemon, "a member, or a requirement of another application"},
	"services.*.pull_policy":                                     {"images are pulled by their digests, once", ""},
	"services.*.pull_refresh_after":                              {"images are pulled by their digests, once", ""},
	"services.*.runtime":                                         {"the node has one runtime", "the program without it"},
	"services.*.scale":                                           {"every container runs once", ""},
	"services.*.stdin_open":                                      {"nobody is at the container's terminal", ""},
	"services.*.storage_opt":                                     {noDaemon, ""},
	"services.*.tty":                                             {"nobody is at the container's terminal", ""},
	"services.*.umask":                                           {"the language has none", "what the image does about it"},
	"services.*.use_api_socket":                                  {"the engine's socket is never given to a container: it is the node", "nothing; an application that needs it cannot be carried"},
	"services.*.userns_mode":                                     {noNamespace, "nothing; a container's root is nobody on the node"},
	"services.*.uts":                                             {noNamespace, "hostname"},
	"services.*.volume_driver":                                   {"volumes are directories of the node", ""},
	"services.*.build.*":                                         {"an image is built from its directory alone", "what it sets written into the Containerfile"},
	"networks.*.attachable":                                      {ownNetwork, ""},
	"networks.*.driver":                                          {ownNetwork, ""},
	"networks.*.driver_opts":                                     {ownNetwork, ""},
	"networks.*.enable_ipv4":                                     {ownNetwork, ""},
	"networks.*.enable_ipv6":                                     {ownNetwork, ""},
	"networks.*.ipam":                                            {ownNetwork, ""},
	"networks.*.labels":                                          {ownNetwork, ""},
	"volumes.*.labels":                                           {"labels are not carried: nothing reads them here", ""},
	"models":                                                     {noDaemon, "a member that serves the model"},
}

// supported are the paths of the specification that are carried.
var supported = sync.OnceValue(func() (all []tree.Path) {
	for _, p := range schema.AttributePaths() {
		parts := p.Parts()
		if parts[0] == "services" && len(parts) > 2 && !carried[parts[2]] {
			continue
		}
		if _, ok := about(p); !ok && parts[0] != "models" {
			all = append(all, p)
		}
	}
	return all
})

// built are the parts of a build that are looked at.
var built = map[string]bool{"context": true, "dockerfile": true}

// about finds the remark on a field, or on what it is in.
func about(p tree.Path) (remark, bool) {
	parts := p.Parts()
	if len(parts) > 1 {
		parts[1] = tree.PathMatchAll
	}
	if len(parts) > 3 && parts[0] == "services" && parts[2] == "build" {
		if built[parts[3]] {
			return remark{}, false
		}
		return remarks["services.*.build.*"], true
	}
	for n := len(parts); n > 0; n-- {
		if r, ok := remarks[tree.Path(strings.Join(parts[:n], "."))]; ok {
			return r, true
		}
	}
	return remark{}, false
}

// others lists the fields that have no code of their own.
func (im *importer) others(found []loader.UnsupportedAttribute) {
	for _, f := range found {
		if empty(f.Value) {
			continue
		}
		var parts []string
		for _, p := range f.Path.Parts() {
			if p != tree.PathMatchList {
				parts = append(parts, tree.Path(p).String())
			}
		}
		service, field := "", strings.Join(parts, ".")
		if parts[0] == "services" && len(parts) > 2 {
			service, field = parts[1], strings.Join(parts[2:], ".")
		}
		at := im.place(parts...)
		switch r, ok := about(f.Path); {
		case !ok:
			im.left(service, field, at, "this is not known here", "whatever it is for, said in the language")
		case r.instead == "":
			im.note(service, field, at, r.reason)
		default:
			im.left(service, field, at, r.reason, r.instead)
		}
	}
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	s := fmt.Sprint(v)
	return s == "" || s == "false" || s == "0"
}
