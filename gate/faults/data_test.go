//go:build lab

package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"filippo.io/age"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// legacyPassword is what the legacy installer hardcoded.
const legacyPassword = "hunter2-hunter2"

// legacy starts PostgreSQL with data as legacy installers did: podman run with a
// restart policy, a hardcoded password in the environment, an anonymous volume.
func legacy(ctx context.Context) {
	GinkgoHelper()
	image := app("ledger").Containers[0].Image.Pinned()
	onNode(ctx, "podman rm -f -t 0 legacy-db legacy-web legacy-db%s legacy-web%s >/dev/null 2>&1; podman volume prune -f >/dev/null; podman pull -q %s", "-before-archipelago", "-before-archipelago", image)
	onNode(ctx, `podman run -d --name legacy-db --restart always --user 100:102 --tmpfs /run/postgresql:mode=1777 -e POSTGRES_PASSWORD=%[1]s -v /var/lib/legacy --entrypoint /bin/sh %[2]s -euc '
bin=/usr/lib/postgresql/17/bin; data=/var/lib/legacy/17
if [ ! -e $data/PG_VERSION ]; then
  echo "$POSTGRES_PASSWORD" > /tmp/pw
  $bin/initdb -D $data -U postgres --auth-local=trust --auth-host=scram-sha-256 --pwfile=/tmp/pw >/dev/null
  printf "listen_addresses = '\''*'\''\nunix_socket_directories = '\''/run/postgresql'\''\n" >> $data/postgresql.conf
  echo "host all all all scram-sha-256" >> $data/pg_hba.conf
  echo "CREATE DATABASE miniflux;" | $bin/postgres --single -D $data postgres >/dev/null
fi
exec $bin/postgres -D $data'`, legacyPassword, image)
	onNode(ctx, "podman run -d --name legacy-web --restart always --tmpfs /tmp --user 1000:1000 %s", app("ledger").Containers[1].Image.Pinned())
	Eventually(func() error {
		_, err := node.SSH.Run(ctx, "podman exec legacy-db /usr/lib/postgresql/17/bin/pg_isready -q -h 127.0.0.1")
		return err
	}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Succeed())
	localSQL(ctx, "legacy-db", "CREATE TABLE coins (n int); INSERT INTO coins SELECT generate_series(1, 1000);")
}

// localSQL goes by the socket, which trusts whoever is in the container.
func localSQL(ctx context.Context, container, sql string) string {
	GinkgoHelper()
	return onNode(ctx, "podman exec %s psql -h /run/postgresql -U postgres -d miniflux -Atc %s", container, nodes.Quote(sql))
}

// signIn asks the database with a password, as an application would.
func signIn(ctx context.Context, container, password, sql string) string {
	GinkgoHelper()
	return onNode(ctx, "podman exec -e PGPASSWORD=%s %s psql -h 127.0.0.1 -U postgres -d miniflux -Atc %s", password, container, nodes.Quote(sql))
}

// converted waits until a legacy application runs as the daemon's own. The old
// container, which is kept, still shows its hardcoded password: of the invariants
// only those of other containers are judged.
func converted(ctx context.Context) *matrix.Snapshot {
	GinkgoHelper()
	var last *matrix.Snapshot
	Eventually(func() error {
		s, err := witness.Look(ctx, app("ledger"), time.Now().Add(-time.Hour))
		if err != nil {
			return err
		}
		last = s
		wrong := matrix.CheckInvariants(app("ledger"), s)
		wrong = slices.DeleteFunc(wrong, func(w string) bool { return w == "a secret's value stands in the inspect" })
		return matrix.Verdict(wrong, matrix.CheckRunning(app("ledger"), s))
	}).WithContext(ctx).WithTimeout(bootBound).WithPolling(poll).Should(Succeed())
	return last
}

