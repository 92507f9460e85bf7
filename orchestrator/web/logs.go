package web

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// Bounds of what a page of logs reads, holds and sends: containers say as much as they like.
const (
	logShown     = 300     // lines on a page when it is sent
	logMost      = 1000    // lines that a page which is followed keeps
	logSearched  = 5000    // last lines of a container in which a text is looked for
	logSaved     = 100_000 // last lines of a container in a download
	logLine      = 2 << 10 // bytes of a line that are shown
	logText      = 100     // bytes of a text that is looked for
	logFollowers = 8       // pages and downloads at one time; each holds a connection to Podman

	logBurst    = 250 * time.Millisecond // lines come in bursts
	logPatience = 15 * time.Second       // a browser that takes nothing for so long is given up
	logAgain    = 15 * time.Second       // until a page that is one too many asks again
)

// logAsk is what the owner wants to see of an application's logs.
type logAsk struct {
	Member string // empty for all
	Text   string // in a line, whatever its case; empty for all
	Held   bool   // the page is not followed
}

// logsAsked reads what a page's address asks for.
func logsAsked(r *http.Request, members []host.Container) logAsk {
	q := r.URL.Query()
	a := logAsk{Member: q.Get("member"), Text: strings.ToValidUTF8(strings.TrimSpace(q.Get("q")), ""), Held: q.Get("held") != ""}
	if !slices.ContainsFunc(members, func(c host.Container) bool { return c.Name == a.Member }) {
		a.Member = ""
	}
	if len(a.Text) > logText {
		a.Text = strings.ToValidUTF8(a.Text[:logText], "")
	}
	return a
}

