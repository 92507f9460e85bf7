package orchestrator

import (
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// ownFile tells whether a file of the Quadlet directory belongs to an application,
// by the label in it, and gives the container's name; the name is empty for the
// application's network.
func ownFile(app, file, body string) (container string, ok bool) {
	if !strings.Contains(body, "\nLabel=\""+quadlet.LabelApp+"="+app+"\"\n") {
		return "", false
	}
	if name, is := strings.CutSuffix(file, ".container"); is {
		return name, true
	}
	return "", strings.HasSuffix(file, ".network")
}
