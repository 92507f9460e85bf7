//go:build lab && mutants

package selftest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
)

// ofNode stands for a step where the fault shows in no cell, but in what is said of a node.
const ofNode = "node"

// many are steps that go by quickly and leave the daemon running.
var many = []string{matrix.Install, matrix.Stop, matrix.Start, matrix.Uninstall}

// notDone is what the gate says of a daemon that tries for ever.
const notDone = "install was accepted and not done within"

// rendered are faults of what the daemon writes for the application page: a text of its
// unit files, what is there instead, and the property that the witnesses must name at the
// installation.
var rendered = []struct{ old, by, reason string }{
	// [Unit]
	{"StartLimitIntervalSec=0", "", "its unit's StartLimitIntervalUSec is"},
	{"StartLimitIntervalSec=0", "StartLimitIntervalSec=5", "its unit's StartLimitIntervalUSec is 5s"},
	// [Container]: who it is
	{"ContainerName=page", "ContainerName=page2", notDone},
	{`Label="io.archipelago.spec=`, `Label="io.archipelago.spec=x`, notDone},
	{"Pull=never", "Pull=never\nHostName=other", "hostname is other, wanted its id"},
	{"Pull=never", "Pull=never\nLabel=extra=1", "label extra is 1, and none is meant"},
	{"Pull=never", "Pull=never\nAutoUpdate=registry", "label io.containers.autoupdate"},
	// what it may do
	{"User=1000", "", "Unit page.service not found"},
	{"User=1000", "User=0", "user is"},
	{"Group=1000", "Group=0", "user is 1000:0"},
	{"Group=1000", "Group=1000\nGroupAdd=100", "group"},
	{"DropCapability=all", "", "capabilities"},
	{"DropCapability=all", "DropCapability=NET_RAW", "capabilities"},
	{"DropCapability=all", "DropCapability=all\nAddCapability=NET_BIND_SERVICE", "capabilities"},
	{"NoNewPrivileges=true", "NoNewPrivileges=false", "no_new_privs is 0"},
	{"Pull=never", "Pull=never\nPodmanArgs=--privileged", "seccomp"},
	{"Pull=never", "Pull=never\nSeccompProfile=unconfined", "seccomp"},
	{"Pull=never", "Pull=never\nPodmanArgs=--pid=host", "namespace pid is the node's"},
	{"Pull=never", "Pull=never\nPodmanArgs=--ipc=host", "namespace ipc is the node's"},
	{"Pull=never", "Pull=never\nPodmanArgs=--uts=host", "namespace uts is the node's"},
	{"Pull=never", "Pull=never\nUserNS=keep-id", "root of the container"},
	{"Pull=never", "Pull=never\nAddDevice=/dev/fuse", "/dev/fuse"},
	{"Pull=never", "Pull=never\nUnmask=ALL", "mount /proc/sys"},
	{"Pull=never", "Pull=never\nUlimit=nofile=512:512", "resource limits"},
	// what it sees
	{":/data", ":/elsewhere", "mount /data is missing"},
	{"Volume=/var/lib/archipelago/page/data:/data", "", "mount /data is missing"},
	{"page/data:/data", "page/data:/data:ro", "mount /data is"},
	{"page/data:/data", "page/other:/data", "page/other"},
	{"Tmpfs=/tmp", "Volume=/var/lib/archipelago:/all\nTmpfs=/tmp", "/all"},
	{"Tmpfs=/tmp", "Volume=/run/user/1000/podman/podman.sock:/sock\nTmpfs=/tmp", "socket"},
	{"Tmpfs=/tmp", "Volume=/anonymous\nTmpfs=/tmp", "/anonymous"},
	{"Tmpfs=/tmp", "Tmpfs=/more\nTmpfs=/tmp", "/more"},
	{"mode=1777", "mode=0700", "page"},
	{"Tmpfs=/tmp:mode=1777", "ReadOnly=true", "read-only"},
	{"Pull=never", "Pull=never\nShmSize=1m", "size of /dev/shm is"},
	// its secrets and its environment
	{"Secret=page.key,type=mount,target=/run/secrets/key,uid=1000,gid=1000,mode=0400", "", "secret"},
	{"uid=1000,gid=1000,mode=0400", "uid=0,gid=0,mode=0400", "mode 400 of 0:0"},
	{"target=/run/secrets/key", "target=/run/secrets/other", "/run/secrets/key"},
	{"type=mount,target=/run/secrets/key,uid=1000,gid=1000,mode=0400", "type=env,target=KEY", "secret"},
	{`Environment="MARK=1"`, "", "environment MARK is missing"},
	{"MARK=1", "MARK=2", "environment MARK is another value"},
	{`Environment="MARK=1"`, "Environment=\"MARK=1\"\nEnvironment=MORE=1", "environment MORE"},
	{"Pull=never", "Pull=never\nEnvironmentHost=true", "environment"},
	{"Pull=never", "Pull=never\nTimezone=Europe/Paris", "time zone is Europe/Paris, and none is meant"},
	// what it runs
	{"Pull=never", "Pull=never\nEntrypoint=/bin/sh", "starting: systemd job: start page.service: failed"},
	{"Pull=never", "Pull=never\nExec=more", "command line"},
	{"Pull=never", "Pull=never\nRunInit=true", "starting: systemd job: start page.service: failed: Error: lookup init binary"},
	{"Pull=never", "Pull=never\nStopSignal=SIGKILL", "stop signal is SIGKILL, wanted SIGTERM"},
	{"Pull=never", "Pull=never\nLogDriver=none", "log driver is none, wanted journald"},
	// its networks and ports
	{"Network=archipelago-page.network", "", "network"},
	{"Network=archipelago-page.network", "Network=host", "port 8900 does not answer on the node"},
	{"Network=archipelago-page.network", "Network=archipelago-page.network\nNetwork=podman", "network podman is joined, and none is meant"},
	{"Network=archipelago-page.network", "Network=archipelago-page.network\nNetworkAlias=other", "network archipelago-page is joined other"},
	{"Pull=never", "Pull=never\nAddHost=other:192.0.2.1", "extra host"},
	{"PublishPort=127.0.0.1:8900:8080", "PublishPort=8900:8080", "port 8900/tcp is every address"},
	{"PublishPort=127.0.0.1:8900:8080", "", "port 8900 does not answer on the node"},
	{"127.0.0.1:8900:8080", "127.0.0.1:8999:8080", "port 8900 does not answer on the node"},
	{"127.0.0.1:8900:8080", "127.0.0.1:8900:8081", "port 8900 does not answer on the node"},
	{"Options=isolate=strict", "", "isolate is"},
	{"Options=isolate=strict", "Options=isolate=strict\nInternal=true", "internal is true"},
	{"NetworkName=archipelago-page", "NetworkName=other", "network"},
	// its health
	{"HealthCmd=" + probe, "", "starting: systemd job: start page.service: failed"},
	{"HealthInterval=disable", "HealthInterval=30s", "interval of the health check is 30s"},
	{"io.archipelago.health=30s", "io.archipelago.health=1h", "label io.archipelago.health is 1h"},
	{"10s http 8080 200 /", "10s tcp 8080", "label io.archipelago.health is 30s 10s tcp 8080"},
	{"http 8080 200 /", "http 8081 200 /", "not healthy within its budget of 30s"},
	{"HealthTimeout=10s", "HealthTimeout=1h", "timeout of the health check is 1h0m0s"},
	{"HealthRetries=3", "HealthRetries=100", "retries of the health check is 100"},
	{"HealthStartPeriod=30s", "HealthStartPeriod=0s", "start period of the health check is 0s"},
	{"Notify=healthy", "HealthStartupCmd=[\"true\",\"anyway\"]\nNotify=healthy", "start-up health check is"},
	{"Notify=healthy", "", "page"},
	{"Notify=healthy", "Notify=healthy\nHealthOnFailure=kill", "action when unhealthy is kill"},
	{"StopTimeout=1", "StopTimeout=60", "stop timeout is 1m0s"},
	{"StopTimeout=1", "", "stop timeout is 10s"},
	// [Service]
	{"Restart=always", "Restart=on-failure", "its unit's Restart is on-failure"},
	{"RestartSec=200ms", "RestartSec=5min", "its unit's RestartUSec is 1m0s, wanted 200ms"},
	{"RestartSteps=8", "", "its unit's RestartSteps is 0"},
	{"RestartMaxDelaySec=60s", "RestartMaxDelaySec=1h", "its unit's RestartMaxDelayUSec is 1h0m0s"},
	{"TimeoutStartSec=30s", "TimeoutStartSec=infinity", "its unit's TimeoutStartUSec is infinity"},
	{"TimeoutStopSec=11s", "TimeoutStopSec=10min", "its unit's TimeoutStopUSec is 10m0s"},
	{"SuccessExitStatus=143", "", "its unit's SuccessExitStatus is empty, wanted 143"},
	{"MemoryMax=64M", "MemoryMax=640M", "its unit's MemoryMax is 671088640"},
	{"[Service]", "[Service]\nExecStartPost=/bin/true", "its unit's ExecStartPost"},
	// what nobody has agreed to, and limits that nobody has set
	{"Pull=never", "Pull=never\nAddDevice=/dev/net/tun", "mount /dev/net/tun is"},
	{"Pull=never", "Pull=never\nGroupAdd=keep-groups", "additional group keep-groups is set, and none is meant"},
	{"Pull=never", "Pull=never\nPidsLimit=100", "Podman's limit of processes is 100, and none is meant"},
	{"Network=archipelago-page.network", "Network=archipelago-page.network:alias=other", "network archipelago-page is joined other"},
	{"MemoryMax=64M", "MemoryMax=64M\nCPUQuota=50%", "its unit's CPUQuotaPerSecUSec is 500ms, wanted infinity"},
}

