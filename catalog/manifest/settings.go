package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Setting is a value that the owner may choose; {{setting:NAME}} stands for it in texts. A
// secret one has no default, and reaches containers only by a SecretMount or in a File;
// while it is not set, that file or variable does not exist, and {{secret:NAME}} is empty.
type Setting struct {
	Name    string   `json:"name"`
	Default string   `json:"default,omitempty"`
	Values  []string `json:"values,omitempty"` // all that are allowed; none: any text
	Summary string   `json:"summary,omitempty"`
	Secret  bool     `json:"secret,omitempty"`
}

// SecretRefLength is the length of what stands for the value of a secret setting
// wherever settings are kept: letters and digits that say nothing of the value.
const SecretRefLength = 20

var secretRef = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9]{%d}$`, SecretRefLength))

// Setting finds a setting by its name.
func (m *Manifest) Setting(name string) (Setting, bool) {
	i := slices.IndexFunc(m.Settings, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		return Setting{}, false
	}
	return m.Settings[i], true
}

// Secret tells whether a setting of that name exists and is secret.
func (m *Manifest) Secret(setting string) bool {
	if m == nil {
		return false
	}
	s, _ := m.Setting(setting)
	return s.Secret
}

// SecretRefs gives what stands in config for the values of secret settings, of those
// that are set.
func (m *Manifest) SecretRefs(config map[string]string) map[string]string {
	var refs map[string]string
	for _, s := range m.Settings {
		if s.Secret && secretRef.MatchString(config[s.Name]) {
			if refs == nil {
				refs = map[string]string{}
			}
			refs[s.Name] = config[s.Name]
		}
	}
	return refs
}

// Takes says what is wrong with a value that an owner typed. It does not repeat the
// value, which may be a password in the wrong place.
func (s Setting) Takes(v string) error {
	longest := 300
	if s.Secret {
		longest = 4096
	}
	switch {
	case len(s.Values) > 0 && !slices.Contains(s.Values, v):
		return fmt.Errorf("expected one of %s", strings.Join(s.Values, ", "))
	case len(v) > longest || strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf("expected one line of at most %d bytes", longest)
	}
	return nil
}
