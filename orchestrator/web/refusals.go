package web

import (
	"errors"
	"html/template"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/strength"
)

// told is why these pages refuse something by themselves. They say it in the language of
// whoever reads it; the audit log has it in English.
type told struct {
	key    string
	filled []any
}

// refusing is such a refusal, by a message of the catalog.
func refusing(key string, filled ...any) error { return &told{key, filled} }

func (e *told) Error() string { return english.t(e.key, e.filled...) }

// why says why something was refused: in a language what these pages or the judge of passwords
// refuse, and marked as English what the daemon does.
func (l tongue) why(err error) template.HTML {
	if own, ok := errors.AsType[*told](err); ok {
		return l.html(own.key, own.filled...)
	}
	if weak, ok := errors.AsType[*strength.Weakness](err); ok {
		return l.weak(weak)
	}
	return l.en(err.Error())
}

// weak says why a password is guessed too soon, in English as the judge does.
func (l tongue) weak(w *strength.Weakness) template.HTML {
	advice := l.t("Take four or more words that do not belong together, or have a password manager make one")
	if len(w.Parts) == 0 {
		return l.html("it is too short to withstand guessing. %s", advice)
	}
	var parts []string
	for _, p := range w.Parts {
		part := l.word(p.Kind)
		if p.Backwards {
			part = l.t("%s backwards", part)
		}
		if p.Replaced {
			part = l.t("%s with letters replaced", part)
		}
		parts = append(parts, part)
	}
	if w.More > 0 {
		parts = append(parts, l.t("%d more characters", w.More))
	}
	all := parts[0]
	if last := len(parts) - 1; last > 0 {
		all = l.t("%s and %s", strings.Join(parts[:last], ", "), parts[last])
	}
	return l.html("it is guessed too soon: it is made of %s. %s", all, advice)
}

// refusalShown is how long a refusal stays on the page that caused it.
const refusalShown = 10 * time.Minute

// refusal is what was refused, and why.
type refusal struct {
	Verb string
	Why  error // nil where nothing was
	at   time.Time
}

// refusals are the last ones, by session and application: what is shown where it was caused
// until something else is asked for. All of them are in the audit log.
type refusals struct {
	mu  sync.Mutex
	all map[[2]string]refusal
}

func (f *refusals) note(session, app, verb string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[[2]string]refusal{}
	}
	for key, r := range f.all {
		if time.Since(r.at) > refusalShown {
			delete(f.all, key)
		}
	}
	if err == nil {
		delete(f.all, [2]string{session, app})
		return
	}
	f.all[[2]string{session, app}] = refusal{verb, err, time.Now()}
}

// of gives the last one; the zero value where there is none.
func (f *refusals) of(session, app string) refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.all[[2]string{session, app}]
	if time.Since(r.at) > refusalShown {
		return refusal{}
	}
	return r
}