// others are faults of what the daemon does, with the step at which they must be seen.
var others = []planted{
	{name: "the drop-in of its service is left at uninstall", fault: fault.DropInLeft, app: "page", steps: []string{matrix.Install, matrix.Uninstall}, red: matrix.Uninstall, reason: "unit file page.service.d/archipelago.conf is left"},
	{name: "the drop-in of its service says more", fault: fault.DropInMore, app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: "its unit's drop-in archipelago.conf is of a text that is not meant"},
	{name: "the prober looks at nothing", fault: fault.ProberDead, app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: "not healthy within its budget of 30s"},
	{name: "prepare is skipped", fault: "skip:prepare", app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: "page"},
	{name: "write-units is skipped", fault: "skip:write-units", app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: "page"},
	{name: "start is skipped", fault: "skip:start", edit: quick, app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: notDone},
	{name: "stop is skipped", fault: "skip:stop", edit: quick, app: "page", steps: []string{matrix.Install, matrix.Stop}, red: matrix.Stop, reason: "stop was accepted and not done within"},
	{name: "restarted is skipped", fault: "skip:restarted", edit: quick, app: "page", steps: []string{matrix.Install, matrix.Restart}, red: matrix.Restart, reason: "restart was accepted and not done within"},
	{name: "remove is skipped", fault: "skip:remove", app: "page", steps: []string{matrix.Install, matrix.Uninstall}, red: matrix.Uninstall, reason: "page"},
	{name: "forget is skipped", fault: "skip:forget", app: "page", steps: []string{matrix.Install, matrix.Uninstall}, red: matrix.Uninstall, reason: "page"},
	{name: "the daemon takes more memory with every operation", fault: fault.Grows, app: "page", cycles: 12, steps: many, red: ofNode, reason: "memory of the daemon"},
	{name: "the daemon starts slower every time", fault: fault.Slows, app: "page", cycles: 12, steps: many, red: ofNode, reason: "time of start of page"},
	{name: "the actions of every plan are done in reverse", fault: "reversed", app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: "install"},
	{name: "the application's unit does not want its database", fault: rendering("Requires=miniflux-db.service", ""), app: "miniflux", steps: []string{matrix.Install}, red: matrix.Install, reason: "its unit's Requires miniflux-db.service is missing"},
	{name: "the application's unit does not follow its database", fault: rendering("After=miniflux-db.service", ""), app: "miniflux", steps: []string{matrix.Install}, red: matrix.Install, reason: "miniflux"},
	{name: "WantedBy another target", fault: rendering("WantedBy=default.target", "WantedBy=sockets.target"), app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: "its unit's WantedBy is missing, wanted default.target"},
}