var _ = Describe("adoption", func() {
	identity := func(ctx context.Context, name string) string {
		return onNode(ctx, "podman inspect --format '{{.Id}} {{.State.StartedAt}}' %s", name)
	}
	BeforeEach(func(ctx SpecContext) {
		fresh(ctx)
		legacy(ctx)
		DeferCleanup(func(ctx SpecContext) {
			onNode(ctx, "podman rm -f -t 0 legacy-db legacy-web legacy-db-before-archipelago legacy-web-before-archipelago >/dev/null 2>&1; podman volume prune -f >/dev/null; true")
		})
	})

	It("takes over a legacy PostgreSQL without touching it, migrates it at the restart, and reboots", func(ctx SpecContext) {
		db, web := identity(ctx, "legacy-db"), identity(ctx, "legacy-web")
		r, err := rpc.Doctor(ctx, connect.NewRequest(&api.DoctorRequest{}))
		Expect(err).NotTo(HaveOccurred())
		Expect(r.Msg.Findings).To(ContainElement(SatisfyAll(HaveField("Name", "unmanaged containers"), HaveField("Ok", false), HaveField("Detail", ContainSubstring("legacy-db")))))

		do(ctx, "adopt", "ledger")
		got := awaitState(ctx, "ledger", api.State_STATE_RUNNING, bound)
		Expect(got.Note).To(Equal(view.NotRebootProof))
		wakeUp(ctx)
		onNode(ctx, "systemctl --user restart %s", nodes.DaemonUnit)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		awaitState(ctx, "ledger", api.State_STATE_RUNNING, bound)
		Expect(identity(ctx, "legacy-db")).To(Equal(db), "same id, same start")
		Expect(identity(ctx, "legacy-web")).To(Equal(web))

		begin := time.Now()
		do(ctx, "restart", "ledger")
		converted(ctx)
		recovered(begin, bootBound)
		Expect(localSQL(ctx, "ledger-db", "SELECT count(*), sum(n) FROM coins")).To(Equal("1000|500500"))
		Expect(signIn(ctx, "ledger-db", legacyPassword, "SELECT 1")).To(Equal("1"), "the hardcoded password still opens the database")
		Expect(onNode(ctx, "cat %s/_daemon/secrets/ledger/db-password", nodes.DataDir)).To(Equal(legacyPassword))
		Expect(onNode(ctx, "podman inspect --format '{{.State.Status}}' legacy-db-before-archipelago")).To(Equal("exited"), "the old container is kept")

		before := look(ctx, app("ledger"))
		_, err = node.SSH.PowerCut(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(matrix.CheckSame(before, converted(ctx))).To(BeEmpty())
		Expect(localSQL(ctx, "ledger-db", "SELECT count(*), sum(n) FROM coins")).To(Equal("1000|500500"))
		Expect(onNode(ctx, "podman ps --format '{{.Names}}' | sort | tr '\\n' ' '")).To(Equal("ledger ledger-db"))
	}, SpecTimeout(5*time.Minute))

	for _, point := range []string{"before", "after"} {
		It("is cut "+point+" the conversion", Label("long"), func(ctx SpecContext) {
			do(ctx, "adopt", "ledger")
			onNode(ctx, "rm -f /run/user/$(id -u)/archipelago-*-*")
			equip(ctx, "archipelago-faults", []string{"ARCHIPELAGO_FAULT=cut:" + point + ":convert"}, nil)
			_, err := rpc.Request(ctx, "restart", "ledger", false)
			Expect(err).NotTo(HaveOccurred())
			begin := time.Now()
			converted(ctx)
			recovered(begin, bootBound)
			Expect(onNode(ctx, "ls /run/user/$(id -u)/ | grep ^archipelago-%s", point)).To(Equal("archipelago-" + point + "-convert"))
			Expect(localSQL(ctx, "ledger-db", "SELECT count(*), sum(n) FROM coins")).To(Equal("1000|500500"))
			Expect(signIn(ctx, "ledger-db", legacyPassword, "SELECT 1")).To(Equal("1"))
		}, SpecTimeout(4*time.Minute))
	}
})

var _ = Describe("an update", func() {
	BeforeEach(func(ctx SpecContext) { fresh(ctx) })
	hooks := func(ctx context.Context) string {
		return onNode(ctx, "podman unshare cat %s/page/data/hooks", nodes.DataDir)
	}

	It("succeeds, with its hooks", func(ctx SpecContext) {
		before, check := installed(ctx, "page")
		equip(ctx, "archipelago", nil, newer)
		Expect(state(ctx, "page").AvailableVersion).To(Equal("2.0"))
		begin := time.Now()
		do(ctx, "update", "page")
		settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		check()
		Expect(onNode(ctx, "podman exec page printenv MARK; ls %s/_daemon/snapshots", nodes.DataDir)).To(Equal("2\npage"), "the way back is kept")
		Expect(hooks(ctx)).To(Equal("installed\npre-update\npost-update"))
		got := state(ctx, "page")
		Expect(got.Version).To(Equal("2.0"))
		Expect(got.AvailableVersion).To(BeEmpty())
		Expect(got.Previous.GetVersion()).To(Equal("1.0"))
	}, SpecTimeout(2*time.Minute))

	for name, c := range map[string]struct {
		edits edit
		why   string
	}{
		"damages the data and never serves": {sick, "not healthy within its budget of 3s"},
		"ends in a hook that fails": {edit{"page": {`version: "1.0"`, `version: "2.0"`, `MARK: "1"`, `MARK: "2", SPOIL: "1"`,
			`post_update: [{container: page, command: [/bin/sh, -c, "echo post-update >>/data/hooks"]}]`, `post_update: [{container: page, command: [/bin/sh, -c, "exit 3"]}]`}}, "status 3"},
		"ends in a hook that hangs": {edit{"page": {`version: "1.0"`, `version: "2.0"`, `MARK: "1"`, `MARK: "2", SPOIL: "1"`,
			`post_update: [{container: page, command: [/bin/sh, -c, "echo post-update >>/data/hooks"]}]`, `post_update: [{container: page, command: [/bin/sleep, "600"], timeout: 2s}]`}}, "longer than 2s"},
	} {
		It(name+": image and data go back, and it is said", func(ctx SpecContext) {
			before, check := installed(ctx, "page")
			secretBefore := before.Secrets["key"]
			equip(ctx, "archipelago", nil, c.edits)
			begin := time.Now()
			_, err := rpc.Do(ctx, "update", "page", false, nil)
			Expect(err).To(MatchError(And(ContainSubstring(c.why), ContainSubstring("rolled back to 1.0"))))
			after := settled(ctx, app("page"), nil, bound)
			recovered(begin, bootBound)
			check()
			Expect(after.Secrets["key"]).To(Equal(secretBefore))
			Expect(onNode(ctx, "podman exec page printenv MARK; podman unshare ls %s/page/data/spoilt 2>/dev/null; ls %s/_daemon/snapshots", nodes.DataDir, nodes.DataDir)).To(Equal("1"))
			Expect(hooks(ctx)).To(Equal("installed\npre-update"))
			got := state(ctx, "page")
			Expect(got.Version).To(Equal("1.0"))
			Expect(got.Note).To(ContainSubstring("rolled back to 1.0"))
		}, SpecTimeout(3*time.Minute))
	}

	It("to an older data format is refused, over an uninstallation too", func(ctx SpecContext) {
		equip(ctx, "archipelago", nil, edit{"page": {`version: "1.0"`, `version: "2.0"`, "canary:", "migration: 2\ncanary:"}})
		_, check := installed(ctx, "page")
		equip(ctx, "archipelago", nil, nil)
		_, err := rpc.Request(ctx, "update", "page", false)
		Expect(err).To(MatchError(ContainSubstring("has format 2, version 1.0 knows only 0")))
		do(ctx, "uninstall", "page")
		_, err = rpc.Request(ctx, "install", "page", false)
		Expect(err).To(MatchError(ContainSubstring("has format 2, version 1.0 knows only 0")))
		check()
	}, SpecTimeout(2*time.Minute))
})

var _ = Describe("a rollback", func() {
	BeforeEach(func(ctx SpecContext) { fresh(ctx) })
	write := func(ctx context.Context, text string) {
		onNode(ctx, "podman unshare sh -c 'echo %[1]s >%[2]s/page/data/.content && sync %[2]s/page/data/.content'", text, nodes.DataDir)
	}
	// updated has the page be updated from 1.0, whose data is old, to 2.0, whose data is new.
	updated := func(ctx context.Context) {
		installed(ctx, "page")
		write(ctx, "old")
		equip(ctx, "archipelago", nil, newer)
		do(ctx, "update", "page")
		awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
		write(ctx, "new")
	}
	// is wants a version to run on this data, with one copy beside it.
	is := func(ctx context.Context, version, mark, text, kept string) {
		GinkgoHelper()
		Eventually(ctx, func(g Gomega) {
			got := state(ctx, "page")
			g.Expect(got.State).To(Equal(api.State_STATE_RUNNING), got.Error)
			g.Expect(got.Version).To(Equal(version))
			g.Expect(onNode(ctx, "podman exec page printenv MARK; podman exec page cat /data/.content; ls %s/_daemon/snapshots", nodes.DataDir)).To(Equal(mark + "\n" + text + "\n" + kept))
		}).WithTimeout(bootBound).WithPolling(poll).Should(Succeed())
	}

	It("brings the version before back with its data, and another one goes forward again", func(ctx SpecContext) {
		updated(ctx)
		is(ctx, "2.0", "2", "new", "page")
		do(ctx, "rollback", "page")
		is(ctx, "1.0", "1", "old", "page.other")
		Expect(state(ctx, "page").Held).To(BeTrue())
		do(ctx, "rollback", "page")
		is(ctx, "2.0", "2", "new", "page")
		do(ctx, "uninstall", "page")
		Expect(onNode(ctx, "ls %s/_daemon/snapshots", nodes.DataDir)).To(BeEmpty())
	}, SpecTimeout(3*time.Minute))

	for _, verb := range []string{"copy", "switch", "put-back", "commit"} {
		for _, point := range []string{"before", "after"} {
			It("is cut "+point+" "+verb+": the daemon goes on", Label("long"), func(ctx SpecContext) {
				updated(ctx)
				onNode(ctx, "rm -f /run/user/$(id -u)/archipelago-*-*")
				equip(ctx, "archipelago-faults", []string{"ARCHIPELAGO_FAULT=cut:" + point + ":" + verb}, newer)
				_, err := rpc.Request(ctx, "rollback", "page", false)
				Expect(err).NotTo(HaveOccurred())
				begin := time.Now()
				is(ctx, "1.0", "1", "old", "page.other")
				recovered(begin, bootBound)
				Expect(onNode(ctx, "ls /run/user/$(id -u)/ | grep ^archipelago-%s", point)).To(Equal("archipelago-" + point + "-" + verb))
			}, SpecTimeout(4*time.Minute))
		}
	}
})

var _ = Describe("applications that require others", func() {
	// get asks the proxy, as a browser does.
	get := func(ctx context.Context, published int, path string) (int, string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s:%d%s", node.Address, published+manifest.ProxyOffset, path), nil)
		Expect(err).NotTo(HaveOccurred())
		req.Header.Set("Accept", "text/html")
		c := http.Client{Transport: &http.Transport{TLSClientConfig: node.Authority.TLS(), DisableKeepAlives: true}}
		resp, err := c.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	// routes are the destinations that a container has a route to, in hex.
	routes := func(ctx context.Context, container string) []string {
		return strings.Fields(onNode(ctx, "podman exec %s cut -f2 /proc/net/route", container))
	}
	sync := func(ctx context.Context, done bool, blocks int) {
		onNode(ctx, `podman unshare sh -c 'echo "{\"initialblockdownload\": %t, \"blocks\": %d}" > %s/chain/data/status.json; chmod 644 %s/chain/data/status.json; chown 1000:1000 %s/chain/data/status.json'`, done, blocks, nodes.DataDir, nodes.DataDir, nodes.DataDir)
	}

	It("bring them, wait for them, order them and keep them", func(ctx SpecContext) {
		fresh(ctx)
		_, err := rpc.Request(ctx, "install", "lightning", false)
		Expect(err).To(MatchError(ContainSubstring(`it changes the setting prune of chain to "0"; it changes the setting txindex of chain to "1"`)))
		installing, err := rpc.Install(ctx, connect.NewRequest(&api.InstallRequest{Id: "lightning", Consent: []string{`changes the setting prune of chain to "0"`, `changes the setting txindex of chain to "1"`}}))
		Expect(err).NotTo(HaveOccurred())
		op := installing.Msg
		// What is required came with it, configured as needed, and is not ready.
		settled(ctx, app("chain"), nil, bound)
		Expect(onNode(ctx, "podman exec chain printenv PRUNE TXINDEX")).To(Equal("0\n1"))
		sync(ctx, true, 41)
		got := awaitState(ctx, "lightning", api.State_STATE_WAITING, bound)
		Eventually(func() string { return state(ctx, "lightning").Note }).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Equal("waiting for chain: initialblockdownload is true (blocks: 41)"))
		Expect(onNode(ctx, "podman ps -q --filter name=lightning | wc -l")).To(Equal("0"))
		status, body := get(ctx, 8903, "/")
		Expect(status).To(Equal(http.StatusServiceUnavailable))
		Expect(body).To(And(ContainSubstring("Lightning is not ready yet"), ContainSubstring("blocks: 41")))
		_ = got
		sync(ctx, false, 100)
		begin := time.Now()
		_, err = rpc.Await(ctx, op, nil)
		Expect(err).NotTo(HaveOccurred())
		settled(ctx, app("lightning"), nil, bound)
		recovered(begin, bound)
		status, body = get(ctx, 8903, "/")
		Expect(status).To(Equal(http.StatusOK))
		Expect(body).To(ContainSubstring(`id="page"`))
		// They reach each other by name, and nobody else does.
		Expect(onNode(ctx, "podman exec lightning busybox wget -q -O - http://chain:8080/ | grep -c 'id=\"page\"'")).To(Equal("1"))
		do(ctx, "install", "page")
		reach := func(container, url string) error {
			_, err := node.SSH.Run(ctx, fmt.Sprintf("podman exec %s busybox wget -q -T 3 -O /dev/null %s", container, url))
			return err
		}
		Expect(reach("page", "http://chain:8080/")).NotTo(Succeed())
		for _, at := range strings.Fields(onNode(ctx, "podman inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' chain")) {
			Expect(reach("page", "http://"+at+":8080/")).NotTo(Succeed(), "by its address either")
		}
		// Who needs no more than that has no way out.
		Expect(routes(ctx, "lightning")).NotTo(ContainElement("00000000"))
		Expect(routes(ctx, "chain")).To(ContainElement("00000000"))

		// A setting that would break it, and the end of what it requires, are refused.
		_, err = rpc.Configure(ctx, connect.NewRequest(&api.ConfigureRequest{Id: "chain", Config: map[string]string{"prune": "550"}}))
		Expect(err).To(MatchError(ContainSubstring(`lightning requires prune="0" of chain`)))
		_, err = rpc.Configure(ctx, connect.NewRequest(&api.ConfigureRequest{Id: "chain", Config: map[string]string{"txindex": "2"}}))
		Expect(err).To(MatchError(ContainSubstring("setting txindex of chain: expected one of 0, 1")))
		_, err = rpc.Request(ctx, "uninstall", "chain", false)
		Expect(err).To(MatchError(ContainSubstring("chain is required by lightning")))

		// Stopping it stops them first; starting it starts them after.
		do(ctx, "stop", "chain")
		eventually(ctx, app("chain"), nil, bound, matrix.CheckStopped)
		Expect(onNode(ctx, "podman ps -q --filter name=lightning | wc -l")).To(Equal("0"))
		ended := onNode(ctx, "journalctl --user -o short-unix --no-pager -u lightning -u chain | grep -E 'Stopped (chain|lightning).service' | tail -2 | grep -oE '(chain|lightning).service' | tr '\\n' ' '")
		Expect(ended).To(Equal("lightning.service chain.service"))
		do(ctx, "start", "chain")
		settled(ctx, app("lightning"), nil, bound)

		_, err = node.SSH.PowerCut(ctx)
		Expect(err).NotTo(HaveOccurred())
		settled(ctx, app("chain"), nil, bootBound)
		settled(ctx, app("lightning"), nil, bootBound)
		do(ctx, "uninstall", "lightning")
		do(ctx, "uninstall", "chain")
	}, SpecTimeout(5*time.Minute))

	// A lightning that takes chain as it is: chain has no reason to be restarted.
	content := edit{"lightning": {`, config: {prune: "0", txindex: "1"}`, ""}}

	for _, point := range []string{"before", "after"} {
		It("are linked while they run, and the daemon is killed "+point+" that", func(ctx SpecContext) {
			fresh(ctx)
			do(ctx, "install", "chain")
			sync(ctx, false, 100)
			before := settled(ctx, app("chain"), nil, bound)
			onNode(ctx, "rm -f /run/user/$(id -u)/archipelago-*-*")
			equip(ctx, "archipelago-faults", []string{"ARCHIPELAGO_FAULT=cut:" + point + ":link"}, content)
			begin := time.Now()
			_, err := rpc.Request(ctx, "install", "lightning", false)
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() string {
				out, _ := node.SSH.Run(ctx, "ls /run/user/$(id -u)/ | grep ^archipelago-"+point)
				return strings.TrimSpace(out)
			}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Equal("archipelago-" + point + "-link"))
			awaitState(ctx, "lightning", api.State_STATE_RUNNING, bound)
			settled(ctx, app("lightning"), nil, bound)
			recovered(begin, bound)
			onNode(ctx, "podman exec lightning busybox wget -q -O /dev/null http://chain:8080/")
			Expect(matrix.CheckUntouched(app("chain"), before, settled(ctx, app("chain"), before, bound))).To(BeEmpty())

			// At a restart that the daemon does not see, systemd links them.
			onNode(ctx, "systemctl --user stop %s; systemctl --user restart chain", nodes.DaemonUnit)
			onNode(ctx, "podman exec lightning busybox wget -q -O /dev/null http://chain:8080/")
			onNode(ctx, "systemctl --user start %s", nodes.DaemonUnit)
			Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())

			before = settled(ctx, app("chain"), before, bound)
			do(ctx, "uninstall", "lightning")
			eventually(ctx, app("lightning"), nil, bound, matrix.CheckAbsent)
			after := settled(ctx, app("chain"), before, bound)
			Expect(matrix.CheckUntouched(app("chain"), before, after)).To(BeEmpty())
			Expect(after.Networks).NotTo(ContainElement("archipelago-lightning.chain"))
		}, SpecTimeout(3*time.Minute))
	}

	It("are refused where the owner has set what they cannot live with", func(ctx SpecContext) {
		fresh(ctx)
		do(ctx, "install", "chain")
		_, err := rpc.Configure(ctx, connect.NewRequest(&api.ConfigureRequest{Id: "chain", Config: map[string]string{"prune": "1000"}}))
		Expect(err).NotTo(HaveOccurred())
		_, err = rpc.Request(ctx, "install", "lightning", false)
		Expect(err).To(MatchError(And(ContainSubstring(`lightning requires prune="0" of chain, which has another value`), ContainSubstring("archy configure chain prune=0"))))
		Expect(state(ctx, "lightning").State).To(Equal(api.State_STATE_NOT_INSTALLED))
	}, SpecTimeout(2*time.Minute))
})

