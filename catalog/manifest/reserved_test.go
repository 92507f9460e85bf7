package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func named(id string, members ...string) []byte {
	text := fmt.Sprintf("apiVersion: archipelago/v1\nid: %[1]s\nname: Test\nversion: \"1\"\ncontainers:\n", id)
	for _, m := range append([]string{id}, members...) {
		text += fmt.Sprintf("  - name: %s\n    image: {build: image}\n", m)
	}
	return []byte(text)
}

func TestNoApplicationShadowsAUnitThatEveryNodeHas(t *testing.T) {
	for id, whose := range map[string]string{
		"podman": "Podman's own units", "podman-restart": "Podman's own units", "podman-auto-update": "Podman's own units",
		"dbus": "the user's message bus", "dbus-broker": "the user's message bus",
		"archipelago": "archipelago's own units", "archipelago-miniflux-network": "archipelago's own units",
		"systemd": "systemd's own units", "systemd-exit": "systemd's own units", "systemd-tmpfiles-setup": "systemd's own units", "systemd2": "systemd's own units",
		"gpg-agent": "a unit of the operating system", "ssh-agent": "a unit of the operating system", "dirmngr": "a unit of the operating system",
	} {
		_, err := Parse("m.yaml", named(id))
		if want := fmt.Sprintf("m.yaml:2:5: id: %q is reserved: %s.service is a name of %s", id, id, whose); err == nil || err.Error() != want {
			t.Errorf("%s: %v\nexpected %s", id, err, want)
		}
	}
	// A member's name is a unit's too.
	_, err := Parse("m.yaml", named("gpg", "gpg-agent"))
	if want := `m.yaml:8:11: containers[1].name: "gpg-agent" is reserved`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v\nexpected %s", err, want)
	}
	for _, id := range []string{"miniflux", "podmanager", "dbusview", "my-podman", "agent", "archipelagos", "default", "app"} {
		if _, err := Parse("m.yaml", named(id, id+"-db")); err != nil {
			t.Errorf("%s is refused: %v", id, err)
		}
	}
}

// Networks are archipelago-ID and secrets ID.NAME: with an id or a name that holds a
// dot, a's "b.c" and a.b's "c" would be one secret.
func TestNoIDOrSecretHoldsWhatJoinsNames(t *testing.T) {
	for _, name := range []string{"a.b", "a_b", "a/b", "a:b", "A", "-a", "a-", ".", "a@b"} {
		var problems *Error
		if _, err := Parse("m.yaml", named(name)); !errors.As(err, &problems) || problems.Problems[0].Field != "id" {
			t.Errorf("the id %q is taken: %v", name, err)
		}
		if _, err := Parse("m.yaml", append(named("a"), "generated_secrets:\n  - name: \""+name+"\"\n"...)); err == nil || !strings.Contains(err.Error(), "generated_secrets[0].name") {
			t.Errorf("the secret %q is taken: %v", name, err)
		}
	}
}
