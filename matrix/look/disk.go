package look

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// visible gives the files of a directory as a shell's * does.
func visible(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// files tells the unit files that are labelled with the application.
func (a *answer) files(dir, label, app string) {
	want := fmt.Sprintf("Label=%q", label+"="+app)
	for _, name := range visible(dir) {
		for _, line := range lines(filepath.Join(dir, name)) {
			if line == want {
				a.say("file", name)
				break
			}
		}
	}
}

// dropIns tells which drop-ins change these units, with the digests of their texts, and that
// the daemon's own is a file of the application.
func (a *answer) dropIns(dir string, units []string) {
	for _, unit := range units {
		for _, name := range visible(filepath.Join(dir, unit+".d")) {
			file := unit + ".d/" + name
			a.say("dropin", unit, name, content(filepath.Join(dir, file)))
			if name == "archipelago.conf" {
				a.say("file", file)
			}
		}
	}
}

// searchable tells whether this user may look into a directory: what is not found in another
// one is not known to be absent.
func searchable(dir string) bool { return unix.Access(dir, unix.X_OK) == nil }

// witness is a file of the gate's in a folder of the owner's, which nobody else may change.
const witness = "archipelago-gate.txt"

// volumes tells of directories whose they are: of the application's own volumes, and of other
// places, with what the gate has left there.
func (a *answer) volumes(data, app string, dirs []string) {
	own := filepath.Join(data, app) + "/"
	for _, dir := range dirs {
		var st unix.Stat_t
		err := unix.Lstat(dir, &st)
		switch {
		case !strings.HasPrefix(dir, own) && err == nil:
			a.say("place", dir, fmt.Sprint(st.Ino), content(filepath.Join(dir, witness)))
		case !strings.HasPrefix(dir, own) && err == unix.ENOENT:
			a.say("place", dir, "absent", none)
		case err == nil:
			a.say("volume", filepath.Base(dir), fmt.Sprintf("%d %d %d %o", st.Ino, st.Uid, st.Gid, st.Mode&0o7777))
		case searchable(data):
			a.say("volume", filepath.Base(dir), "absent")
		}
	}
}

// content is the digest of a file's text.
func content(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return none
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// folders tells which of the application's own are there.
func (a *answer) folders(data, app string) {
	for _, f := range []string{app, "_daemon/secrets/" + app, "_daemon/files/" + app, "_daemon/snapshots/" + app, "_daemon/snapshots/" + app + ".other"} {
		switch _, err := os.Lstat(filepath.Join(data, f)); {
		case err == nil:
			a.say("folder", f, "there")
		case searchable(data):
			a.say("folder", f, "absent")
		}
	}
}

// inside tells of "PID:/path" whose it is, as it is seen in that process's file system.
func (a *answer) inside(in string) {
	pid, path, _ := strings.Cut(in, ":")
	var st unix.Stat_t
	if unix.Lstat("/proc/"+pid+"/root"+path, &st) == nil {
		a.say("inside", pid, path, fmt.Sprintf("%d %d %o %d", st.Uid, st.Gid, st.Mode&0o7777, st.Ino))
	}
}

// device tells where the path of a device leads, and, where that is mounted by itself, as in a
// container that is a node, the root of that mount (proc_pid_mountinfo(5)).
func (a *answer) device(path, mounts string) {
	leads, err := filepath.EvalSymlinks(path)
	if err != nil {
		a.say("device", path, "absent")
		return
	}
	a.say("device", path, leads)
	for _, line := range lines(mounts) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == leads {
			a.say("elsewhere", leads, f[3])
			return
		}
	}
}

// secrets tells of each secret what identifies it, who may read it and which forms it has, and
// gives the values, line by line.
func (a *answer) secrets(dir string) (values [][]byte) {
	for _, name := range visible(dir) {
		file := filepath.Join(dir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// A secret that a purge deletes meanwhile has no value. An empty one would be found
		// everywhere.
		values = append(values, patterns(b)...)
		var st unix.Stat_t
		if unix.Lstat(file, &st) == nil {
			sum := sha256.Sum256(b)
			a.say("secret", name, hex.EncodeToString(sum[:]), fmt.Sprintf("%o", st.Mode&0o7777))
			a.say("form", name, form(b))
		}
	}
	return values
}

var (
	letters   = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	hexDigits = regexp.MustCompile(`^([0-9a-f]{2})+$`)
	base64    = regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)
	// The head of PKCS #8, in base64, names the algorithm.
	ed25519Key = regexp.MustCompile(`^-----BEGIN PRIVATE KEY-----\sMC4CAQAwBQYDK2VwBCIEI[A-Za-z0-9+/]{43}\s`)
	rsaKey     = regexp.MustCompile(`^-----BEGIN PRIVATE KEY-----\sMII...IBADANBgkqhkiG9w0BAQEFAASC`)
	bcryptHash = regexp.MustCompile(`^\$2a\$10\$[./A-Za-z0-9]{53}$`)
	argon2Hash = regexp.MustCompile(`^\$argon2id\$v=19\$m=65536,t=3,p=4\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)

	uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
)

// form is all forms that a secret has, each after a comma, which do not tell its value.
func form(v []byte) (out string) {
	n := len(v)
	if letters.Match(v) {
		out += fmt.Sprintf(",letters:%d", n)
	}
	if hexDigits.Match(v) {
		out += fmt.Sprintf(",hex:%d", n/2)
	}
	if base64.Match(v) && n%4 == 0 {
		out += fmt.Sprintf(",base64:%d", n*3/4-bytes.Count(v, []byte("=")))
	}
	for _, kind := range []struct {
		name string
		is   bool
	}{
		{"public_key", bytes.HasPrefix(v, []byte("-----BEGIN PUBLIC KEY-----"))}, {"certificate", bytes.HasPrefix(v, []byte("-----BEGIN CERTIFICATE-----"))},
		{"ed25519", ed25519Key.Match(v)}, {"rsa", rsaKey.Match(v)}, {"bcrypt", bcryptHash.Match(v)}, {"argon2id", argon2Hash.Match(v)},
	} {
		if kind.is {
			out += "," + kind.name
		}
	}
	if uuid.Match(v) {
		out += ",uuid"
	}
	if out == "" {
		return ",other"
	}
	return out
}
