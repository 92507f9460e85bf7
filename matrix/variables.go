package matrix

import "strings"

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
	for i, word := range c.Config.CreateCommand {
		value, inOne := strings.CutPrefix(word, "--secret=")
		if word == "--secret" && i+1 < len(c.Config.CreateCommand) {
			value, inOne = c.Config.CreateCommand[i+1], true
		}
		name, options, _ := secretOptions(value)
		_, target, named := strings.Cut(","+options, ",target=")
		target, _, _ = strings.Cut(target, ",")
		if inOne && strings.Contains(","+options+",", ",type=env,") {
			if !named {
				target = name // Podman's default
			}
			out[target] = name
		}
	}
	return out
}