// ageKey makes an identity in a file, and gives its recipient.
func ageKey(dir string) (file, recipient string) {
	GinkgoHelper()
	id, err := age.GenerateX25519Identity()
	Expect(err).NotTo(HaveOccurred())
	file = filepath.Join(dir, "key.txt")
	Expect(os.WriteFile(file, []byte(id.String()+"\n"), 0o600)).To(Succeed())
	return file, id.Recipient().String()
}

var _ = Describe("a backup", func() {
	It("brings an application back, with its database and its secrets", func(ctx SpecContext) {
		fresh(ctx)
		home := loggedIn(ctx)
		do(ctx, "install", "ledger")
		settled(ctx, app("ledger"), nil, bootBound)
		localSQL(ctx, "ledger-db", "CREATE TABLE coins (n int); INSERT INTO coins SELECT generate_series(1, 1000);")
		before := look(ctx, app("ledger"))
		password := onNode(ctx, "cat %s/_daemon/secrets/ledger/db-password", nodes.DataDir)

		identity, recipient := ageKey(home)
		file := filepath.Join(home, "ledger.zip.age")
		out, err := archy(ctx, home, nil, "backup", "ledger", "--recipient", recipient, "--output", file)
		Expect(err).NotTo(HaveOccurred(), out)
		b, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		Expect(strings.Contains(string(b), password)).To(BeFalse(), "the backup holds a secret in clear")
		settled(ctx, app("ledger"), before, bound) // it goes on

		out, err = archy(ctx, home, nil, "restore", file, "--identity", identity)
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring("ledger is installed"))
		purge(ctx, "ledger")
		damaged := append([]byte{}, b...)
		damaged[len(damaged)/2] ^= 1
		Expect(os.WriteFile(filepath.Join(home, "damaged.zip.age"), damaged, 0o600)).To(Succeed())
		out, err = archy(ctx, home, nil, "restore", filepath.Join(home, "damaged.zip.age"), "--identity", identity)
		Expect(err).To(HaveOccurred(), out)
		Expect(matrix.CheckPurged(look(ctx, app("ledger")))).To(BeEmpty(), "a damaged backup left something")

		begin := time.Now()
		out, err = archy(ctx, home, nil, "restore", file, "--identity", identity)
		Expect(err).NotTo(HaveOccurred(), out)
		after := settled(ctx, app("ledger"), nil, bootBound)
		recovered(begin, bootBound)
		Expect(after.Secrets["db-password"]).To(Equal(before.Secrets["db-password"]))
		Expect(localSQL(ctx, "ledger-db", "SELECT count(*), sum(n) FROM coins")).To(Equal("1000|500500"))
		Expect(signIn(ctx, "ledger-db", password, "SELECT 1")).To(Equal("1"))
		Expect(onNode(ctx, "ls %s/_daemon/snapshots", nodes.DataDir)).To(BeEmpty())
	}, SpecTimeout(5*time.Minute))
})

