package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// A variable without a value stays in a text as a mark, where the language may have a
// setting or a secret in its place. No file that is read has these two characters in it.
const (
	markBegin = '\uE000'
	markEnd   = '\uE001'
)

var mark = regexp.MustCompile(string(markBegin) + `([^` + string(markEnd) + `]*)` + string(markEnd))

func marked(s string) bool { return strings.ContainsRune(s, markBegin) }

// onlyMark gives the variable that is all of a text.
func onlyMark(s string) (name string, ok bool) {
	if m := mark.FindStringSubmatch(s); m != nil && m[0] == s {
		return m[1], true
	}
	return "", false
}

// use is where a text with variables stands.
type use int

const (
	inText   use = 1 << iota // of an environment, a command or a check
	inVolume                 // where a mount comes from
	inPort
	inName // where something has to stand
	inFlag
	inAmount // a number or a size, or how long something takes
	inElse
)

// variable is one that has no value.
type variable struct {
	name, fallback string
	defaults       bool // fallback is what the file says, be it empty
	required       string
	at             Place // of the fallback
	amid           bool  // it stands in the middle of a text somewhere

	setting string // its name, once it has become one
}

// reference is a variable in a text, with what is to be done where it has no value.
type reference struct{ name, op, arg string }

// expand replaces the variables of a text (compose-spec, 12-interpolation.md).
func expand(s string, value func(reference) (string, error)) (string, error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return b.String() + s, nil
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		var r reference
		switch {
		case strings.HasPrefix(s, "$"):
			b.WriteByte('$')
			s = s[1:]
			continue
		case strings.HasPrefix(s, "{"):
			end := closing(s)
			if end < 0 {
				return "", fmt.Errorf("${ has no end; a dollar sign is written $$")
			}
			m := braced.FindStringSubmatch(s[1:end])
			if m == nil {
				return "", fmt.Errorf("${%s} is no variable; a dollar sign is written $$", s[1:end])
			}
			r, s = reference{m[1], m[2], m[3]}, s[end+1:]
		default:
			name := named.FindString(s)
			if name == "" { // it begins no variable
				b.WriteByte('$')
				continue
			}
			r, s = reference{name: name}, s[len(name):]
		}
		v, err := value(r)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
	}
}

var (
	named  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)
	braced = regexp.MustCompile(`(?s)^([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])(.*))?$`)
)

// addressWord matches a variable that is the address at which a port is published.
var addressWord = regexp.MustCompile(`(^|_)(IP|ADDR|ADDRESS|BIND|INTERFACE)$|^HOST$`)

// closing finds the brace that closes the first one.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch {
		case s[i] == '{' && (i == 0 || s[i-1] == '$'):
			depth++
		case s[i] == '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// survey notes where each text with variables stands, before anything is replaced.
func (im *importer) survey(s *source, doc *yaml.Node) {
	var walk func(n *yaml.Node, path []string)
	walk = func(n *yaml.Node, path []string) {
		n = target(n)
		if n == nil {
			return
		}
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				name := n.Content[i].Value
				if name == "<<" {
					for _, m := range items(n.Content[i+1]) {
						walk(m, path)
					}
					continue
				}
				walk(n.Content[i+1], append(slices.Clone(path), name))
			}
		case yaml.SequenceNode:
			for _, c := range n.Content {
				walk(c, path)
			}
		case yaml.ScalarNode:
			if strings.Contains(n.Value, "$") {
				im.seen(n.Value, Place{s.name, n.Line}, path)
			}
		}
	}
	walk(doc, nil)
}

