package manifest

// Export is what the application offers others that require it: a service, which is a port
// of one of its containers with the generated secrets that are its credentials, or a volume.
// Others reach nothing else of an application that has exports.
type Export struct {
	Container   string            `json:"container,omitempty"`   // of a service; default: the one with the application's name
	Port        int               `json:"port,omitempty"`        // of a service, as its container listens on it
	Credentials map[string]string `json:"credentials,omitempty"` // of a service: what others call it -> generated secret
	Volume      string            `json:"volume,omitempty"`
	ReadOnly    bool              `json:"read_only,omitempty"` // of a volume: nobody else writes to it
}

// checkExports wants what is exported to be there, and to be one of the two.
func (d *document) checkExports(m *Manifest, names map[string]int, secrets, volumes map[string]bool) {
	for name, e := range m.Exports {
		where := func(field ...any) []string { return at(append([]any{"exports", name}, field...)...) }
		switch {
		case (e.Port == 0) == (e.Volume == ""):
			d.report(where(), false, "expected either port, for a service, or volume")
		case e.Volume != "":
			if !volumes[e.Volume] {
				d.report(where("volume"), false, "no volume is named %q", e.Volume)
			}
			if e.Container != "" || len(e.Credentials) > 0 {
				d.report(where(), false, "container and credentials go with the port of a service")
			}
		default:
			if e.ReadOnly {
				d.report(where("read_only"), false, "read_only goes with a volume")
			}
			if e.Container != "" {
				d.checkMember(names, e.Container, "exports", name, "container")
			}
			for called, secret := range e.Credentials {
				if called == "host" || called == "port" {
					d.report(where("credentials", called), true, "{{app:%s.%s.%s}} is the service's own %[3]s; call the credential something else", m.ID, name, called)
				}
				if !secrets[secret] {
					d.report(where("credentials", called), false, "no generated secret is named %q", secret)
				}
			}
		}
	}
}