// Address is that of a page, or of what belongs to it, which asks for this.
func (a logAsk) Address(path string) string {
	q := url.Values{}
	for name, value := range map[string]string{"member": a.Member, "q": a.Text} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if a.Held {
		q.Set("held", "yes")
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func (a logAsk) wants(member string) bool { return a.Member == "" || a.Member == member }

func (a logAsk) matches(text string) bool {
	return a.Text == "" || strings.Contains(strings.ToLower(text), strings.ToLower(a.Text))
}

// logged is a line of a log as a page shows it.
type logged struct {
	At           time.Time
	Member, Text string
	Note         bool // the page's own, about the container
}

// readable is a line as people may see it: bounded, with nothing that a page, or the terminal in
// which a download is looked at, would obey.
func readable(member string, l host.LogLine) logged {
	return logged{At: l.At, Member: member, Text: plain.Text(plain.Clip(l.Text, logLine))}
}

// lately keeps the last lines of those that it is given.
type lately struct {
	lines []logged
	left  int // how many it has let go
}

func (k *lately) add(l logged) {
	if k.lines = append(k.lines, l); len(k.lines) >= 2*logShown {
		k.cut()
	}
}

// cut leaves those that fit on a page.
func (k *lately) cut() {
	if over := len(k.lines) - logShown; over > 0 {
		k.lines = append(k.lines[:0], k.lines[over:]...)
		k.left += over
	}
}

func byTime(a, b logged) int { return a.At.Compare(b.At) }

// unread says why what a container said is not shown.
type unread struct {
	Member string
	Said   template.HTML
}

// logsPage is what an application's containers say.
type logsPage struct {
	*appPage
	Ask      logAsk
	Names    []string // of the containers
	Lines    []logged
	Problems []unread
	Over     int // lines that match and are not shown
}

func (p *logsPage) Many() bool       { return len(p.Names) > 1 }
func (p *logsPage) Most() int        { return logMost }
func (p *logsPage) Self() string     { return p.Path + "/logs" }
func (p *logsPage) Events() string   { return p.Ask.Address(p.Path + "/logs/events") }
func (p *logsPage) Download() string { return p.Ask.Address(p.Path + "/logs.txt") }

// Hold is the page that is not followed, or the one that is.
func (p *logsPage) Hold() string {
	other := p.Ask
	other.Held = !other.Held
	return other.Address(p.Self())
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	ap, err := s.appPage(s.frame(r, "", ""), r.PathValue("id"))
	if err != nil {
		s.missing(w, r, err)
		return
	}
	v, err := s.Reconciler.App(ap.App.ID)
	if err != nil {
		s.missing(w, r, err)
		return
	}
	p := &logsPage{appPage: ap, Ask: logsAsked(r, v.Containers)}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	var all lately
	for _, c := range v.Containers {
		p.Names = append(p.Names, c.Name)
		if !p.Ask.wants(c.Name) {
			continue
		}
		if c.ID == "" || s.Engine == nil {
			p.Problems = append(p.Problems, unread{c.Name, p.html("There is no such container now; <code>journalctl --user -u %s</code> on the node has what it said before.", c.Name)})
			continue
		}
		n := logShown
		if p.Ask.Text != "" {
			n = logSearched
		}
		var one lately // a container that says much hides no other
		err := s.Engine.Logs(ctx, c.Name, false, n, func(l host.LogLine) error {
			if p.Ask.matches(l.Text) {
				one.add(readable(c.Name, l))
			}
			return nil
		})
		if err != nil {
			p.Problems = append(p.Problems, unread{c.Name, p.en(plain.Text(err.Error()))})
		}
		one.cut()
		all.lines, all.left = append(all.lines, one.lines...), all.left+one.left
	}
	slices.SortStableFunc(all.lines, byTime)
	all.cut()
	p.Lines, p.Over = all.lines, all.left
	s.render(w, r, http.StatusOK, "logs", p)
}

// followers are those who hold a log open.
type followers struct {
	mu sync.Mutex
	n  int
}

// enter tells whether there is room for one more, who then has to leave.
func (f *followers) enter() (leave func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n >= logFollowers {
		return nil, false
	}
	f.n++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.n--
	}, true
}

func (l tongue) tooManyLogs() string {
	return l.t("Not followed: logs are open in as many pages as this node allows. Close one of them.")
}

// logEvents sends what the containers say as they say it: first the last lines as a whole,
// then those that are new. It ends with the session, and with a browser that does not take
// what it is sent.
func (s *Server) logEvents(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	v, err := s.Reconciler.App(id)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	out := &patient{ResponseController: http.NewResponseController(w), to: w, within: logPatience}
	l := in(r)
	varies(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	if s.Engine == nil {
		return
	}
	leave, ok := s.followers.enter()
	if !ok {
		fmt.Fprintf(out, "retry: %d\nevent: state\ndata: %s\n\n", logAgain.Milliseconds(), l.tooManyLogs())
		out.Flush()
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	p := &logsPage{Ask: logsAsked(r, v.Containers)}
	lines := make(chan logged)
	for _, c := range v.Containers {
		p.Names = append(p.Names, c.Name)
		if p.Ask.wants(c.Name) {
			following.Go(func() {
				s.follow(ctx, l, id, c.Name, p.Ask, func(one logged) error {
					select {
					case lines <- one:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
			})
		}
	}
	tick := time.NewTicker(minute)
	defer tick.Stop()
	var batch lately
	var due <-chan time.Time
	name, part := "log", "log-all"
	fmt.Fprintf(out, "event: state\ndata: %s\n\n", l.t("Followed: new lines come by themselves."))
	for out.Flush() == nil {
		ended := s.Sessions.Changed()
		if _, ok := s.Guard.SignedIn(r); !ok {
			return
		}
		for quiet := true; quiet; {
			select {
			case one := <-lines:
				batch.add(one)
				if due == nil {
					due = time.After(logBurst)
				}
				continue
			case <-due:
				due = nil
				batch.cut()
				if part == "log-all" {
					slices.SortStableFunc(batch.lines, byTime)
				}
				p.Lines, p.Over = batch.lines, batch.left
				html, err := s.execute(l, part, p)
				if err != nil {
					s.Log.Error("rendering", "event", name, "error", err)
					return
				}
				send(out, name, html)
				batch, name, part = lately{}, "more", "log-lines"
			case <-tick.C:
				fmt.Fprint(out, ":\n\n") // who is gone does not take it
			case <-ended:
			case <-ctx.Done():
				return
			}
			quiet = false
		}
	}
}

// follow passes on what a container says, also when it has been started anew, until the
// context ends or emit fails.
func (s *Server) follow(ctx context.Context, l tongue, id, member string, ask logAsk, emit func(logged) error) {
	var last host.Container // that was followed to its end
	said := ""
	for ctx.Err() == nil {
		_, changed := s.Reconciler.Changes()
		v, err := s.Reconciler.App(id)
		if err != nil {
			return // it is uninstalled, and in no catalog
		}
		i := slices.IndexFunc(v.Containers, func(c host.Container) bool { return c.Name == member })
		if i >= 0 && v.Containers[i].ID != "" && (v.Containers[i].ID != last.ID || !v.Containers[i].StartedAt.Equal(last.StartedAt)) {
			c := v.Containers[i]
			tail := logShown
			switch {
			case c.ID == last.ID:
				tail = 0 // what it said before is on the page
			case ask.Text != "":
				tail = logSearched
			}
			err := s.Engine.Logs(ctx, member, true, tail, func(line host.LogLine) error {
				if !ask.matches(line.Text) {
					return ctx.Err()
				}
				return emit(readable(member, line))
			})
			if ctx.Err() != nil {
				return
			}
			now := l.t("It has ended; what it says when it starts again comes here.")
			if err == nil {
				last = c
			} else {
				now = plain.Text(err.Error())
			}
			if now != said || err == nil {
				if said = now; emit(logged{At: time.Now(), Member: member, Text: now, Note: true}) != nil {
					return
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// patient writes to a browser, and gives it up if it takes nothing for a while.
type patient struct {
	*http.ResponseController
	to     http.ResponseWriter
	within time.Duration
	err    error // of the first write that failed
}

func (p *patient) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	p.SetWriteDeadline(time.Now().Add(p.within)) // fails only where the connection has none, as in tests
	var n int
	n, p.err = p.to.Write(b)
	return n, p.err
}

// Flush sends what was written.
func (p *patient) Flush() error {
	if p.err == nil {
		p.err = p.ResponseController.Flush()
	}
	return p.err
}

// downloadLogs sends what the containers have said as a text, one after the other; the lines
// begin with their time, so that sort puts them in one order.
func (s *Server) downloadLogs(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	v, err := s.Reconciler.App(id)
	if err != nil {
		s.missing(w, r, err)
		return
	}
	leave, ok := s.followers.enter()
	if !ok {
		w.Header().Set("Retry-After", fmt.Sprint(int(logAgain.Seconds())))
		http.Error(w, in(r).tooManyLogs(), http.StatusServiceUnavailable)
		return
	}
	defer leave()
	ask := logsAsked(r, v.Containers)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", id+"-log-"+time.Now().Format("20060102-150405")+".txt"))
	w.Header().Set("Cache-Control", "no-store")
	out := bufio.NewWriterSize(&patient{ResponseController: http.NewResponseController(w), to: w, within: logPatience}, 32<<10)
	defer out.Flush()
	for _, c := range v.Containers {
		if !ask.wants(c.Name) {
			continue
		}
		why := in(r).t("There is no such container now.")
		if c.ID != "" && s.Engine != nil {
			why = ""
			err := s.Engine.Logs(r.Context(), c.Name, false, logSaved, func(l host.LogLine) error {
				if !ask.matches(l.Text) {
					return nil
				}
				_, err := fmt.Fprintf(out, "%s %s: %s\n", cmp.Or(sortable(l.At), "-"), c.Name, plain.Text(l.Text))
				return err
			})
			if err != nil {
				why = plain.Text(err.Error())
			}
		}
		if why != "" {
			fmt.Fprintf(out, "%s %s: (archipelago) %s\n", sortable(time.Now()), c.Name, why)
		}
	}
}

// sortable is a time that sorts as text; empty for none.
func sortable(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format("2006-01-02T15:04:05.000000Z")
}