func (im *importer) seen(text string, at Place, path []string) {
	u := usage(path)
	im.uses[text] |= u
	if u == inAmount {
		im.amount[text] = path[len(path)-1]
	}
	if _, ok := im.places[text]; !ok {
		im.places[text] = at
	}
	service, isService := "", len(path) > 2 && path[0] == "services"
	if isService {
		service = path[1]
	}
	if isService && path[len(path)-1] == "container_name" {
		_, _ = expand(text, func(r reference) (string, error) { im.names[r.name] = true; return "", nil })
	}
	if u != inText && u != 0 {
		_, _ = expand(text, func(r reference) (string, error) { im.fixed[r.name] = true; return "", nil })
	}
	if isService && path[len(path)-1] == "ipv4_address" {
		_, _ = expand(text, func(r reference) (string, error) { im.address[r.name] = service; return "", nil })
	}
}

// amounts are what stands for one that has no value: mostly none.
var amounts = map[string]string{
	"shm_size": "0", "mem_limit": "0", "mem_reservation": "0", "memswap_limit": "0", "memory": "0", "cpus": "0", "cpu_count": "0", "cpu_shares": "0", "cpu_quota": "0", "pids_limit": "0", "pids": "0",
	"mem_swappiness": "0", "oom_score_adj": "0", "replicas": "1", "scale": "1", "stop_grace_period": "10s", "interval": "30s", "timeout": "30s", "start_period": "30s", "start_interval": "5s", "retries": "3",
}

// usage is by the names that lead to a text.
func usage(path []string) use {
	if len(path) == 0 || strings.HasPrefix(path[0], "x-") || path[0] == "include" {
		return 0
	}
	switch path[len(path)-1] {
	case "read_only", "privileged", "init", "tty", "stdin_open", "internal", "disable", "oom_kill_disable":
		return inFlag
	}
	if _, ok := amounts[path[len(path)-1]]; ok && path[0] == "services" && len(path) > 2 && path[2] != "environment" {
		return inAmount
	}
	if path[0] == "configs" && path[len(path)-1] == "content" {
		return inText
	}
	if path[0] == "configs" || path[0] == "secrets" {
		return inElse
	}
	if path[0] != "services" || len(path) < 3 {
		return inElse
	}
	switch path[2] {
	case "environment", "command", "entrypoint", "healthcheck":
		return inText
	case "volumes", "tmpfs":
		return inVolume
	case "ports":
		return inPort
	case "labels", "annotations", "logging", "networks", "expose", "profiles":
		return 0
	case "extra_hosts", "container_name", "hostname":
		return inName
	}
	return inElse
}

// substitute replaces the variables of one text of the files.
func (im *importer) substitute(text string, lookup template.Mapping) (string, error) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	out, err := expand(text, func(r reference) (string, error) { return im.value(r, text, lookup) })
	if err != nil {
		if at := im.places[text]; at.File != "" {
			return "", fmt.Errorf("%s: %w", at, err)
		}
		return "", err
	}
	return out, nil
}

