package matrix

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// A secret in a variable is shown by Podman as one with the secret's name and stars for
// its value (generateInspectContainerConfig in its libpod/container_inspect.go).
const (
	stars  = "*******"
	hidden = "hidden by Podman"
)

// variables are those that hold a secret, by the command that made the container: it
// alone tells which variable that is.
func (c inspection) variables() map[string]string {
	out := map[string]string{}
	for _, value := range c.given("--secret") {
		name, options, _ := secretOptions(value)
		_, target, named := strings.Cut(","+options, ",target=")
		target, _, _ = strings.Cut(target, ",")
		if strings.Contains(","+options+",", ",type=env,") {
			if !named {
				target = name // Podman's default
			}
			out[target] = name
		}
	}
	return out
}

// text is the digest of what a container reads of the secret, with a name in place of the value:
// of the application's own without the application's name.
func (s SecretMeant) text(app string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte("{{secret:"+strings.TrimPrefix(s.Name, app+".")+"}}")))
}

// secretSize is that of a generated secret of which the manifest says none: characters,
// or bytes.
const secretSize = 32

// formOf is the form in which the node makes a secret: "letters:CHARACTERS", "hex:BYTES",
// "base64:BYTES", "uuid", a kind of key, or what it is derived as. One that may be taken over from an adopted container has any.
func formOf(m *manifest.Manifest, g manifest.GeneratedSecret) (form string, made bool) {
	for _, a := range m.Adopts {
		for _, name := range a.Secrets {
			if name == g.Name {
				return "", false
			}
		}
	}
	if g.Derive != nil {
		return g.Derive.As, true
	}
	switch g.Form {
	case manifest.FormEd25519, manifest.FormRSA:
		return g.Form, true
	case "":
		return fmt.Sprintf("letters:%d", cmp.Or(g.Length, secretSize)), true
	case manifest.FormUUID:
		return "uuid", true
	}
	return fmt.Sprintf("%s:%d", g.Form, cmp.Or(g.Bytes, secretSize)), true
}
