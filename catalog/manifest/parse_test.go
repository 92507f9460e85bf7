package manifest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const valid = `apiVersion: archipelago/v1
id: pair
name: Pair
version: "1.0"
containers:
  - name: pair-db
    image: {ref: registry.example/pair/db, digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
    user: "100:102"
    volumes: [{name: db, path: /data, uid: 100, gid: 102}]
    secrets: [{name: password, path: /run/secrets/password}]
    health: {exec: [true], interval: 2s}
  - name: pair
    image: {build: image}
    depends_on: [{container: pair-db, condition: healthy}]
    ports: [{name: web, container: 80, host: 8080}]
generated_secrets: [{name: password, shown: true}]
interfaces:
  web: {port: web, expect: {title: Pair, selector: form}}
canary:
  http:
    interface: web
    login: {user: admin, secret: password}
    write: {method: POST, path: /items, body: "{{canary}}"}
    read: {path: "/items/{{canary}}"}
`

func TestValidManifestIsRead(t *testing.T) {
	m, err := Parse("m.yaml", []byte(strings.Replace(valid, "[true]", "[/bin/true]", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != "pair" || len(m.Containers) != 2 || m.Containers[0].Volumes[0].GID != 102 {
		t.Errorf("read as %+v", m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("json", b)
	if err != nil {
		t.Fatalf("what was written is refused: %v", err)
	}
	if !reflect.DeepEqual(m, again) {
		t.Errorf("round trip:\n%+v\n%+v", m, again)
	}
}

func TestSettingsAreFilledIn(t *testing.T) {
	m := &Manifest{ID: "a", Settings: []Setting{{Name: "prune", Default: "550"}, {Name: "index", Default: "0", Values: []string{"0", "1"}}},
		Containers: []Container{{Name: "a", Environment: map[string]string{"P": "{{setting:prune}}/{{setting:index}}"}, Command: []string{"--prune={{setting:prune}}"}, Entrypoint: []string{"{{setting:prune}}"}}}}
	got, err := m.With(map[string]string{"index": "1"}, Node{})
	if err != nil || got.Containers[0].Environment["P"] != "550/1" || got.Containers[0].Command[0] != "--prune=550" || got.Containers[0].Entrypoint[0] != "550" {
		t.Errorf("%+v, %v", got, err)
	}
	if m.Containers[0].Environment["P"] != "{{setting:prune}}/{{setting:index}}" {
		t.Error("the manifest itself was changed")
	}
	for _, bad := range []map[string]string{{"index": "2"}, {"nope": "1"}, {"prune": "a\nb"}, {"prune": strings.Repeat("x", 301)}} {
		if _, err := m.With(bad, Node{}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

const ref = "abcdefghijABCDEFGHIJ"

func TestASecretSettingIsOnlyAMountAndWhatStandsForItsValue(t *testing.T) {
	m := &Manifest{ID: "a", Settings: []Setting{{Name: "key", Secret: true}}, Secrets: []GeneratedSecret{{Name: "inner"}},
		Containers: []Container{{Name: "a", Secrets: []SecretMount{{Name: "key", Path: "/run/key"}, {Name: "inner", Env: "INNER"}}}}}
	set, err := m.With(map[string]string{"key": ref}, Node{})
	if want := []SecretMount{{Name: "key", Path: "/run/key", Ref: ref}, {Name: "inner", Env: "INNER"}}; err != nil || !reflect.DeepEqual(set.Containers[0].Secrets, want) {
		t.Errorf("set: %+v, %v", set, err)
	}
	for _, unset := range []map[string]string{nil, {"key": ""}} {
		got, err := m.With(unset, Node{})
		if want := []SecretMount{{Name: "inner", Env: "INNER"}}; err != nil || !reflect.DeepEqual(got.Containers[0].Secrets, want) {
			t.Errorf("%v: %+v, %v", unset, got, err)
		}
	}
	if len(m.Containers[0].Secrets) != 2 || m.Containers[0].Secrets[0].Ref != "" {
		t.Error("the manifest itself was changed")
	}
	for _, clear := range []string{"hunter2", "../../../../../etc/pw", strings.Repeat("x", 21)} {
		if _, err := m.With(map[string]string{"key": clear}, Node{}); err == nil || strings.Contains(err.Error(), clear) || len(m.SecretRefs(map[string]string{"key": clear})) > 0 {
			t.Errorf("a value in the clear: %v", err)
		}
	}
}

func TestInternetIsReachedUnlessTheManifestSaysNo(t *testing.T) {
	good := strings.Replace(valid, "[true]", "[/bin/true]", 1)
	for added, want := range map[string]bool{"": true, "network: {internet: true}\n": true, "network: {internet: false}\n": false} {
		m, err := Parse("m.yaml", []byte(good+added))
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseCanonical("m.json", m.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		if m.Internet() != want || again.Internet() != want {
			t.Errorf("%q: %t, and %t once published; expected %t", added, m.Internet(), again.Internet(), want)
		}
	}
}

func TestARefusedSettingIsNotRepeated(t *testing.T) {
	m := &Manifest{ID: "a", Settings: []Setting{{Name: "mode", Default: "x", Values: []string{"x", "y"}}}}
	if _, err := m.With(map[string]string{"mode": "hunter2"}, Node{}); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "setting mode of a: expected one of x, y") {
		t.Error(err)
	}
}

func TestAdoptionMayBeANameAlone(t *testing.T) {
	src := strings.Replace(strings.Replace(valid, "[true]", "[/bin/true]", 1), "canary:", "adopts: [old-web, {container: old-db, as: pair-db, secrets: {PW: password}, volumes: {/var/lib/old: db}}]\ncanary:", 1)
	m, err := Parse("m.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	want := []Adoption{{Container: "old-web"}, {Container: "old-db", As: "pair-db", Secrets: map[string]string{"PW": "password"}, Volumes: map[string]string{"/var/lib/old": "db"}}}
	if !reflect.DeepEqual(m.Adopts, want) {
		t.Errorf("%+v", m.Adopts)
	}
}

// TestStateAndAnswersThroughTheApplication reads each way to prove that there are both, and
// the same once it is published.
func TestStateAndAnswersThroughTheApplication(t *testing.T) {
	good := strings.Replace(valid, "[true]", "[/bin/true]", 1)
	good = strings.Replace(good[:strings.Index(good, "canary:")], "host: 8080}", "host: 8080}, {name: raw, container: 81, host: 8081}", 1)
	for added, want := range map[string]Manifest{
		"canary: {exec: {container: pair-db, write: [put, \"a={{canary}}\"], read: [get, a], expect_exit: 3}}\n": {
			Canary: &Canary{Exec: &ExecCanary{Container: "pair-db", Write: []string{"put", "a={{canary}}"}, Read: []string{"get", "a"}, ExpectExit: 3}}},
		"canary: {volume: {name: db, served: {interface: web, path: \"/files/{{canary}}\"}}}\n": {
			Canary: &Canary{Volume: &VolumeCanary{Name: "db", Served: &Served{Interface: "web", Path: "/files/{{canary}}"}}}},
		"  raw: {port: raw, protocol: tcp, handshake: {send: \"PING\\r\\n\", expect: PONG}}\ncanary: {exec: {container: pair, write: [\"{{canary}}\"], read: [get]}}\n": {
			Canary:     &Canary{Exec: &ExecCanary{Container: "pair", Write: []string{"{{canary}}"}, Read: []string{"get"}}},
			Interfaces: map[string]Interface{"raw": {Port: "raw", Protocol: "tcp", Handshake: &Handshake{Send: "PING\r\n", Expect: "PONG"}}}},
		"  raw: {port: web, protocol: tcp, handshake: {exec: {container: pair-db, argv: [ping], expect: PONG}}}\ncanary: {exec: {container: pair, write: [\"{{canary}}\"], read: [get]}}\n": {
			Canary:     &Canary{Exec: &ExecCanary{Container: "pair", Write: []string{"{{canary}}"}, Read: []string{"get"}}},
			Interfaces: map[string]Interface{"raw": {Port: "web", Protocol: "tcp", Handshake: &Handshake{Exec: &ExecHandshake{Container: "pair-db", Argv: []string{"ping"}, Expect: "PONG"}}}}},
	} {
		m, err := Parse("m.yaml", []byte(good+added))
		if err != nil {
			t.Fatal(err)
		}
		published, err := ParseCanonical("m.json", m.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []*Manifest{m, published} {
			if !reflect.DeepEqual(got.Canary, want.Canary) || !reflect.DeepEqual(got.Interfaces["raw"], want.Interfaces["raw"]) {
				t.Errorf("%s: %+v, %+v", added, got.Canary, got.Interfaces["raw"])
			}
		}
	}
}

func TestProblemsHavePositionsAndComeTogether(t *testing.T) {
	good := strings.Replace(valid, "[true]", "[/bin/true]", 1)
	cases := []struct {
		name     string
		old, new string
		want     []string // each a part of one problem
	}{
		{"unknown field", "name: Pair\n", "name: Pair\nprivileged: true\n", []string{"m.yaml:4:1: privileged: unknown field; applications run rootless"}},
		{"unknown field in a container", `    user: "100:102"`, `    network_mode: host`, []string{"m.yaml:8:5: containers[0].network_mode: unknown field; every application has its own network"}},
		{"wrong type", "containers:\n", "migration: soon\ncontainers:\n", []string{"m.yaml:5:12: migration:", "integer"}},
		{"bad id", "id: pair", "id: Pair_1", []string{"m.yaml:2:5: id:", "is not valid here"}},
		{"missing field", "version: \"1.0\"\n", "", []string{"missing property 'version'"}},
		{"duplicate key", "name: Pair\n", "name: Pair\nname: Twice\n", []string{"m.yaml:4:1: mapping key \"name\" already defined"}},
		{"duplicate container", "- name: pair\n", "- name: pair-db\n", []string{`containers[1].name: the name "pair-db" is already that of containers[0]`}},
		{"dangling secret", "secrets: [{name: password,", "secrets: [{name: passwort,", []string{`m.yaml:10:22: containers[0].secrets[0].name: no generated secret and no secret setting is named "passwort"`}},
		{"secret of two kinds", "path: /run/secrets/password}", "path: /run/secrets/password, env: PASSWORD}", []string{"m.yaml:10:15: containers[0].secrets[0]: expected either path, for a file, or env, for an environment variable"}},
		{"secret that goes nowhere", "{name: password, path: /run/secrets/password}", "{name: password}", []string{"m.yaml:10:15: containers[0].secrets[0]: expected either path"}},
		{"secret in a variable that is none", "path: /run/secrets/password}", "env: password}", []string{"m.yaml:10:37: containers[0].secrets[0].env:", "is not valid here"}},
		{"two secrets in one variable", "path: /run/secrets/password}", "env: A}, {name: password, env: A}", []string{`m.yaml:10:63: containers[0].secrets[1].env: "A" is already set by containers[0].secrets[0]`}},
		{"secret over a variable", "path: /run/secrets/password}]", "env: A}]\n    environment: {A: b}", []string{`containers[0].secrets[0].env: "A" is already set by the environment`}},
		{"secret of no form", "{name: password, shown: true}", "{name: password, form: rot13}", []string{"m.yaml:16:44: generated_secrets[0].form:"}},
		{"secret of a form with a length", "{name: password, shown: true}", "{name: password, shown: true, form: hex, length: 64}", []string{"m.yaml:16:70: generated_secrets[0].length: a secret of form hex has no length in characters"}},
		{"secret of letters in bytes", "{name: password, shown: true}", "{name: password, shown: true, bytes: 64}", []string{"generated_secrets[0].bytes: only the forms hex and base64 stand for bytes"}},
		{"secret that is guessed", "{name: password, shown: true}", "{name: password, shown: true, form: hex, bytes: 4}", []string{"generated_secrets[0].bytes: 4 is less than 16"}},
		{"secret derived of nothing", "{name: password, shown: true}", "{name: password, shown: true}, {name: hash, derive: {from: x, as: bcrypt}}", []string{`m.yaml:16:80: generated_secrets[1].derive.from: no generated secret is named "x"`}},
		{"secret derived as nothing", "{name: password, shown: true}", "{name: password, shown: true}, {name: hash, derive: {from: password, as: md5}}", []string{"generated_secrets[1].derive.as:"}},
		{"secret derived of one that is derived", "{name: password, shown: true}", "{name: password, shown: true}, {name: a, derive: {from: password, as: bcrypt}}, {name: b, derive: {from: a, as: bcrypt}}", []string{`generated_secrets[2].derive.from: "a" is derived itself`}},
		{"secret derived of itself", "{name: password, shown: true}", "{name: password, shown: true, derive: {from: password, as: bcrypt}}", []string{`generated_secrets[0].derive.from: "password" is derived itself`}},
		{"secret derived with a form", "{name: password, shown: true}", "{name: password, shown: true}, {name: a, form: hex, derive: {from: password, as: bcrypt}}", []string{"generated_secrets[1].derive: a secret that is derived has no form"}},
		{"certificate of a password", "{name: password, shown: true}", "{name: password, shown: true}, {name: a, derive: {from: password, as: certificate}}", []string{`generated_secrets[1].derive.as: a certificate is made of a key: "password" needs form: ed25519 or rsa`}},
		{"hash of a key", "{name: password, shown: true}", "{name: password, shown: true}, {name: k, form: rsa}, {name: a, derive: {from: k, as: argon2id}}", []string{`generated_secrets[2].derive.as: argon2id is made of a password, and "k" is a key`}},
		{"hash of more than bcrypt takes", "{name: password, shown: true}", "{name: password, shown: true}, {name: k, form: hex, bytes: 40}, {name: a, derive: {from: k, as: bcrypt}}", []string{`generated_secrets[2].derive.as: bcrypt takes 72 bytes of a password at most, and "k" has 80`}},
		{"key of a length", "{name: password, shown: true}", "{name: password, shown: true}, {name: k, form: rsa, length: 64}", []string{"generated_secrets[1].length: a secret of form rsa has no length in characters"}},
		{"entrypoint of no words", "    depends_on:", "    entrypoint: []\n    depends_on:", []string{"containers[1].entrypoint:"}},
		{"entrypoint with a setting that is not declared", "    depends_on:", "    entrypoint: [\"{{setting:x}}\"]\n    depends_on:", []string{`containers[1].entrypoint[0]: no setting is named "x"`}},
		{"directory that is not clean", "    depends_on:", "    working_dir: /a/../b\n    depends_on:", []string{`m.yaml:14:18: containers[1].working_dir: "/a/../b" is not a clean absolute path`}},
		{"host name of another application", "    depends_on:", "    hostname: miniflux\n    depends_on:", []string{`m.yaml:14:15: containers[1].hostname: expected "pair" or "pair.internal": others`}},
		{"host name of the internet", "    depends_on:", "    hostname: pair.example.com\n    depends_on:", []string{`m.yaml:14:15: containers[1].hostname: expected "pair" or "pair.internal"`}},
		{"host name of another member", "    depends_on:", "    hostname: pair-db\n    depends_on:", []string{`m.yaml:14:15: containers[1].hostname: expected "pair"`}},
		{"one host name for two", "    depends_on:", "    hostname: pair.internal\n  - name: pair-y\n    image: {build: y}\n    hostname: pair.internal\n    depends_on:", []string{`m.yaml:17:15: containers[2].hostname: expected "pair-y" or "pair-y.internal"`}},
		{"size that is none", "    depends_on:", "    shm_size: 1.5G\n    depends_on:", []string{"m.yaml:14:15: containers[1].shm_size:", "is not valid here"}},
		{"shared memory that cannot be written to", "    depends_on:", "    shm_size: 1G\n    read_only: true\n    depends_on:", []string{"containers[1].shm_size: with read_only, /dev/shm is read-only, too"}},
		{"tmpfs with another field", "    depends_on:", "    tmpfs: [{path: /tmp, exec: true}]\n    depends_on:", []string{"containers[1].tmpfs[0].exec: unknown field"}},
		{"tmpfs twice", "    depends_on:", "    tmpfs: [/tmp, {path: /tmp, size: 1M}]\n    depends_on:", []string{`containers[1].tmpfs[1]: "/tmp" is already used by containers[1].tmpfs[0]`}},
		{"signal that cannot be caught", "    depends_on:", "    stop_signal: SIGKILL\n    depends_on:", []string{"m.yaml:14:18: containers[1].stop_signal: expected one of SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH"}},
		{"limit that is none", "    depends_on:", "    ulimits: {rtprio: 99}\n    depends_on:", []string{"m.yaml:14:15: containers[1].ulimits.rtprio: not a limit that a container may set; expected one of nofile, nproc"}},
		{"limit beyond bounds", "    depends_on:", "    ulimits: {nofile: 1048576}\n    depends_on:", []string{"m.yaml:14:23: containers[1].ulimits.nofile: 1048576 is not between 64 and 524288"}},
		{"kernel parameter of the node", "    depends_on:", "    sysctls: {kernel.shmmax: 1}\n    depends_on:", []string{"containers[1].sysctls.kernel.shmmax: not a parameter of a network namespace that a container may set"}},
		{"kernel parameter that lets through", "    depends_on:", "    sysctls: {net.ipv4.ip_forward: 1}\n    depends_on:", []string{"net.ipv4.ip_forward: not a parameter"}},
		{"kernel parameter of no number", "    depends_on:", "    sysctls: {net.core.somaxconn: \"1\\nExecStart=x\"}\n    depends_on:", []string{"integer"}},
		{"dangling dependency", "container: pair-db,", "container: pair-dbx,", []string{`no container is named "pair-dbx"`}},
		{"dangling port", "web: {port: web", "web: {port: http", []string{`interfaces.web.port: no port is named "http"`}},
		{"dependency on health that is not declared", "    health: {exec: [/bin/true], interval: 2s}\n", "", []string{`"pair-db" declares no health check`}},
		{"health without a command", "{exec: [/bin/true], interval: 2s}", "{interval: 2s}", []string{"containers[0].health: missing property 'exec'"}},
		{"health of two cheap kinds", "    depends_on:", "    health: {exec: [/bin/true], http: {port: web, path: /}, tcp: {port: web}}\n    depends_on:", []string{"containers[1].health.tcp: expected one of http and tcp, not both"}},
		{"health on another member's port", "{exec: [/bin/true], interval: 2s}", "{exec: [/bin/true], tcp: {port: web}}", []string{`m.yaml:11:45: containers[0].health.tcp.port: no port of pair-db is named "web"`}},
		{"health by HTTP on no port", "    depends_on:", "    health: {exec: [/bin/true], http: {port: rpc, path: /}}\n    depends_on:", []string{`containers[1].health.http.port: no port of pair is named "rpc"`}},
		{"health on a UDP port", "    ports: [{", "    health: {exec: [/bin/true], tcp: {port: dns}}\n    ports: [{name: dns, container: 53, host: 5353, protocol: udp}, {", []string{`containers[1].health.tcp.port: port "dns" is UDP`}},
		{"health at no path", "    depends_on:", "    health: {exec: [/bin/true], http: {port: web, path: a b}}\n    depends_on:", []string{"containers[1].health.http.path:"}},
		{"cycle", "    health: {exec:", "    depends_on: [{container: pair}]\n    health: {exec:", []string{"depends on itself"}},
		{"path that leaves the folder", "build: image", "build: ../other", []string{"containers[1].image", "leaves the application's folder"}},
		{"path that leaves the folder inside", "build: image", "build: image/../../other", []string{"leaves the application's folder"}},
		{"engine's path", "path: /data", "path: /proc/sys", []string{"/proc belongs to the engine"}},
		{"two things at one path", "path: /run/secrets/password", "path: /data", []string{`containers[0].secrets[0].path: "/data" is already used by containers[0].volumes[0].path`}},
		{"secret declared twice", "generated_secrets: [", "generated_secrets: [{name: password}, ", []string{`generated_secrets[1].name: a secret named "password" is already declared`}},
		{"port declared twice", "host: 8080}]", "host: 8080}, {name: web, container: 81, host: 8081}]", []string{`containers[1].ports[1].name: a port named "web" is already declared`}},
		{"interface on a UDP port", "host: 8080}]", "host: 8080, protocol: udp}]", []string{`interfaces.web.port: port "web" is UDP`}},
		{"stack that others cannot reach", "- name: pair\n", "- name: pair-web\n", []string{`one container of a stack has the application's name, "pair"`}},
		{"start that takes too long", "canary:", "budget: {start: 2h}\ncanary:", []string{"budget.start: longer than an hour"}},
		{"path that is not clean", "path: /data", "path: /data/../etc", []string{"is not a clean absolute path"}},
		{"both kinds of image", "{build: image}", "{build: image, ref: a/b}", []string{"expected either build, or ref and digest"}},
		{"port of the daemon", "host: 8080", "host: 7070", []string{"port 7070 is the daemon's own"}},
		{"port of the daemon with TLS", "host: 8080", "host: 7443", []string{"port 7443 is the daemon's own"}},
		{"port of applications by name", "host: 8080", "host: 8443", []string{"port 8443 is the daemon's own"}},
		{"port that two containers publish", "    depends_on:", "    ports: [{name: other, container: 81, host: 8080}]\n  - name: pair-x\n    image: {build: image}\n    depends_on:", []string{`port 8080/tcp is already published as "other"`}},
		{"web port whose proxy would be among the ephemeral ones", "host: 8080", "host: 30000", []string{"interfaces.web.port: the web port 30000 is too high"}},
		{"volume that two containers share", "    depends_on:", "    volumes: [{name: db, path: /data, uid: 0, gid: 0}]\n    depends_on:", []string{`containers[1].volumes[0].name: a volume named "db" already belongs to a container`}},
		{"volume that only one shares", "    depends_on:", "    volumes: [{name: db, path: /data, uid: 100, gid: 102, shared: true}]\n    depends_on:", []string{`m.yaml:14:22: containers[1].volumes[0].name: a volume named "db" already belongs to a container; no two may share one unless both say shared: true`}},
		{"volume shared with nobody", "gid: 102}", "gid: 102, shared: true}", []string{`m.yaml:9:67: containers[0].volumes[0].shared: no other container has the volume "db"`}},
		{"volume twice in a container", "gid: 102}", "gid: 102, shared: true}, {name: db, path: /d, uid: 100, gid: 102, shared: true}", []string{`containers[0].volumes[1].name: the container has the volume "db" already`}},
		{"volume that nobody writes", "gid: 102}", "gid: 102, read_only: true}", []string{`m.yaml:9:70: containers[0].volumes[0].read_only: no container can write to the volume "db"`}},
		{"memory that is no size", "    depends_on:", "    memory: 512\n    depends_on:", []string{"m.yaml:14:13: containers[1].memory:"}},
		{"container of another application's name", "- name: pair-db", "- name: pairs", []string{`containers[0].name: expected "pair" or a name that begins with "pair-"`}},
		{"privileged port", "host: 8080", "host: 80", []string{"containers[1].ports[0].host:", "1024"}},
		{"control character", "name: Pair", "name: Pa\x00ir", []string{"m.yaml:3:9: control character 0x0"}},
		{"newline in a value", "name: Pair\n", "name: \"Pair\\nExecStart=/bin/sh\"\n", []string{"name:", "is not valid here"}},
		{"anchor", "name: Pair\n", "name: &n Pair\nsummary: *n\n", []string{"m.yaml:3:7: YAML anchors", "m.yaml:4:10: YAML aliases"}},
		{"data without a canary", good[strings.Index(good, "canary:"):], "", []string{"it needs a canary"}},
		{"canary that is not written", `body: "{{canary}}"`, `body: "x"`, []string{"neither path nor body holds {{canary}}"}},
		{"canary in no container", good[strings.Index(good, "canary:"):], "canary: {exec: {container: x, write: [put, '{{canary}}'], read: [get]}}\n", []string{`m.yaml:19:28: canary.exec.container: no container is named "x"`}},
		{"canary that no command writes", good[strings.Index(good, "canary:"):], "canary: {exec: {container: pair-db, write: [put, x], read: [get, '{{canary}}']}}\n", []string{"m.yaml:19:44: canary.exec.write: no word of the command holds {{canary}}"}},
		{"canary by a status of Podman's own", good[strings.Index(good, "canary:"):], "canary: {exec: {container: pair-db, write: [put, '{{canary}}'], read: [get], expect_exit: 125}}\n", []string{"canary.exec.expect_exit: 125 is more than 124"}},
		{"canary by nothing", good[strings.Index(good, "canary:"):], "canary: {exec: {container: pair-db, write: [put, '{{canary}}'], read: []}}\n", []string{"canary.exec.read:"}},
		{"canary that the application need not show", good[strings.Index(good, "canary:"):], "canary: {volume: {name: db}}\n", []string{"m.yaml:19:18: canary.volume: a file that is only looked for on the disk proves nothing of the application: say where it serves the file, served: {interface, path}"}},
		{"canary on no volume", good[strings.Index(good, "canary:"):], "canary: {volume: {name: x, served: {interface: web, path: \"/{{canary}}\"}}}\n", []string{`m.yaml:19:25: canary.volume.name: no volume is named "x"`}},
		{"canary that nothing serves", good[strings.Index(good, "canary:"):], "canary: {volume: {name: db, served: {interface: ftp, path: \"/{{canary}}\"}}}\n", []string{`m.yaml:19:49: canary.volume.served.interface: no http interface is named "ftp"`}},
		{"canary by another file", good[strings.Index(good, "canary:"):], "canary: {volume: {name: db, served: {interface: web, path: /index.html}}}\n", []string{`m.yaml:19:60: canary.volume.served.path: "/index.html" does not hold {{canary}}`}},
		{"canary by HTTP where nothing speaks it", "interfaces:\n  web: {port: web, expect: {title: Pair, selector: form}}\n", "interfaces:\n  web: {port: web, protocol: tcp, handshake: {expect: hello}}\n", []string{`canary.http.interface: no http interface is named "web"`}},
		{"handshake with a page", "selector: form}}", "selector: form}, handshake: {expect: hello}}", []string{"interfaces.web.handshake: goes with protocol: tcp"}},
		{"handshake that only connects", "canary:", "  raw: {port: web, protocol: tcp, handshake: {}}\ncanary:", []string{"m.yaml:19:46: interfaces.raw.handshake: missing property 'expect'"}},
		{"handshake that only asks", "canary:", "  raw: {port: web, protocol: tcp, handshake: {send: hi}}\ncanary:", []string{"m.yaml:19:46: interfaces.raw.handshake: missing property 'expect'"}},
		{"handshake with a page's port", "canary:", "  raw: {port: web, protocol: tcp, handshake: {expect: hello}}\ncanary:", []string{`m.yaml:19:15: interfaces.raw.port: port "web" is that of an http interface, which only the proxy reaches`}},
		{"handshake with an echo", "canary:", "  raw: {port: web, protocol: tcp, handshake: {send: \"PING\\r\\n\", expect: PING}}\ncanary:", []string{`m.yaml:19:73: interfaces.raw.handshake.expect: "PING" is in what is asked`}},
		{"handshake of both kinds", "canary:", "  raw: {port: web, protocol: tcp, handshake: {expect: a, exec: {container: pair, argv: [b], expect: c}}}\ncanary:", []string{"interfaces.raw.handshake: expected either exec, or expect"}},
		{"handshake in no container", "canary:", "  raw: {port: web, protocol: tcp, handshake: {exec: {container: x, argv: [ping], expect: pong}}}\ncanary:", []string{`interfaces.raw.handshake.exec.container: no container is named "x"`}},
		{"handshake with an echo in a container", "canary:", "  raw: {port: web, protocol: tcp, handshake: {exec: {container: pair, argv: [echo, pong], expect: pong}}}\ncanary:", []string{`interfaces.raw.handshake.exec.expect: "pong" is in what is asked`}},
		{"page on a tcp interface", "canary:", "  raw: {port: web, protocol: tcp, path: /x, handshake: {expect: hello}}\ncanary:", []string{"interfaces.raw: path and expect go with an http interface"}},
		{"interface that nothing is reached by", "interfaces:\n  web: {port: web, expect: {title: Pair, selector: form}}\n", "interfaces:\n  web: {port: web, protocol: tcp}\n", []string{"m.yaml:18:3: interfaces: nothing here shows that the application answers"}},
		{"page that My Apps does not link to", "  web: {port: web, expect", "  admin: {port: web, expect", []string{"m.yaml:18:3: interfaces: nothing here shows that the application answers"}},
		{"login with a hash", "{name: password, shown: true}", "{name: real}, {name: password, shown: true, derive: {from: real, as: bcrypt}}", []string{`canary.http.login.secret: the secret "password" is no password`}},
		{"login with a key", "{name: password, shown: true}", "{name: password, shown: true, form: rsa}", []string{`canary.http.login.secret: the secret "password" is no password`}},
		{"secret that nobody may read", "shown: true", "shown: false", []string{"is not shown"}},
		{"setting that is not declared", "    ports: [{", "    environment: {A: \"{{setting:x}}\"}\n    ports: [{", []string{`containers[1].environment.A: no setting is named "x"`}},
		{"default that is not allowed", "canary:", "settings: [{name: x, default: \"2\", values: [\"0\", \"1\"]}]\ncanary:", []string{`settings[0].default: "2" is not one of the values`}},
		{"setting declared twice", "canary:", "settings: [{name: x, default: a}, {name: x, default: b}]\ncanary:", []string{`settings[1].name: a setting named "x" is already declared`}},
		{"setting without a default", "canary:", "settings: [{name: x}]\ncanary:", []string{"m.yaml:19:", "settings[0]: missing property 'default'"}},
		{"secret with a default", "canary:", "settings: [{name: x, secret: true, default: hunter2}]\ncanary:", []string{"m.yaml:19:45: settings[0].default: a secret setting has no default"}},
		{"secret with values", "canary:", "settings: [{name: x, secret: true, values: [hunter2]}]\ncanary:", []string{"m.yaml:19:44: settings[0].values: a secret setting has no list of values"}},
		{"secret that reaches nothing", "canary:", "settings: [{name: x, secret: true}]\ncanary:", []string{`m.yaml:19:19: settings[0].name: the secret setting "x" reaches no container`}},
		{"secret of a generated one's name", "canary:", "settings: [{name: password, secret: true}]\ncanary:", []string{`settings[0].name: a generated secret named "password" is already declared`}},
		{"secret in an environment and a command", "    ports: [{name: web, container: 80, host: 8080}]\n", "    secrets: [{name: x, path: /run/x}]\n    environment: {A: \"{{setting:x}}\"}\n    command: [\"--key={{setting:x}}\"]\n    ports: [{name: web, container: 80, host: 8080}]\nsettings: [{name: x, secret: true}]\n",
			[]string{`containers[1].environment.A: the setting "x" is secret, and this text would be in a unit file`, `containers[1].command[0]: the setting "x" is secret`}},
		{"mount of a setting that is not secret", "    ports: [{", "    secrets: [{name: y, path: /run/y}]\n    ports: [{", []string{`containers[1].secrets[0].name: no generated secret and no secret setting is named "y"`}},
		{"login with a secret setting", "canary:\n  http:\n    interface: web\n    login: {user: admin, secret: password}", "canary:\n  http:\n    interface: web\n    login: {user: admin, secret: x}", []string{`no generated secret is named "x"`}},
		{"requires itself", "canary:", "requires: [{app: pair}]\ncanary:", []string{"cannot require itself"}},
		{"requires one twice", "canary:", "requires: [{app: b}, {app: b}]\ncanary:", []string{`requires[1].app: "b" is already required`}},
		{"condition of no kind", "canary:", "ready: [{}]\ncanary:", []string{"ready[0]:"}},
		{"condition of two kinds", "canary:", "ready: [{tcp: web, socket: {container: pair, path: /s}}]\ncanary:", []string{"ready[0]:"}},
		{"condition on no port", "canary:", "ready: [{http: {port: rpc, path: /}}]\ncanary:", []string{`ready[0].http.port: no port is named "rpc"`}},
		{"condition with half a comparison", "canary:", "ready: [{http: {port: web, path: /, json: a.b}}]\ncanary:", []string{"ready[0].http:"}},
		{"condition in no container", "canary:", "ready: [{exec: {container: x, command: [/bin/true]}}]\ncanary:", []string{`ready[0].exec.container: no container is named "x"`}},
		{"hook in no container", "canary:", "hooks: {pre_update: [{container: x, command: [/bin/true]}]}\ncanary:", []string{`hooks.pre_update[0].container: no container is named "x"`}},
		{"hook on the host", "canary:", "hooks: {pre_update: [{command: [/bin/true]}]}\ncanary:", []string{"missing property 'container'"}},
		{"hook that takes too long", "canary:", "hooks: {post_update: [{container: pair, command: [/bin/true], timeout: 2h}]}\ncanary:", []string{"longer than an hour"}},
		{"container that does not stop", "    ports: [{name: web, container: 80, host: 8080}]\n", "    stop_timeout: 999999h\n    ports: [{name: web, container: 80, host: 8080}]\n", []string{"containers[1].stop_timeout: longer than 10 minutes"}},
		{"adopts what is kept of another", "canary:", "adopts: [old-before-archipelago]\ncanary:", []string{`adopts[0]: container "old-before-archipelago" is what is kept of another application`}},
		{"adopts as no member", "canary:", "adopts: [{container: old, as: x}]\ncanary:", []string{`adopts[0].as: no container is named "x"`}},
		{"adopts into no volume", "canary:", "adopts: [{container: old, volumes: {/data: x}}]\ncanary:", []string{`no volume is named "x"`}},
		{"adopts into no secret", "canary:", "adopts: [{container: old, secrets: {PW: x}}]\ncanary:", []string{`no generated secret is named "x"`}},
		{"adopts a name that is none", "canary:", "adopts: [\"a b\"]\ncanary:", []string{"adopts[0]:", "is not valid here"}},
		{"adopts one twice", "canary:", "adopts: [old, old]\ncanary:", []string{`container "old" is already adopted`}},
		{"script with a path that is none", "canary:", "provider_scripts: [{path: /../x.js, source: x}]\ncanary:", []string{"provider_scripts[0].path:", "is not valid here"}},
		{"network that is no choice", "canary:", "network: {internet: sometimes}\ncanary:", []string{"network.internet:", "boolean"}},
		{"network that says nothing", "canary:", "network: {}\ncanary:", []string{"network:", "missing property 'internet'"}},
		{"network of the host", "canary:", "network: {internet: false, mode: host}\ncanary:", []string{"network.mode: unknown field"}},
		{"two documents", "canary:\n", "---\ncanary:\n", []string{"expected exactly one YAML document, found 2"}},
		{"no YAML", "apiVersion: archipelago/v1", "apiVersion: [", []string{"m.yaml:"}},
		{"all at once", "id: pair\nname: Pair\n", "id: PAIR\nname: Pair\nprivileged: true\nbogus: 1\n", []string{"m.yaml:2:5: id:", "m.yaml:4:1: privileged:", "m.yaml:5:1: bogus:"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			src := strings.Replace(good, c.old, c.new, 1)
			if src == good {
				t.Fatalf("nothing is %q", c.old)
			}
			m, err := Parse("m.yaml", []byte(src))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("read as %+v, error %v", m, err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in:\n%v", w, err)
				}
			}
		})
	}
}

func TestMembersShareAVolumeIfTheyAgree(t *testing.T) {
	for second, want := range map[string]string{
		"{name: db, path: /db, uid: 100, gid: 102, shared: true, read_only: true}": "",
		"{name: db, path: /db, uid: 100, gid: 102, shared: true}":                  "",
		"{name: db, path: /db, uid: 100, gid: 102}":                                "unless both say shared: true",
		"{name: db, path: /db, uid: 101, gid: 102, shared: true}":                  `containers[1].volumes[0].name: the volume "db" is shared, and owned by 100:102 for pair-db`,
		"{name: db, path: /db, uid: 100, shared: true}":                            `containers[1].volumes[0].name: the volume "db" is shared, and owned by 100:102 for pair-db`,
	} {
		src := strings.NewReplacer("[true]", "[/bin/true]", "gid: 102}]", "gid: 102, shared: true}]", "    depends_on:", "    volumes: ["+second+"]\n    depends_on:").Replace(valid)
		m, err := Parse("m.yaml", []byte(src))
		switch {
		case want == "" && (err != nil || len(m.Volumes()) != 1):
			t.Errorf("%s: %+v, %v", second, m, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, expected %q", second, err, want)
		}
	}
}

// A manifest that says no size keeps its bytes, and so its digest and its proof.
func TestATmpfsIsWrittenAsItWasRead(t *testing.T) {
	const tmpfs = `"tmpfs":["/tmp",{"path":"/run/pair","size":"64M"}]`
	src := strings.NewReplacer("[true]", "[/bin/true]", "    depends_on:", "    tmpfs: [/tmp, {path: /run/pair, size: 64M}]\n    depends_on:", "{build: image}", `{ref: registry.example/pair, digest: "sha256:`+strings.Repeat("0", 64)+`"}`).Replace(valid)
	m, err := Parse("m.yaml", []byte(src))
	if err != nil || !strings.Contains(string(m.Canonical()), tmpfs) {
		t.Fatalf("%v: %s", err, m.Canonical())
	}
	again, err := ParseCanonical("m.json", m.Canonical())
	if err != nil || !reflect.DeepEqual(again, m) {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestGarbageIsRefusedQuickly(t *testing.T) {
	for name, src := range map[string][]byte{
		"empty":           {},
		"a megabyte":      []byte(strings.Repeat("x: [", 1<<18)),
		"deep":            []byte(strings.Repeat("[", 5000)),
		"binary":          {0xff, 0xfe, 0x00},
		"invalid UTF-8":   []byte("apiVersion: archipelago/v1\nid: \xff\xfe\n"),
		"a list":          []byte("- a\n- b\n"),
		"a word":          []byte("manifest"),
		"numbers as keys": []byte("1: 2\n3: 4\n"),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Parse("m.yaml", src)
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Errorf("read as %+v, error %v", m, err)
			}
		})
	}
}

func TestCanonicalFormIsReadAndNothingElse(t *testing.T) {
	for _, id := range []string{"miniflux", "mosquitto", "radicale"} {
		want, err := ParseFile("../apps/" + id + "/manifest.yaml")
		if err != nil {
			t.Fatal(err)
		}
		want.Beside = nil // where its author has it, it is not
		got, err := ParseCanonical(id, want.Canonical())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", id, got, err)
		}
	}
	m, err := ParseFile("../apps/mosquitto/manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	good := string(m.Canonical())
	for _, c := range []struct{ old, new, want string }{
		{`{"api`, ` {"api`, "canonical"},
		{`"id":"mosquitto"`, `"id":"mosquitto","id":"mosquitto"`, "id"},
		{`"id":"mosquitto"`, `"id":"Mosquitto"`, "id: "},
		{`"id":"mosquitto"`, `"id":"mosquitto","privileged":true`, "privileged"},
		{`"secrets":[{"name":"password"`, `"secrets":[{"name":"passwort"`, "passwort"},
		{`"version":"2.0.21.1"`, `"version":2`, "version"},
		{`}`, `}}`, ""},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Fatalf("%s does not hold %s", good, c.old)
		}
		var e *Error
		if _, err := ParseCanonical("x", []byte(bad)); !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: %v", c.old, c.new, err)
		}
	}
}

func TestOrderFollowsDependencies(t *testing.T) {
	c := func(name string, on ...string) Container {
		out := Container{Name: name}
		for _, o := range on {
			out.DependsOn = append(out.DependsOn, Dependency{Container: o})
		}
		return out
	}
	m := &Manifest{Containers: []Container{c("web", "api", "cache"), c("cache"), c("api", "db"), c("db")}}
	var got []string
	for _, o := range m.Ordered() {
		got = append(got, o.Name)
	}
	if want := "db api cache web"; strings.Join(got, " ") != want {
		t.Errorf("order %v, expected %s", got, want)
	}
}

func TestDurationsAreWrittenAsTheyAreRead(t *testing.T) {
	for _, s := range []string{"1ms", "1500ms", "2s", "90s", "2m", "3h"} {
		var d Duration
		if err := d.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		b, err := d.MarshalText()
		if err != nil || string(b) != s {
			t.Errorf("%s is written as %s (%v)", s, b, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(valid))
	shipped, err := filepath.Glob("../apps/*/manifest.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range shipped {
		b, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := Parse("m.yaml", src)
		if (m == nil) == (err == nil) {
			t.Fatalf("manifest %v with error %v", m, err)
		}
		if m == nil {
			return
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("again", b)
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("round trip of %s: %v", b, err)
		}
	})
}
