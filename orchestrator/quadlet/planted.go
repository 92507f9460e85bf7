package quadlet

import (
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
)

// PlantedPort is the port of the node that the fault fault.UndeclaredPort publishes.
const PlantedPort = "18999"

// edits are the faults that change a rendered container: a text, and what takes the place
// of it. A text that ends with "=" stands for the whole line.
var edits = map[string][2]string{
	fault.NoRestart:       {"Restart=always", "Restart=no"},
	fault.AllCapabilities: {"DropCapability=all", "AddCapability=all"},
	fault.NewPrivileges:   {"NoNewPrivileges=", ""},
	fault.UndeclaredPort:  {"Pull=never", "Pull=never\nPublishPort=" + PlantedPort + ":" + PlantedPort},
	fault.HealthyAnyway:   {"HealthCmd=", `HealthCmd=["true","anyway"]`},
	fault.SecretsReadable: {",mode=0400", ",mode=0444"},
	fault.NoMemoryLimit:   {"MemoryMax=", ""},
}

// planted commits the fault that the build has, if that is one of the rendering's.
func planted(body string) string {
	for name, edit := range edits {
		if !fault.Planted(name) {
			continue
		}
		var out []string
		for line := range strings.SplitSeq(body, "\n") {
			switch old, by := edit[0], edit[1]; {
			case !strings.HasSuffix(old, "="):
				out = append(out, strings.Replace(line, old, by, 1))
			case !strings.HasPrefix(line, old):
				out = append(out, line)
			case by != "":
				out = append(out, by)
			}
		}
		body = strings.Join(out, "\n")
	}
	return body
}
