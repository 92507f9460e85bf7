package compose

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// dialect is what a store for home servers adds to a compose file: a description beside
// it or an extension in it, variables that it sets, and a proxy of its own.
type dialect struct {
	id, name  string
	self      string // what the store calls it in a variable
	version   string
	summary   string
	port      int    // of the node
	path      string // of the page
	main      string // service
	dependsOn []string
	exports   map[string]string // of exports.sh
	described Place             // of the dependencies
	inside    int               // port of the main service's page in its container
	shown     []described
	asked     map[string]asked // by variable
}

// proxyService is the service by which a store says which port is the web interface.
const proxyService = "app_proxy"

// recognise reads what stands beside the compose file: NAME-app.yml or config.json, and
// exports.sh.
func (im *importer) recognise(env map[string]string) (dialect, error) {
	d := dialect{exports: map[string]string{}, asked: map[string]asked{}}
	about, name, err := im.descriptions()
	if err != nil {
		return d, err
	}
	if about != nil {
		d.described = Place{File: name}
		im.describedBy(&d, about, name, "")
		get := func(key string) string {
			v, _ := child(about, key)
			if v == nil || v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
				return ""
			}
			return v.Value
		}
		d.id, d.name, d.version, d.summary = get("id"), get("name"), get("version"), cmp.Or(get("tagline"), get("short_desc"))
		d.path = cmp.Or(get("path"), get("url_suffix"))
		d.port, _ = strconv.Atoi(get("port"))
	}
	im.asks(&d)
	d.self = cmp.Or(im.ID, d.id, im.named(), "app")
	if _, err := os.Lstat(filepath.Join(im.root, "exports.sh")); err == nil {
		if err := im.exports(&d, env); err != nil {
			return d, err
		}
	}
	return d, nil
}

var exported = regexp.MustCompile(`^\s*export\s+([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// exports reads the values that a shell would set, as far as they are plain text. Nothing
// is run.
func (im *importer) exports(d *dialect, env map[string]string) error {
	_, text, err := im.open("exports.sh", im.root, Place{File: "exports.sh"})
	if err != nil {
		return err
	}
	line, first, lines := 0, 0, 0
	skip := func() {
		if lines++; first == 0 {
			first = line
		}
	}
	for l := range strings.Lines(string(text)) {
		line++
		l = strings.TrimSpace(l)
		m := exported.FindStringSubmatch(l)
		switch {
		case l == "" || strings.HasPrefix(l, "#"):
			continue
		case m == nil:
			skip()
			continue
		}
		value := strings.Trim(m[2], `"`)
		if strings.HasPrefix(m[2], "'") {
			value = strings.ReplaceAll(strings.Trim(m[2], "'"), "$", "$$")
		} else if strings.Contains(value, "$(") || strings.Contains(value, "`") {
			skip()
			continue
		}
		full := true
		value, err := expand(value, func(r reference) (string, error) {
			if v, ok := env[r.name]; ok {
				return v, nil
			}
			if v, ok := d.exports[r.name]; ok {
				return v, nil
			}
			if r.name == "EXPORTS_APP_DIR" || r.name == "APP_DATA_DIR" {
				return ".", nil
			}
			full = full && strings.HasSuffix(r.op, "-")
			return r.arg, nil
		})
		if err != nil || !full {
			im.left("", "exports.sh", Place{"exports.sh", line}, m[1]+" is made of what only the store knows", "a setting, or a generated secret")
			continue
		}
		if _, again := d.exports[m[1]]; !again {
			im.note("", "exports.sh", Place{"exports.sh", line}, m[1]+" is taken from here; what other applications may use of this one is said by exports")
		}
		d.exports[m[1]] = value
	}
	if lines > 0 {
		im.left("", "exports.sh", Place{"exports.sh", first}, fmt.Sprintf("a shell script is not run: %d lines from here on", lines), "settings, generated secrets, or what the image does at its start")
	}
	return nil
}

// value is that of a variable that a store sets. The seed and the password become secrets
// where they stand in an environment.
func (d dialect) value(name string, u use) (string, bool) {
	if v, ok := d.exports[name]; ok {
		return v, true
	}
	if a := d.asked[name]; a.fallback != "" && u&inText == 0 {
		return a.fallback, true
	}
	switch name {
	case "APP_DATA_DIR", "APP_ROOT", "ROOT_FOLDER_HOST", "UMBREL_ROOT":
		if u&(inVolume|inElse) != 0 {
			return map[bool]string{true: ".", false: "./" + sharedFolders}[strings.HasPrefix(name, "APP_")], true
		}
	case "APP_PORT":
		if u == inPort && d.port > 0 {
			return strconv.Itoa(d.port), true
		}
	case "AppID", "APP_ID":
		return d.self, true
	case "PUID", "PGID":
		return "1000", true
	case "UMASK":
		return "022", true
	}
	return "", false
}

// foreign gives the application whose variable it is, of those that this one requires.
func (d dialect) foreign(variable string) string {
	for _, other := range d.dependsOn {
		if strings.HasPrefix(variable, "APP_"+strings.ToUpper(strings.ReplaceAll(other, "-", "_"))+"_") {
			return other
		}
	}
	return ""
}

