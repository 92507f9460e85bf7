package web

import (
	"fmt"
	"html/template"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	messages "golang.org/x/text/message"
	"golang.org/x/text/message/catalog"
)

// tongue is a language that the pages speak; the zero value is English. What they say in it
// is found by what they say in English, as a format of fmt, which for pages may hold HTML.
type tongue int

const (
	english tongue = iota
	german
)

// spoken are the languages, and matched finds the nearest of them; the first where none is near.
var (
	spoken  = []language.Tag{english: language.English, german: language.German}
	matched = language.NewMatcher(spoken)
)

// printers write messages in their language, with its numbers and plurals.
var printers = func() (all []*messages.Printer) {
	b := catalog.NewBuilder()
	set := func(l tongue, key, one, many string) {
		var err error
		if one != "" {
			err = b.Set(spoken[l], key, plural.Selectf(1, "%d", plural.One, one, plural.Other, many))
		} else {
			err = b.SetString(spoken[l], key, many)
		}
		if err != nil {
			panic(fmt.Sprintf("%s, in %s: %v", key, spoken[l], err)) // they are in the program
		}
	}
	for key, one := range oneInEnglish {
		set(english, key, one, key)
	}
	for key, said := range inGerman {
		set(german, key, oneInGerman[key], said)
	}
	for _, tag := range spoken {
		all = append(all, messages.NewPrinter(tag, messages.Catalog(b)))
	}
	return all
}()

// oneInEnglish is what is said of one, where the first number of a message is it.
var oneInEnglish = map[string]string{
	"the folder has its name; %d files in it could not be opened to applications, as they are not the daemon's user's": "the folder has its name; %d file in it could not be opened to applications, as it is not the daemon's user's",

	"%.1[2]f, %[1]d cores":           "%.1[2]f, %[1]d core",
	"%[2]s, in %[1]d days":           "%[2]s, in %[1]d day",
	"%d applications":                "%d application",
	"%d applications are on offer.":  "%d application is on offer.",
	"%d days":                        "%d day",
	"%d days ago":                    "%d day ago",
	"%d hours ago":                   "%d hour ago",
	"%d lines before this not shown": "%d line before this not shown",
	"%d minutes ago":                 "%d minute ago",
	"%d months":                      "%d month",
	"%d more characters":             "one more character",
	"%d passkeys sign you in without the password.": "%d passkey signs you in without the password.",
	"%d tokens open this node to programs.":         "%d token opens this node to programs.",
	"%d weeks":                                      "%d week",
	"every %d hours":                                "every hour",
}

// terms are the words of other packages that have one in each language: the states of
// applications and of their containers, the roles of users, the scopes of tokens, the categories of manifests, what the
// guard answers, and what passwords are made of.
var terms = []string{
	"not installed", "starting", "running", "unhealthy", "waiting", "updating", "stopping", "stopped", "removing", "failed",
	"created", "exited", "paused", "healthy", "owner", "guest", "read", "operate", "admin",
	"ai", "automation", "bitcoin", "communication", "data", "development", "files", "finance", "games", "home", "knowledge", "media",
	"monitoring", "network", "news", "office", "photos", "security", "social", "web", "other",
	"Too many wrong attempts from your address; wait a little, or use the node's access token.",
	"Too many wrong attempts with this name; wait a little, or ask the owner of the node.",
	"Too many wrong codes from your address; wait a little.",
	"Too many sign-ins at the same time; try again in a moment.",
	"Refused: the request does not come from this page. Open My Apps in a browser and try again there.",
	"a common word", "a common password", "a name", "a word that is known of this node", "keys beside each other", "a repetition", "a sequence such as abc", "a date",
}

// t says something as text.
func (l tongue) t(key string, filled ...any) string { return printers[l].Sprintf(key, filled...) }