// ofDrills is what a node has of restore drills: containers, units, networks, secrets, records.
const ofDrills = `podman ps -a --format '{{.Names}}' | grep ^drill_; podman network ls -q | grep drill_; podman secret ls --format '{{.Name}}' | grep ^drill_; ls ~/.config/containers/systemd | grep drill_; ls %[1]s/_daemon/snapshots %[1]s/_daemon/drill.json 2>/dev/null | grep -v :$; true`

var _ = Describe("a restore drill", func() {
	It("starts an application from its newest backup, beside the one that runs, and outlives a kill and a damaged backup", func(ctx SpecContext) {
		fresh(ctx)
		home := loggedIn(ctx)
		do(ctx, "install", "ledger")
		settled(ctx, app("ledger"), nil, bootBound)
		localSQL(ctx, "ledger-db", "CREATE TABLE coins (n int); INSERT INTO coins SELECT generate_series(1, 1000);")
		DeferCleanup(func(ctx SpecContext) {
			archy(ctx, home, nil, "repository", "remove", "disk")
			asRoot(ctx, "rm -rf /srv/drill-backups")
		})
		asRoot(ctx, "install -d -o "+onNode(ctx, "id -un")+" /srv/drill-backups")
		for _, args := range [][]string{{"repository", "add", "disk", "/srv/drill-backups/ledger"}, {"backup", "ledger", "--to", "disk"}} {
			out, err := archy(ctx, home, nil, args...)
			Expect(err).NotTo(HaveOccurred(), out)
		}
		before := settled(ctx, app("ledger"), nil, bound)
		left := func() string { return onNode(ctx, ofDrills, nodes.DataDir) }

		out, err := archy(ctx, home, nil, "repository", "prove", "disk", "ledger")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).To(ContainSubstring("it came up from it: 2 of 2 containers run and are healthy; / answers with status 200"))
		Expect(left()).To(BeEmpty())
		settled(ctx, app("ledger"), before, bound)

		By("the daemon is killed while the second one runs")
		cut := make(chan error, 1)
		go func() {
			_, err := archy(ctx, home, nil, "repository", "prove", "disk", "ledger")
			cut <- err
		}()
		Eventually(func() string { return onNode(ctx, "podman ps --format '{{.Names}}'; true") }, bootBound, 200*time.Millisecond).Should(ContainSubstring("drill_ledger-db"))
		Expect(onNode(ctx, "podman inspect drill_ledger-db --format '{{json .NetworkSettings.Ports}} {{json .HostConfig.Binds}}'")).NotTo(ContainSubstring("HostPort"))
		onNode(ctx, "systemctl --user kill -s KILL %s", nodes.DaemonUnit)
		begin := time.Now()
		Expect(<-cut).To(HaveOccurred())
		Eventually(left, bootBound, time.Second).Should(BeEmpty())
		recovered(begin, bootBound)
		settled(ctx, app("ledger"), before, bound)

		By("the backup is damaged")
		onNode(ctx, `for f in $(find /srv/drill-backups/ledger/data -type f); do chmod u+w $f; printf damaged | dd of=$f conv=notrunc status=none; done`)
		out, err = archy(ctx, home, nil, "repository", "prove", "disk", "ledger")
		Expect(err).To(HaveOccurred(), out)
		out, err = archy(ctx, home, nil, "apps")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).To(ContainSubstring("could not be restored on trial"))
		Expect(left()).To(BeEmpty())
		settled(ctx, app("ledger"), before, bound)
	}, SpecTimeout(10*time.Minute))
})