// quick is a budget with which what never ends is given up sooner.
var quick = []string{"start: 30s", "start: 5s"}

// machines are faults of a node, which root makes and undoes. The gate must refuse the node,
// or be red at the step.
var machines = []struct {
	planted
	make, undo string
}{
	{planted{name: "the node's user does not linger", reason: "linger"},
		"loginctl disable-linger archipelago", "loginctl enable-linger archipelago; systemctl start user@1000"},
	{planted{name: "the node's clock is five seconds fast", reason: "off and 2s is allowed"},
		`mv /usr/bin/date /usr/bin/date.real; printf '#!/bin/sh\nexec /usr/bin/date.real -d "+5 seconds" "$@"\n' >/usr/bin/date; chmod +x /usr/bin/date`, "mv /usr/bin/date.real /usr/bin/date"},
	{planted{name: "the node's data directory cannot be written to", reason: "/var/lib/archipelago"},
		"mount --bind /var/lib/archipelago /var/lib/archipelago; mount -o remount,ro,bind /var/lib/archipelago", "umount /var/lib/archipelago"},
	{planted{name: "the node has no generator of Podman's", reason: "Quadlet"},
		"mv /usr/lib/systemd/user-generators/podman-user-generator /root/", "mv /root/podman-user-generator /usr/lib/systemd/user-generators/"},
	{planted{name: "the node's user has no subordinate ids", reason: "subuid"},
		"cp /etc/subuid /root/; sed -i /^archipelago:/d /etc/subuid", "cp /root/subuid /etc/subuid"},
	{planted{name: "the node's units wait for a network that is never said to be there", app: "page", steps: []string{matrix.Install, matrix.RebootSurvive}, red: matrix.RebootSurvive, reason: "page"},
		"systemctl mask --now network-online.target", "systemctl unmask network-online.target; systemctl start network-online.target"},
}