// html says something on a page: the tags in the message count, and what is filled in is
// shown as it is.
func (l tongue) html(key string, filled ...any) template.HTML {
	safe := make([]any, len(filled))
	for i, a := range filled {
		safe[i] = a
		if said, ok := a.(template.HTML); ok {
			safe[i] = string(said)
		} else if k := reflect.ValueOf(a).Kind(); k < reflect.Int || k > reflect.Float64 { // no number
			safe[i] = template.HTMLEscapeString(fmt.Sprint(a))
		}
	}
	return template.HTML(l.t(key, safe...))
}

// en marks what the daemon or a manifest says, which is English in every language.
func (l tongue) en(said string) template.HTML {
	safe := template.HTML(template.HTMLEscapeString(said))
	if l == english || said == "" {
		return safe
	}
	return `<span lang="en">` + safe + `</span>`
}

// word is the word for one of those terms; any other stays as it is.
func (l tongue) word(name string) string {
	if slices.Contains(terms, name) {
		return l.t(name)
	}
	return name
}

// ago says how long ago something was, no finer than people ask.
func (l tongue) ago(at time.Time) string {
	d := time.Since(at)
	switch {
	case at.IsZero():
		return l.t("never")
	case d < time.Minute:
		return l.t("less than a minute ago")
	case d < time.Hour:
		return l.t("%d minutes ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return l.t("%d hours ago", int(d.Hours()))
	}
	return l.t("%d days ago", int(d.Hours()/24))
}

// date is a time to the minute, day one without the time, and second one to the second.
func (l tongue) date(at time.Time) string   { return at.Local().Format(l.t("2006-01-02 15:04")) }
func (l tongue) day(at time.Time) string    { return at.Local().Format(l.t("2006-01-02")) }
func (l tongue) second(at time.Time) string { return at.Local().Format(l.t("2006-01-02 15:04:05")) }

// clock is a time as short as it can be understood today.
func (l tongue) clock(at time.Time) string {
	at, now := at.Local(), time.Now()
	if at.YearDay() != now.YearDay() || at.Year() != now.Year() {
		return at.Format(l.t("Jan _2 15:04:05"))
	}
	return at.Format("15:04:05")
}

// size is a number of bytes as people read it.
func (l tongue) size(n int64) string {
	switch {
	case n >= 10<<30:
		return l.t("%d GiB", (n+1<<29)>>30)
	case n >= 1<<30:
		return l.t("%.1f GiB", float64(n)/(1<<30))
	}
	return l.t("%d MiB", (n+1<<20-1)>>20)
}

// funcs are what templates call for words.
func (l tongue) funcs() template.FuncMap {
	return template.FuncMap{
		"t": l.html, "en": l.en, "why": l.why, "word": l.word, "lang": spoken[l].String,
		"ago": l.ago, "date": l.date, "day": l.day, "clock": l.clock, "bytes": l.size,
		"join": func(all []string) string { return strings.Join(all, ", ") },
	}
}

// languageCookie holds the language that somebody has chosen for a browser.
const languageCookie = "__Host-archipelago-language"

// chosen is that language; empty where none was chosen.
func chosen(r *http.Request) string {
	if c, err := r.Cookie(languageCookie); err == nil {
		return c.Value
	}
	return ""
}

// in is the language for a request: the chosen one, or else what the browser prefers.
func in(r *http.Request) tongue {
	_, i := language.MatchStrings(matched, chosen(r), r.Header.Get("Accept-Language"))
	return tongue(i)
}

// varies says that another browser may get an answer in another language.
func varies(w http.ResponseWriter) { w.Header().Add("Vary", "Accept-Language, Cookie") }

// chooseLanguage keeps a language in the browser, or leaves it to the browser again.
func (s *Server) chooseLanguage(w http.ResponseWriter, r *http.Request) {
	c := &http.Cookie{Name: languageCookie, Path: "/", MaxAge: -1, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode}
	for _, tag := range spoken {
		if tag.String() == r.PostForm.Get("language") {
			c.Value, c.MaxAge = tag.String(), int((365 * 24 * time.Hour).Seconds())
		}
	}
	http.SetCookie(w, c)
	own, _ := s.Guard.SignedIn(r)
	http.Redirect(w, r, settingsOf(own)+"#language", http.StatusSeeOther)
}
