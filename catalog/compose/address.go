package compose

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

const (
	ofDomain = string(markBegin) + `(?:DEVICE_DOMAIN_NAME|APP_DOMAIN)` + string(markEnd)
	ofPort   = string(markBegin) + `[A-Z0-9_]*PORT` + string(markEnd)
)

var (
	storesURL    = regexp.MustCompile(`(?:https?|` + string(markBegin) + `APP_PROTOCOL` + string(markEnd) + `)://` + ofDomain + `(?::([0-9]+|` + ofPort + `))?`)
	storesDomain = regexp.MustCompile(ofDomain)
	storesHost   = regexp.MustCompile(string(markBegin) + `DEVICE_HOSTNAME` + string(markEnd))
	storesPort   = regexp.MustCompile(string(markBegin) + `APP_PORT` + string(markEnd))
)

// reached writes what a store says of where its device and the application are reached, in
// a text that everybody may read, as the language says it of the node.
func (im *importer) reached(m *member, field, text string, at Place) string {
	unknown := func(name string) bool {
		k := im.vars[name]
		return k != nil && k.setting == "" && k.fallback == ""
	}
	out := text
	page := slices.IndexFunc(im.members, func(o *member) bool { return o.http > 0 })
	if unknown("DEVICE_DOMAIN_NAME") || unknown("APP_DOMAIN") {
		if page >= 0 {
			out = storesURL.ReplaceAllStringFunc(out, func(url string) string {
				port := storesURL.FindStringSubmatch(url)[1]
				if n, err := strconv.Atoi(port); err == nil && !im.pagesPort(im.members[page], n) {
					return url
				}
				return "{{url:web}}"
			})
		}
		out = storesDomain.ReplaceAllString(out, "{{node:name}}.local")
	}
	if unknown("DEVICE_HOSTNAME") {
		out = storesHost.ReplaceAllString(out, "{{node:name}}")
	}
	if unknown("APP_PORT") && page >= 0 {
		out = storesPort.ReplaceAllString(out, "{{port:web}}")
	}
	if out != text {
		im.note(m.Name, field, at, fmt.Sprintf("where a store's device is reached is here where the node is: %s", mark.ReplaceAllString(out, "$1")))
	}
	return out
}

// pagesPort tells whether the page is meant by a port of the store's device.
func (im *importer) pagesPort(m *member, port int) bool {
	return port == im.dialect.port || slices.ContainsFunc(m.Ports, func(p types.ServicePortConfig) bool {
		return int(p.Target) == m.http && strings.Split(p.Published, "-")[0] == strconv.Itoa(port)
	})
}