// TestMutants plants every fault, one at a time, and writes what became of it to the file
// that MUTANTS_TABLE names. It is red where one survives. As it may take half an hour, it
// says what became of each at once.
func TestMutants(t *testing.T) {
	all := slices.Concat(plantedFaults, others, lessGranted(), otherwiseShared())
	for _, r := range rendered {
		name := fmt.Sprintf("`%s` is `%s`", r.old, strings.ReplaceAll(r.by, "\n", " "))
		if r.by == "" {
			name = fmt.Sprintf("`%s` is left out", r.old)
		} else if rest, adds := strings.CutPrefix(r.by, r.old+"\n"); adds {
			name = fmt.Sprintf("`%s` is added", rest)
		}
		all = append(all, planted{name: name, fault: rendering(r.old, r.by), edit: limited, app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: r.reason})
	}
	for _, m := range machines {
		all = append(all, m.planted)
	}
	openTunnels(t, ".228", ".198")
	daemon := faulty(t)
	l, err := lab.Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	free := freeNodes()
	var mu sync.Mutex
	rows := make([]string, len(all))
	counts := map[string]int{}
	t.Run("all", func(t *testing.T) {
		for i, c := range all {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				node := <-free
				defer func() { free <- node }()
				begin := time.Now()
				for _, m := range machines {
					if m.name == c.name {
						if err := l.Exec(t.Context(), node, io.Discard, m.make); err != nil {
							t.Fatal(err)
						}
						defer func() {
							if err := l.Exec(context.WithoutCancel(t.Context()), node, io.Discard, m.undo); err != nil {
								t.Error(err)
							}
						}()
					}
				}
				result, seen := c.become(t, daemon, node)
				if result != caught {
					t.Errorf("%s: %s %s", c.name, result, seen)
				}
				mu.Lock()
				defer mu.Unlock()
				counts[result]++
				rows[i] = fmt.Sprintf("| %s | %s | %s | %s |\n", cellOf(c.name), cmp.Or(c.red, "the run is refused"), result, cmp.Or(cellOf(seen), "-"))
				fmt.Printf("%s %3.0f s %s: %s %s\n", node, time.Since(begin).Seconds(), c.name, result, seen)
			})
		}
	})
	file := os.Getenv("MUTANTS_TABLE")
	if file == "" {
		return // only some were asked for
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d faults: %d caught at the step and for the reason that were expected, %d elsewhere, %d survived, %d not run.\n\n", len(all), counts[caught], counts[elsewhere], counts[survived], counts[notRun])
	b.WriteString("| fault | expected at | result | seen |\n| --- | --- | --- | --- |\n" + strings.Join(rows, ""))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What became of a planted fault.
const (
	caught    = "caught"
	elsewhere = "caught elsewhere" // at another step, or for another reason
	survived  = "survived"
	notRun    = "not run"
)

// become runs the gate with the fault planted; seen is what it said. A fault without a step must keep the gate from running at all.
func (c planted) become(t *testing.T, daemon, node string) (result, seen string) {
	if c.red == "" {
		switch status, _, said := runGate(t, shipped, t.TempDir(), nil, "--catalog", catalogWith(t), "--cycles", "1", "--only", node, "--apps", "page"); {
		case status != 0 && status != 1 && strings.Contains(said, c.reason):
			return caught, lineWith(said, c.reason)
		case status != 0:
			return elsewhere, fmt.Sprintf("exit status %d: %.300s", status, said)
		}
		return survived, ""
	}
	status, r := c.gate(t, daemon, node)
	if c.red == ofNode {
		for _, h := range r.Health {
			for _, p := range h.Problems {
				if strings.Contains(p.What, c.reason) && status == 1 && r.First == nil {
					return caught, fmt.Sprintf("%.160s", p.What)
				}
			}
		}
	}
	switch {
	case status == 1 && r.First != nil && r.First.Step == c.red && strings.Contains(r.First.Reason, c.reason):
		return caught, lineWith(r.First.Reason, c.reason)
	case status == 1 && r.First != nil:
		return elsewhere, fmt.Sprintf("%s: %.300s", r.First.Step, r.First.Reason)
	case status != 0:
		return notRun, fmt.Sprintf("exit status %d, verdict %s", status, r.Verdict)
	}
	return survived, ""
}

// lineWith is the line of a text that holds another, cut to what a table can hold.
func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return fmt.Sprintf("%.160s", strings.TrimSpace(line))
		}
	}
	return ""
}

