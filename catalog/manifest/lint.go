package manifest

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The rules of warnings.
const (
	RuleFloatingTag = "floating-tag" // the tag of an image names another one tomorrow
	RuleNoHealth    = "no-health"
	RuleRootUser    = "root-user"
	RuleNoCanary    = "no-canary"
	RuleNoBudget    = "no-budget"
	RuleEnvSecret   = "secret-in-environment"
	RuleWholeApp    = "requires-whole-application"
	RuleNoIcon      = "no-icon"
	RuleNoCategory  = "no-category"
	RuleNoTagline   = "no-tagline"
)

// Rules are all rules, with what each is about.
var Rules = map[string]string{
	RuleSyntax:       "A manifest is one YAML document without anchors, aliases, tags and merge keys",
	RuleUnknownField: "Only fields of the language",
	RuleMissingField: "A field that must be there",
	RuleType:         "A value of another type",
	RuleValue:        "A value that may not be there",
	RuleMeaning:      "A manifest agrees with itself",
	RuleFloatingTag:  "The tag of an image says which version it is",
	RuleNoHealth:     "Every container has a health check",
	RuleRootUser:     "No container runs as root",
	RuleNoCanary:     "A canary proves that data is kept",
	RuleNoBudget:     "An application says how long it takes to start",
	RuleEnvSecret:    "Secrets are files, not environment variables",
	RuleWholeApp:     "An application says what it uses of those that it requires",
	RuleNoIcon:       "An application has an icon",
	RuleNoCategory:   "An application is of a category",
	RuleNoTagline:    "An application has a tagline",
}

// Lint reads a manifest as Parse does and, beside what is wrong with it, says what is
// valid and yet unwise. Both are in the order of the file. m is nil where there are
// problems. The error is that of the program itself.
func Lint(name string, src []byte) (m *Manifest, problems, warnings []Problem, err error) {
	return lintIn(name, "", src)
}

// LintFile is Lint for the text of the manifest at path, with the files beside it that are its
// sources.
func LintFile(path string, src []byte) (m *Manifest, problems, warnings []Problem, err error) {
	return lintIn(path, filepath.Dir(path), src)
}

func lintIn(name, dir string, src []byte) (m *Manifest, problems, warnings []Problem, err error) {
	d := &document{name: name, dir: dir}
	if m, err = d.read(src); err != nil {
		return nil, nil, nil, err
	}
	if m != nil {
		w := &document{name: name, root: d.root}
		w.lint(m)
		warnings = slices.DeleteFunc(w.error().Problems, func(p Problem) bool { return d.within(p.Field) })
	}
	if len(d.problems) > 0 {
		return nil, d.error().Problems, warnings, nil
	}
	return m, nil, warnings, nil
}

var (
	// floating are tags that registries move from one version to the next.
	floating = regexp.MustCompile(`^(latest|stable|edge|main|master|nightly|rolling|dev|release)$`)
	// secretive are the names of variables whose values are secrets, as far as they are no
	// names of files.
	secretive = regexp.MustCompile(`(^|_)(PASS|PASSWD|PASSWORD|SECRET|TOKEN|APIKEY|API_KEY|PRIVATE_KEY|CREDENTIALS?)$`)
)

func (d *document) lint(m *Manifest) {
	warn := func(rule string, path []string, key bool, format string, args ...any) {
		d.report(path, key, format, args...)
		d.problems[len(d.problems)-1].Rule = rule
	}
	for i, c := range m.Containers {
		if c.Image.Ref != "" {
			_, tag, tagged := strings.Cut(c.Image.Ref[strings.LastIndexByte(c.Image.Ref, '/')+1:], ":")
			switch {
			case !tagged:
				warn(RuleFloatingTag, at("containers", i, "image", "ref"), false, "no tag says which version this is; the digest alone decides, and nobody can read it")
			case floating.MatchString(tag):
				warn(RuleFloatingTag, at("containers", i, "image", "ref"), false, "the tag %q moves from version to version; expected the one of this version", tag)
			}
		}
		if c.Health == nil {
			warn(RuleNoHealth, at("containers", i), false, "%s has no health check: it counts as healthy as soon as it has started", c.Name)
		}
		if uid, _ := c.IDs(); c.User == "" {
			warn(RuleRootUser, at("containers", i), false, "%s has no user, so it runs as the image's, which is root unless the image says otherwise; expected a number, such as user: \"1000:1000\"", c.Name)
		} else if uid == 0 {
			warn(RuleRootUser, at("containers", i, "user"), false, "%s runs as root in its container; expected another user, such as \"1000:1000\"", c.Name)
		}
		for j, s := range c.Secrets {
			if s.Env != "" {
				warn(RuleEnvSecret, at("containers", i, "secrets", j, "env"), false, "every process of the container inherits this variable; if the image can read the secret from a file, use path")
			}
		}
		for j, in := range c.Imports {
			if in.Env != "" {
				warn(RuleEnvSecret, at("containers", i, "imports", j, "env"), false, "every process of the container inherits this variable; if the image can read the credential from a file, use path")
			}
		}
		for k, v := range c.Environment {
			if secretive.MatchString(k) && !strings.HasPrefix(v, "/") {
				warn(RuleEnvSecret, at("containers", i, "environment", k), false, "looks like a secret, and a manifest is public; expected a generated secret or a secret setting, which the container gets by secrets")
			}
		}
	}
	if m.Canary == nil {
		warn(RuleNoCanary, nil, false, "no canary: nothing proves that data is kept; without volumes, whatever the application writes is lost with every restart")
	}
	if m.Budget.Start == 0 {
		warn(RuleNoBudget, nil, false, "no budget: the gate grants a start %.0f s; expected what the application takes on a small machine, such as budget: {start: 60s, reboot: 90s}", DefaultStartBudget.Seconds())
	}
	for i, r := range m.Requires {
		if r.Uses == nil {
			warn(RuleWholeApp, at("requires", i), false, "it joins the network of %s and reaches every port of its main container, as long as that exports nothing; expected what it uses, such as uses: [api], or uses: [] for nothing", strings.Join(r.Apps(), " or "))
		}
	}
	d.lintListing(m, warn)
}
