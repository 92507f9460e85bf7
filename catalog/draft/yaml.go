package draft

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// postgres is the member that keeps the data, and what goes with it.
const (
	postgres = `  - name: %s-db
    image: {build: image/db}
    user: "100:102"
    volumes: [{name: db, path: /data, uid: 100, gid: 102}]
    tmpfs: [/run/postgresql]
    secrets: [{name: db-password, path: /run/secrets/db-password}]
    health: {exec: [/usr/lib/postgresql/17/bin/pg_isready, -q, -h, 127.0.0.1], interval: 30s, start_period: 60s}
`
	postgresClient = `    depends_on: [{container: %[1]s-db, condition: healthy}]
    # TODO: how the application is told its database: host %[1]s-db, user postgres, database app.
    environment: {DATABASE_HOST: %[1]s-db, DATABASE_USER: postgres, DATABASE_NAME: app, DATABASE_PASSWORD_FILE: /run/secrets/db-password}
    secrets: [{name: db-password, path: /run/secrets/db-password}]
`
	postgresCanary = `canary:
  exec:
    container: %s-db
    write: [/usr/lib/postgresql/17/bin/psql, -h, /run/postgresql, -U, postgres, -c, "CREATE TABLE IF NOT EXISTS canary (v text); INSERT INTO canary VALUES ('{{canary}}')"]
    read: [/usr/lib/postgresql/17/bin/psql, -h, /run/postgresql, -U, postgres, -tAc, "SELECT v FROM canary ORDER BY ctid DESC LIMIT 1"]
`
)

// icon stands in My Apps and a store until the application has its own.
const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">
  <rect width="64" height="64" rx="14" fill="#555753"/>
  <circle cx="32" cy="32" r="14" fill="#fff"/>
</svg>
`

// yaml writes the manifest. (By hand: text/template would keep every method in the program,
// which makes archy a fifth larger.)
func (s *sketch) yaml() []byte {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	put("# The manifest of %s. What its fields mean:\n# %s\n# Check it with 'archy app validate', and see its units with 'archy app render'.\n", s.Name, manifest.Page)
	put("apiVersion: %s\nid: %s\nname: %s\nversion: %s\nsummary: %s\ntagline: %s\n# TODO: an icon of its own, and the category that it belongs to.\nicon: icon.svg\ncategory: other\ncontainers:\n", manifest.APIVersion, s.ID, Quote(s.Name), Quote(s.Version), Quote(s.Summary), Quote("TODO: what makes somebody want it"))
	database := s.Template == "database"
	if database {
		put(postgres, s.ID)
	}
	for _, n := range s.Notes {
		put("  # %s\n", n)
	}
	put("  - name: %s\n    image: %s\n", s.ID, s.ImageYAML)
	if s.User != "" {
		put("    user: %q\n", s.User)
	}
	if database {
		put(postgresClient, s.ID)
	}
	if s.Requires != "" {
		put("    # TODO: the port on which %[1]s answers.\n    environment: {UPSTREAM: \"http://%[1]s:8080/\"}\n", s.Requires)
	}
	for i, p := range s.Ports {
		if i == 0 {
			put("    ports:\n")
		}
		protocol := ""
		if p.UDP {
			protocol = ", protocol: udp"
		}
		put("      - {name: %s, container: %d, host: %d%s}\n", p.Name, p.Container, p.Host, protocol)
	}
	for i, v := range s.Volumes {
		if i == 0 {
			put("    volumes:\n")
		}
		owner := ""
		if v.UID > 0 {
			owner += fmt.Sprintf(", uid: %d", v.UID)
		}
		if v.GID > 0 {
			owner += fmt.Sprintf(", gid: %d", v.GID)
		}
		put("      - {name: %s, path: %s%s}\n", v.Name, Quote(v.Path), owner)
	}
	if s.HealthYAML != "" {
		put("    health: %s\n", s.HealthYAML)
	}
	if database {
		put("generated_secrets: [{name: db-password}]\n")
	}
	if s.Requires != "" {
		put("# TODO: uses: [NAME] of what it exports, if it does; without it, this reaches all of its main container\nrequires: [{app: %s}]\n", s.Requires)
	}
	if s.InterfacesYAML != "" {
		put("interfaces:\n  %s\n", s.InterfacesYAML)
	}
	switch {
	case database:
		put(postgresCanary, s.ID)
	case s.CanaryYAML != "":
		put("canary: %s\n", s.CanaryYAML)
	}
	put("# TODO: how long it takes on a small machine, and how much memory.\nbudget: {start: 60s, reboot: 2m}\nresources: {memory: 256M}\nmigration: 1\n")
	return []byte(b.String())
}

var plainWord = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9 ./_-]*[A-Za-z0-9/_-]$|^[A-Za-z/]$`)

// Quote writes a text for YAML, within a line and within brackets.
func Quote(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off":
	default:
		if plainWord.MatchString(s) {
			return s
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSpace(b.String())
}

// words is a command as a list in YAML.
func words(argv []string) string {
	quoted := make([]string, len(argv))
	for i, w := range argv {
		quoted[i] = Quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
