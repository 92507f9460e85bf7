package web

import (
	"sync"
	"time"
)

// refusalShown is how long a refusal stays on the page that caused it.
const refusalShown = 10 * time.Minute

// refusal is what was refused, and why.
type refusal struct {
	Verb, Why string
	at        time.Time
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
	f.all[[2]string{session, app}] = refusal{verb, err.Error(), time.Now()}
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
