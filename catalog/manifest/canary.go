package manifest

import "strings"

// canaryBlank stands for the canary's value.
const canaryBlank = "{{canary}}"

// Canary says how state is put into the application and read back through it: by HTTP, by a
// retained MQTT message, by commands in a container, or as a file that the application
// serves. The text {{canary}} stands for a value that is another at every write.
type Canary struct {
	Exec   *ExecCanary   `json:"exec,omitempty"`
	HTTP   *HTTPCanary   `json:"http,omitempty"`
	MQTT   *MQTTCanary   `json:"mqtt,omitempty"`
	Volume *VolumeCanary `json:"volume,omitempty"`
}

// HTTPCanary writes with one request and finds {{canary}} in the answer to another.
type HTTPCanary struct {
	Interface string  `json:"interface"`
	Login     *Login  `json:"login,omitempty"`
	Write     Request `json:"write"`
	Read      Request `json:"read"`
}

// Request is one HTTP request; a Status of 0 accepts any of 200 to 299.
type Request struct {
	Method  string            `json:"method,omitempty"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Status  int               `json:"status,omitempty"`
}

// MQTTCanary is a retained message under Topic.
type MQTTCanary struct {
	Interface string `json:"interface"`
	Topic     string `json:"topic"`
	Login     *Login `json:"login,omitempty"`
}

// ExecCanary writes with one command, and finds {{canary}} in what another one prints: a
// tool of the application, such as psql or redis-cli, in one of its containers, as that
// container's user. Passwords need no place in it, since secrets are files in there.
type ExecCanary struct {
	Container  string   `json:"container"`
	Write      []string `json:"write"`
	Read       []string `json:"read"`
	ExpectExit int      `json:"expect_exit,omitempty"` // status of both; above 124 is Podman's own
}

// VolumeCanary is a file with the name {{canary}}, and with it in it, planted on the disk at
// the top of the volume of that name. It is read back through the application.
type VolumeCanary struct {
	Name   string  `json:"name"`
	Served *Served `json:"served,omitempty"`
}

// Served is where the application serves that file by HTTP.
type Served struct {
	Interface string `json:"interface"`
	Path      string `json:"path"` // with {{canary}}
}

func (d *document) checkExecCanary(names map[string]int, c *ExecCanary) {
	d.checkMember(names, c.Container, "canary", "exec", "container")
	if !strings.Contains(strings.Join(c.Write, " "), canaryBlank) {
		d.report(at("canary", "exec", "write"), false, "no word of the command holds {{canary}}")
	}
}

func (d *document) checkVolumeCanary(m *Manifest, volumes map[string]bool, c *VolumeCanary) {
	if !volumes[c.Name] {
		d.report(at("canary", "volume", "name"), false, "no volume is named %q", c.Name)
	}
	if c.Served == nil {
		d.report(at("canary", "volume"), false, "a file that is only looked for on the disk proves nothing of the application: say where it serves the file, served: {interface, path}, or use http, mqtt or exec")
		return
	}
	d.checkWebInterface(m, c.Served.Interface, "canary", "volume", "served", "interface")
	if !strings.Contains(c.Served.Path, canaryBlank) {
		d.report(at("canary", "volume", "served", "path"), false, "%q does not hold {{canary}}, which is the file's name", c.Served.Path)
	}
}

func (d *document) checkWebInterface(m *Manifest, name string, where ...any) {
	if in, ok := m.Interfaces[name]; !ok || !in.web() {
		d.report(at(where...), false, "no http interface is named %q", name)
	}
}
