package compose

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// Bounds of the manifest's language for files, beside those of manifest.MaxFile and
// manifest.MaxFiles.
const mostFiles = 32

// written are files that programs write to; a container cannot write to a file of the
// manifest.
var written = regexp.MustCompile(`(?i)\.(db|sqlite3?|log|pid|lock)$|/acme\.json$`)

// text gives a container a text as a file, and lists what is in the way.
func (im *importer) text(m *member, field, target, text, mode string, at Place) {
	instead := "files: [{path: " + target + ", content}], of what the program needs of it"
	text, template, reason := im.filled(m, field, text, at)
	files := m.node.get("files")
	switch {
	case reason != "":
	case text == "":
		im.note(m.Name, field, at, "the file "+target+" is empty, so it is left out")
		return
	case len(text) > manifest.MaxFile:
		reason = fmt.Sprintf("the file %s has %d bytes; a manifest takes %d of each", target, len(text), manifest.MaxFile)
	case im.filesSize+len(text) > manifest.MaxFiles:
		reason = fmt.Sprintf("with the file %s there were more than %d bytes of files", target, manifest.MaxFiles)
	case files != nil && len(files.items) == mostFiles:
		reason = fmt.Sprintf("a container has at most %d files; %s is left", mostFiles, target)
	}
	if reason != "" {
		im.left(m.Name, field, at, reason, instead)
		return
	}
	im.filesSize += len(text)
	for _, name := range hostToken.FindAllString(text, -1) {
		im.further(m, name)
	}
	n := mapping()
	n.set("path", scalar(target))
	if mode != "" && !strings.Contains(text, "{{secret:") { // which has a mode of its own
		n.set("mode", scalar(mode))
	}
	if template {
		n.set("template", scalar(true))
	}
	n.set("content", block(text))
	if files == nil {
		files = sequence()
		m.node.set("files", files)
	}
	files.add(n.from(m.Name, field, at))
}

// filledIn is how a text of the manifest refers to something.
var filledIn = regexp.MustCompile(`\{\{[a-z]+:[^{}\n]*\}\}`)

// filled writes settings and secrets in the place of variables, and of secrets' values,
// and tells whether there are any.
func (im *importer) filled(m *member, field, text string, at Place) (out string, template bool, reason string) {
	own := filledIn.MatchString(text)
	out = mark.ReplaceAllStringFunc(text, func(ref string) string {
		name, _ := onlyMark(ref)
		if secret := im.secrets.of["var:"+name]; secret != "" {
			return "{{secret:" + secret + "}}"
		}
		if sensitive(name) {
			return "{{secret:" + im.makeSecret(candidate{member: m, key: name, what: "var:" + name, field: field, at: at}, 2) + "}}"
		}
		return im.inTheClear(m, field, ref, at)
	})
	for _, what := range sortedKeys(im.secrets.of) {
		if value, literal := strings.CutPrefix(what, "val:"); literal && len(value) >= 8 {
			out = strings.ReplaceAll(out, value, "{{secret:"+im.secrets.of[what]+"}}")
		}
	}
	if template = out != text && filledIn.MatchString(out); template && own {
		return text, false, "the text has {{…}} of its own, which would be taken for a setting"
	}
	return out, template, ""
}

// configs carries configuration files (compose-spec, 08-configs.md).
func (im *importer) configs(m *member) {
	for _, c := range m.Configs {
		at := im.place("services", m.Name, "configs", c.Source)
		target := cmp.Or(c.Target, "/"+c.Source)
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
		mode := ""
		if c.Mode != nil {
			mode = perm(fs.FileMode(*c.Mode))
		}
		if c.UID != "" || c.GID != "" {
			im.note(m.Name, "configs", at, "a file belongs to the user of its container: "+target)
		}
		def, declared := im.project.Configs[c.Source]
		text := def.Content
		switch {
		case !declared || bool(def.External):
			im.left(m.Name, "configs", at, "the configuration file is somebody else's: "+target, "files: [{path: "+target+", content}]")
			continue
		case def.File != "":
			im.carry(m, "configs", def.File, target, mode, true, at)
			continue
		case def.Environment != "":
			if v, known := im.env[def.Environment]; known {
				text = v
			} else {
				text = string(markBegin) + def.Environment + string(markEnd)
				if im.vars[def.Environment] == nil {
					im.vars[def.Environment] = &variable{name: def.Environment}
				}
			}
		}
		im.text(m, "configs", target, text, mode, at)
	}
}

// perm is a mode as the language has it: nobody but the owner's own writes. "" is its default.
func perm(mode fs.FileMode) string {
	if mode = mode.Perm()&^0o222 | 0o600; mode&0o111 != 0 {
		mode |= 0o100
	}
	if mode == 0o644 || mode&0o077 == 0o044 && mode&0o100 == 0 {
		return ""
	}
	return fmt.Sprintf("%#04o", mode)
}

// carry gives a container a file that lies beside the compose file.
func (im *importer) carry(m *member, field, source, target, mode string, readOnly bool, at Place) {
	rel := im.relative(source)
	instead := "files: [{path: " + target + ", source}], with the file beside the manifest"
	p, text, err := im.open(source, im.root, at)
	switch {
	case err != nil && os.IsNotExist(cause(err)):
		im.left(m.Name, field, at, fmt.Sprintf("the file %s, at %s, is not there", rel, target), instead)
		return
	case err != nil:
		im.left(m.Name, field, at, fmt.Sprintf("the file %s, at %s, cannot be carried: %v", rel, target, cause(err)), instead)
		return
	case written.MatchString(target):
		im.left(m.Name, field, at, fmt.Sprintf("the program writes to %s, and cannot write to a file of the manifest", target), "a volume for the directory that it is in")
		return
	}
	if field == "volumes" && !readOnly {
		im.note(m.Name, field, at, "the container only reads "+target)
	}
	if info, err := os.Stat(p); err == nil && mode == "" && info.Mode()&0o111 != 0 {
		mode = "0755"
	}
	im.text(m, field, target, string(text), mode, at)
}

