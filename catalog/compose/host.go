package compose

import (
	"regexp"
	"strings"
)

// The names of services become those of containers, NAME to APP-NAME, wherever a text
// names a host. A text of one word names one only if its variable says so: the user and
// the database of a service are often called as it is.

var (
	hostToken = regexp.MustCompile(`[A-Za-z0-9_.-]+`)
	hostKey   = regexp.MustCompile(`(?i)HOST|(^|[_.-])(SERVER|ADDR|ADDRESS|ENDPOINT|URL|URI|UPSTREAM|BROKER|BACKEND|IP|NODES?|PEERS|MASTER|REPLICA|DSN|SERVICE_NAME)\d*$|(URL|HOSTS?|SERVERS?|ADDR|BROKERS?|ENDPOINTS?)$`)
	hostFlag  = regexp.MustCompile(`(?i)^(-h|-H|--?[a-z-]*(host|hostname|server|addr|address|url|endpoint|upstream|broker)[a-z-]*)$`)
	hostName  = regexp.MustCompile(`(?i)(host|hostname|server|addr|address|source)=$`)
)

// rehost rewrites the hosts in the value of a variable.
func (im *importer) rehost(key, text string) string {
	if name, ok := im.aliases[text]; ok {
		if hostKey.MatchString(key) {
			return name
		}
		return text
	}
	return im.rehostIn(text)
}

// rehostWord rewrites the hosts in a word of a command.
func (im *importer) rehostWord(before, text string) string {
	if name, ok := im.aliases[text]; ok {
		if hostFlag.MatchString(before) {
			return name
		}
		return text
	}
	return im.rehostIn(text)
}

// rehostIn rewrites hosts by what stands around them: after "//", "@" or "host=", or
// before a port.
func (im *importer) rehostIn(text string) string {
	var b strings.Builder
	last := 0
	for _, at := range hostToken.FindAllStringIndex(text, -1) {
		name, known := im.aliases[text[at[0]:at[1]]]
		if !known || !isHost(text[:at[0]], text[at[1]:]) {
			continue
		}
		b.WriteString(text[last:at[0]] + name)
		last = at[1]
	}
	return b.String() + text[last:]
}

func isHost(before, after string) bool {
	end := after == "" || strings.ContainsRune("/?#, ;'\")]}|&\\", rune(after[0]))
	port := len(after) > 1 && after[0] == ':' && (after[1] >= '0' && after[1] <= '9' || after[1] == '{' || after[1] == '$')
	switch {
	case strings.HasSuffix(before, "//"):
		authority, _, _ := strings.Cut(after, "/")
		return (end || port) && !strings.Contains(authority, "@") // else it is a user
	case strings.HasSuffix(before, "@"):
		return end || port
	case hostName.MatchString(before):
		return end || port
	case !port:
		// One of several, as in mongodb://a:1,b:1, and after an option.
		return end && (strings.HasSuffix(before, "-h ") || strings.HasSuffix(before, "--host "))
	}
	return before == "" || strings.ContainsRune(" ,;=('\"[|<>", rune(before[len(before)-1]))
}