func (im *importer) value(r reference, text string, lookup template.Mapping) (string, error) {
	v, set := lookup(r.name)
	full := set && (v != "" || !strings.HasPrefix(r.op, ":"))
	nested := func() (string, error) {
		return expand(r.arg, func(r reference) (string, error) { return im.value(r, text, lookup) })
	}
	if strings.HasSuffix(r.op, "+") {
		if !full {
			return "", nil
		}
		return nested()
	}
	if full {
		return v, nil
	}
	u := im.uses[text]
	if u == inText && im.address[r.name] != "" {
		return string(markBegin) + r.name + string(markEnd), nil
	}
	if other := im.dialect.foreign(r.name); other != "" && u&inVolume != 0 {
		return "./" + othersFolder + "/" + other, nil
	}
	if v, ok := im.dialect.value(r.name, u); ok {
		return v, nil
	}
	fallback, defaults := "", strings.HasSuffix(r.op, "-")
	if defaults {
		var err error
		if fallback, err = nested(); err != nil || marked(fallback) {
			return fallback, err
		}
		if u&^inText != 0 || im.fixed[r.name] && fallback != "" {
			return fallback, nil
		}
	}
	switch {
	case u == inText && im.names[r.name]: // of a container
		return slug(r.name), nil
	case u == inText:
		k := im.vars[r.name]
		if k == nil {
			k = &variable{name: r.name}
			im.vars[r.name] = k
		}
		if at := im.places[text]; defaults && (!k.defaults || at.before(k.at)) { // the first one counts
			k.defaults, k.fallback, k.at = true, fallback, at
		}
		if strings.HasSuffix(r.op, "?") {
			k.required = max(k.required, r.arg)
		}
		return string(markBegin) + r.name + string(markEnd), nil
	case u&inVolume != 0:
		return "./" + strings.ToLower(r.name), nil
	case u&inAmount != 0:
		amount := amounts[im.amount[text]]
		im.left("", im.amount[text], im.places[text], fmt.Sprintf("the variable %s has no value; %s stands for it", r.name, amount), "a value in .env, or --env "+r.name+"=…")
		return amount, nil
	case u&inPort != 0 && addressWord.MatchString(r.name):
		return "0.0.0.0", nil
	case u&inPort != 0:
		if strings.ContainsAny(text, "0123456789") {
			return "", nil
		}
		im.left("", "ports", im.places[text], fmt.Sprintf("the variable %s has no value; 8080 stands for it", r.name), "a value in .env, or --env "+r.name+"=…")
		return "8080", nil
	case u == inFlag:
		return "false", nil
	case u&inName != 0:
		return strings.Trim(slug(r.name), "-"), nil
	case strings.HasSuffix(r.op, "?"):
		return "", fmt.Errorf("the variable %s needs a value (%s): write it into .env, or give --env %[1]s=…", r.name, r.arg)
	}
	return "", nil
}

// load has the library read the files, merge them and write them out.
func (im *importer) load(ctx context.Context, files []string, env map[string]string) (p *types.Project, err error) {
	defer func() {
		if v := recover(); v != nil {
			p, err = nil, fmt.Errorf("%s: not a compose file: %v", im.order[0].name, v)
		}
	}()
	details := types.ConfigDetails{WorkingDir: im.root, Environment: maps.Clone(env)}
	for _, f := range files {
		path, err := im.inside(f, im.root, Place{File: f})
		if err != nil {
			return nil, err
		}
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: path, Content: im.sources[path].text})
	}
	p, err = loader.LoadWithContext(ctx, details, func(o *loader.Options) {
		o.SetProjectName("import", true)
		o.SkipConsistencyCheck = true // what a store adds is missing, and is looked for here
		o.SkipNormalization = true
		o.SkipResolveEnvironment = true
		o.Profiles = []string{"*"}
		o.SkipResolveLabels = true
		o.Interpolate.Substitute = im.substitute
	}, loader.WithSupportedAttributes(supported(), im.others))
	if err != nil {
		return nil, im.located(strings.ReplaceAll(err.Error(), im.root+"/", ""))
	}
	if len(p.Services) == 0 {
		return nil, fmt.Errorf("%s: it has no services", im.order[0].name)
	}
	return p, nil
}

var (
	unknownField = regexp.MustCompile(`(\S+) false schema$`)
	ofField      = regexp.MustCompile(`\b(services|networks|volumes|secrets|configs)\.[^\s:']+`)
	ofLine       = regexp.MustCompile(`\S+:\d+: .*`)
)

// located gives an error of the library its place, by the field that it names.
func (im *importer) located(message string) error {
	if at := ofLine.FindString(message); at != "" {
		return errors.New(at) // from here
	}
	field := ofField.FindString(message)
	at := Place{File: im.order[0].name}
	if field != "" {
		at = im.place(strings.Split(strings.ReplaceAll(field, ".[]", ""), ".")...)
	}
	if m := unknownField.FindStringSubmatch(message); m != nil {
		return fmt.Errorf("%s: %s: no field of a compose file has this name", at, m[1])
	}
	message = strings.TrimPrefix(message, "validating "+im.order[0].name+": ")
	return fmt.Errorf("%s: %s", at, message)
}