// cause is what went wrong, without the place, which is said anyway.
func cause(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || u.Unwrap() == nil {
			return err
		}
		err = u.Unwrap()
	}
}

// folder are the files of a directory that is only read, if they are few and texts.
func (im *importer) folder(dir string) (files []string) {
	size := int64(0)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() || d.Name() == ".gitkeep" || d.Name() == ".gitignore":
			return nil
		case !d.Type().IsRegular() || len(files) == mostFiles:
			return fs.ErrInvalid
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if size += info.Size(); info.Size() > manifest.MaxFile || size > manifest.MaxFiles {
			return fs.ErrInvalid
		}
		files = append(files, p)
		return nil
	})
	if err != nil {
		return nil
	}
	return files
}

// carryFolder gives a container the files of a directory that it only reads.
func (im *importer) carryFolder(m *member, dir, target string, files []string, at Place) {
	for _, f := range files {
		rel, err := filepath.Rel(dir, f)
		if err != nil {
			continue
		}
		im.carry(m, "volumes", f, path.Join(target, filepath.ToSlash(rel)), "", true, at)
	}
}

// script gives a shell's text that is longer than the language takes in a command to a
// container as a file, and the words that run it.
func (im *importer) script(m *member, field string, all []string) []string {
	if len(all) != 3 || !shells[path.Base(all[0])] || !strings.HasPrefix(all[1], "-") || !strings.HasSuffix(all[1], "c") {
		return all
	}
	if text := mark.ReplaceAllString(all[2], "x"); !strings.Contains(strings.TrimSpace(text), "\n") && len([]rune(text)) <= longest {
		return all
	}
	name := "/usr/local/share/" + m.name + "-" + strings.ReplaceAll(field, ".", "-") + ".sh"
	before := m.node.get("files")
	count := 0
	if before != nil {
		count = len(before.items)
	}
	im.text(m, field, name, im.rehostIn(all[2]), "", im.place("services", m.Name, field))
	if after := m.node.get("files"); after == nil || len(after.items) == count {
		return all
	}
	im.note(m.Name, field, im.place("services", m.Name, field), "the shell's text is the file "+name)
	words := []string{all[0]}
	if flags := strings.TrimSuffix(all[1], "c"); flags != "-" {
		words = append(words, flags)
	}
	return append(words, name)
}

var shells = map[string]bool{"sh": true, "bash": true, "ash": true, "dash": true}

// longest is how many characters a word of a command may have.
const longest = 300

// further gives a member a further name of another one, where a text of its calls it that.
func (im *importer) further(m *member, name string) {
	container := im.aliases[name]
	if container == "" || !aliasForm.MatchString(name) || slices.ContainsFunc(im.members, func(o *member) bool { return o.name == name }) {
		return
	}
	hosts := m.node.get("extra_hosts")
	if hosts == nil {
		hosts = mapping()
		m.node.set("extra_hosts", hosts)
	}
	if hosts.get(name) == nil && len(hosts.items) < mostHosts {
		hosts.set(name, scalar(container).from(m.Name, "extra_hosts", im.place("services", m.Name)))
	}
}

// mostHosts is how many further names a container may declare.
const mostHosts = 8

var aliasForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// furtherHosts carries the names that the files give to members beyond those of their
// services; and all names, for a program that is built here, which may know them.
func (im *importer) furtherHosts(m *member) {
	for _, link := range m.Links {
		if _, alias, ok := strings.Cut(link, ":"); ok {
			im.further(m, alias)
		}
	}
	for _, network := range sortedKeys(m.Networks) {
		if n := m.Networks[network]; n != nil {
			for _, alias := range n.Aliases {
				im.further(m, alias)
				if !aliasForm.MatchString(alias) {
					im.note(m.Name, "networks."+network+".aliases", im.place("services", m.Name, "networks", network, "aliases", alias), "texts that call the container "+alias+" call it "+m.name)
				}
			}
		}
	}
	if m.Build != nil {
		for _, o := range im.members {
			im.further(m, o.Name)
		}
	}
	for _, h := range sortedKeys(m.ExtraHosts) {
		at := im.place("services", m.Name, "extra_hosts", h)
		member := ""
		for _, address := range m.ExtraHosts[h] {
			if name, ok := onlyMark(address); ok {
				address = im.address[name]
			}
			member = cmp.Or(member, im.aliases[address])
		}
		switch {
		case member != "" && aliasForm.MatchString(h):
			im.aliases[h] = cmp.Or(im.aliases[h], member)
			im.further(m, h)
		case strings.HasPrefix(h, "host.") && strings.HasSuffix(h, ".internal"):
			im.left(m.Name, "extra_hosts", at, "the node itself is not reached from a container: "+h, "requires: [{app: ID}], if it is another application that is to be reached there; a setting with an address, if it is something else")
		default:
			im.left(m.Name, "extra_hosts", at, "names of other machines are not given to containers: "+h, "the address itself, as a setting; another application by requires")
		}
	}
}