// othersFolder stands for what belongs to another application.
const othersFolder = "_app"

// sharedFolders stands for what a store keeps for all applications.
const sharedFolders = "_shared"

// extensions read what stands in the files themselves.
func (im *importer) extensions() {
	im.dialect.extension(im.project.Extensions)
	im.dialect.pages(im.project.Services)
	for _, s := range im.order {
		for _, doc := range s.docs {
			if x, _ := child(doc, "x-casaos"); x != nil && x.Kind == yaml.MappingNode {
				im.describedBy(&im.dialect, x, s.name, "x-casaos.")
			}
		}
	}
}

// extension reads what stands in the file itself: a description under x-casaos.
func (d *dialect) extension(all map[string]any) {
	x, ok := all["x-casaos"].(map[string]any)
	if !ok {
		return
	}
	text := func(v any) string {
		if m, ok := v.(map[string]any); ok { // by language
			for _, lang := range []string{"en_us", "en_US", "custom", "en_gb"} {
				if s, ok := m[lang].(string); ok && s != "" {
					return s
				}
			}
			return ""
		}
		if v == nil {
			return ""
		}
		return fmt.Sprint(v)
	}
	d.main, d.name, d.summary, d.path = text(x["main"]), cmp.Or(text(x["title"]), d.name), cmp.Or(text(x["tagline"]), d.summary), text(x["index"])
	d.id = cmp.Or(text(x["store_app_id"]), d.id)
	d.port, _ = strconv.Atoi(text(x["port_map"]))
}

// pages reads which service has the page, and at which of its ports, where a store says it
// in an extension of the service.
func (d *dialect) pages(services types.Services) {
	for _, name := range sortedKeys(services) {
		x, ok := services[name].Extensions["x-runtipi"].(map[string]any)
		if !ok {
			continue
		}
		is, _ := x["is_main"].(bool)
		if port := number(x["internal_port"]); port > 0 && port < 65536 && (is || d.inside == 0) {
			d.main, d.inside = name, port
		}
	}
}

// describe writes the head of the manifest.
func (im *importer) describe() {
	d := im.dialect
	main := im.members[im.main()]
	name := cmp.Or(oneLine(d.name), strings.ToUpper(im.ID[:1])+strings.ReplaceAll(im.ID[1:], "-", " "))
	im.top.set("id", scalar(im.ID))
	im.top.set("name", scalar(name))
	version := strings.TrimPrefix(cmp.Or(d.version, tagOf(main.Image)), "v")
	if !versionForm.MatchString(version) {
		im.left("", "version", im.place("services", main.Name, "image"), "the image does not say which version of the application it is", "the version that the image holds")
		version = "0.0.0"
	}
	im.top.set("version", scalar(version))
	if s := oneLine(d.summary); s != "" {
		im.top.set("summary", scalar(s).from("", "summary", d.described))
	}
	im.list()
}

var versionForm = regexp.MustCompile(`^[0-9][0-9A-Za-z.+~_-]{0,63}$`)

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:199]) + "…"
	}
	return s
}

// tagOf is the tag of a reference; empty where it has none.
func tagOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[i+1:]
	}
	return ""
}

// proxied is the service and the port that the store's proxy names.
func (im *importer) proxied() (service string, port int) {
	s, ok := im.project.Services[proxyService]
	if !ok {
		return "", 0
	}
	get := func(name string) string {
		if v := s.Environment[name]; v != nil {
			return *v
		}
		return ""
	}
	host := get("APP_HOST")
	if name, ok := onlyMark(host); ok {
		host = im.address[name]
	}
	port, _ = strconv.Atoi(get("APP_PORT"))
	for _, name := range im.services() {
		// NAME_SERVICE_1 is what the container of a service was called.
		short := strings.TrimSuffix(strings.TrimSuffix(host, "_1"), "-1")
		if host == name || host == im.project.Services[name].ContainerName || strings.HasSuffix(short, "_"+name) || strings.HasSuffix(short, "-"+name) {
			service = name
		}
	}
	if im.top != nil {
		return service, port
	}
	for _, key := range sortedKeys(s.Environment) {
		if v := s.Environment[key]; key != "APP_HOST" && key != "APP_PORT" && (v == nil || *v != "false") {
			im.left("", "services."+proxyService+".environment."+key, im.place("services", proxyService, "environment", key), "the store's proxy is not carried, and with it who may pass", "a login of the application's own: interfaces.web.login")
		}
	}
	return service, port
}

// services are the names of all services, in the order of the files.
func (im *importer) services() []string {
	var names []string
	for _, s := range im.order {
		for _, doc := range s.docs {
			all, _ := child(doc, "services")
			if all == nil || all.Kind != yaml.MappingNode {
				continue
			}
			for i := 0; i < len(all.Content); i += 2 {
				n := all.Content[i].Value
				if _, ok := im.project.Services[n]; ok && !slices.Contains(names, n) {
					names = append(names, n)
				}
			}
		}
	}
	for _, n := range sortedKeys(im.project.Services) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
