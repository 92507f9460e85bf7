package look

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tooShort is the length of a secret, in bytes, that cannot be told from other text.
const tooShort = 8

// texts tells the digests of what containers read in files, "PID:/path", with {{secret:NAME}}
// in place of the values of the application's secrets, and {{secret:APP.NAME}} of others':
// these stay on the node. Longer ones come first, which a shorter one may be a part of; one that is too short to be told from other text is left,
// unless it is all there is.
func (a *answer) texts(secrets, app string, lenders, files []string) {
	if len(files) == 0 {
		return
	}
	type secret struct{ name, value []byte }
	var known []secret
	for i, whose := range append([]string{app}, lenders...) {
		for _, name := range visible(filepath.Join(secrets, whose)) {
			if b, err := os.ReadFile(filepath.Join(secrets, whose, name)); err == nil && len(b) > 0 {
				of, _, _ := strings.Cut(name, ".")
				if i > 0 {
					of = whose + "." + of
				}
				known = append(known, secret{[]byte("{{secret:" + of + "}}"), b})
			}
		}
	}
	slices.SortStableFunc(known, func(a, b secret) int { return len(b.value) - len(a.value) })
	for _, file := range files {
		pid, path, _ := strings.Cut(file, ":")
		// In the container's user namespace, where its user's files can be read.
		text, err := exec.Command("nsenter", "-t", pid, "-U", "--preserve-credentials", "cat", "/proc/"+pid+"/root"+path).Output()
		if err != nil {
			continue
		}
		for _, s := range known {
			if len(s.value) >= tooShort || bytes.Equal(text, s.value) {
				text = bytes.ReplaceAll(text, s.value, s.name)
			}
		}
		sum := sha256.Sum256(text)
		a.say("text", pid, path, hex.EncodeToString(sum[:]))
	}
}

// lineOfKey is the length from which a line of a private key is like no other text's.
const lineOfKey = 40

// patterns are the lines of a secret that must stand nowhere else: none of a public key or a
// certificate, which are for everybody, and of a private key those that are like no others.
func patterns(secret []byte) (out [][]byte) {
	begins := func(head string) bool { return bytes.HasPrefix(secret, []byte("-----BEGIN "+head)) }
	if begins("PUBLIC KEY") || begins("CERTIFICATE") {
		return nil
	}
	for line := range bytes.SplitSeq(secret, []byte("\n")) {
		if len(line) >= lineOfKey || len(line) > 0 && !begins("") {
			out = append(out, line)
		}
	}
	return out
}