// cellOf is a text as it stands in a table, on whichever machine it was made.
func cellOf(s string) string {
	pairs := []string{"|", `\|`, "\n", " "}
	if home, err := os.UserHomeDir(); err == nil {
		pairs = append(pairs, home+"/", "~/")
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// lessGranted are faults of a daemon that gives it something less, more or other, with what
// the witnesses must say of each at the installation.
func lessGranted() (all []planted) {
	for _, c := range []struct{ name, old, by, reason string }{
		{"one of two capabilities is not given", "AddCapability=NET_ADMIN", "", "bounding capabilities is 0x400, wanted 0x1400"},
		{"a third capability is given", "AddCapability=NET_ADMIN", "AddCapability=NET_ADMIN\nAddCapability=SYS_PTRACE", "has capabilities, or can gain them: 0x80000"},
		{"a device is not given", "AddDevice=/dev/net/tun", "", "mount /dev/net/tun is missing"},
		{"another device is given in its place", "AddDevice=/dev/net/tun", "AddDevice=/dev/fuse:/dev/net/tun", "mount /dev/net/tun is another device, /fuse of a"},
		{"a further name is not given", ":alias=site", "", "network archipelago-page is joined, wanted joined site"},
		{"processor time is not limited", "CPUQuota=75%", "", "its unit's CPUQuotaPerSecUSec is infinity, wanted 750ms"},
		{"more processes are allowed than are meant", "TasksMax=164", "TasksMax=1640", "its unit's TasksMax is 1640, wanted 164"},
	} {
		all = append(all, planted{name: c.name, fault: rendering(c.old, c.by), edit: granted, app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: c.reason})
	}
	return all
}

// otherwiseShared are faults of a daemon that gives an application something other of another
// one, or of its owner, than is meant.
func otherwiseShared() (all []planted) {
	for _, c := range []struct{ name, old, by, reason string }{
		{"everybody in the container can read another application's credential", "target=/run/secrets/token,uid=1000,gid=1000,mode=0400", "target=/run/secrets/token,uid=1000,gid=1000,mode=0444", "secret /run/secrets/token is mode 444 of 1000:1000"},
		{"another application's credential is missing", "Secret=lender.token,type=mount,target=/run/secrets/token,uid=1000,gid=1000,mode=0400", "", "mount /run/secrets/token is missing"},
		{"another application's volume can be written to", "lender/data:/lent:ro", "lender/data:/lent", "mount /lent is /var/lib/archipelago/lender/data, writable, wanted"},
		{"all data of another application is there", "lender/data:/lent:ro", "lender:/lent:ro", "mount /lent is /var/lib/archipelago/lender, read-only, wanted"},
		{"there is no link to another application", "Network=archipelago-borrower.lender.network", "", "archipelago-borrower.lender"},
		{"the owner's folder cannot be written to", ":/folder", ":/folder:ro", "mount /folder is"},
		{"the owner's folder is used whatever is there", "ExecStartPre=/usr/bin/test -e", "ExecStartPre=/usr/bin/test -n", "its unit's ExecStartPre is /usr/bin/test -n"},
		{"the groups of the node's user are not kept", "GroupAdd=keep-groups", "", "additional group keep-groups is missing"},
	} {
		all = append(all, planted{name: c.name, fault: rendering(c.old, c.by), from: sharedWith, app: "borrower", steps: []string{matrix.Install}, red: matrix.Install, reason: c.reason})
	}
	return all
}
