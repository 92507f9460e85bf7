package render

import (
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// ownerLine begins the line of a unit file that names the application it belongs to.
const ownerLine = "\nLabel=\"" + manifest.LabelApp + "="

// owner gives the application that a unit file belongs to, by the label in it;
// empty for a file that the daemon did not write.
func owner(body string) string {
	i := strings.Index(body, ownerLine)
	if i < 0 {
		return ""
	}
	app, _, ok := strings.Cut(body[i+len(ownerLine):], "\"\n")
	if !ok {
		return ""
	}
	return app
}

// FilesByApp gives the names of unit files by application.
func FilesByApp(files map[string]string) map[string][]string {
	out := make(map[string][]string, len(files))
	for name, body := range files {
		if app := owner(body); app != "" {
			out[app] = append(out[app], name)
		}
	}
	return out
}

// ContainerOf gives the container that a unit file makes; ok is false for a
// network's file.
func ContainerOf(file string) (name string, ok bool) {
	return strings.CutSuffix(file, ".container")
}

// Foreign tells whether the file of a container, among unit files, is one that the daemon
// did not write.
func Foreign(container string, files map[string]string) bool {
	body, there := files[container+".container"]
	return there && owner(body) == ""
}
