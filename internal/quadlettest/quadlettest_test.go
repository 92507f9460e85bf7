package quadlettest

import (
	"strings"
	"testing"
)

func TestAUnitThatPodmanRefusesIsNoticed(t *testing.T) {
	const good = "[Container]\nImage=docker.io/library/x:1\n"
	if err := Generate(map[string]string{"x.container": good}); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]string{
		"an unknown key":    good + "Nonsense=1\n",
		"a key misspelt":    good + "PublishPorts=80\n",
		"no image":          "[Container]\nContainerName=x\n",
		"a missing network": good + "Network=other.network\n",
		"no unit file":      "Image=x\n",
	} {
		if err := Generate(map[string]string{"x.container": bad}); err == nil || !strings.Contains(err.Error(), "x.container") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
