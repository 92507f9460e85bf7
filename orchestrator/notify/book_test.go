package notify

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// feeds is an application in a state.
func feeds(s view.State, err string) view.View {
	return view.View{Manifest: &manifest.Manifest{ID: "feeds", Name: "Feeds", Version: "1"}, Goal: state.Running, State: s, Error: err}
}

func ids(f Found) string {
	var all []string
	for _, c := range f.Conditions {
		all = append(all, c.ID)
	}
	return strings.Join(all, ", ")
}

func TestConditionsAreWhatIsNotWell(t *testing.T) {
	backup := feeds(view.Up, "")
	backup.Backup.Problem = "backup overdue"
	stopped := feeds(view.Down, "")
	stopped.Goal = state.Stopped
	removing := feeds(view.Removing, "its volume is busy")
	removing.Goal = state.Absent
	revoked := func(app, version string) string { return "version " + version + " was revoked: bad" }
	for name, c := range map[string]struct {
		known Known
		want  string
	}{
		"nothing":                        {Known{}, ""},
		"it runs":                        {Known{Views: []view.View{feeds(view.Up, "")}}, ""},
		"it failed":                      {Known{Views: []view.View{feeds(view.Failed, "no such image")}}, "failed feeds"},
		"it cannot be removed":           {Known{Views: []view.View{removing}, Revoked: revoked}, "failed feeds"},
		"it is not healthy":              {Known{Views: []view.View{feeds(view.Unhealthy, "")}}, "unhealthy feeds"},
		"nobody sees its containers":     {Known{Views: []view.View{feeds(view.Unhealthy, "")}, Stale: "no answer"}, "engine"},
		"its owner stopped it":           {Known{Views: []view.View{stopped}}, ""},
		"it ran out of memory":           {Known{Views: []view.View{feeds(view.Up, "")}, Killed: map[string]string{"feeds": "a process of feeds-db"}}, "memory feeds"},
		"its backup is overdue":          {Known{Views: []view.View{backup}}, "backup feeds"},
		"somebody knows the password":    {Known{Password: "it was typed"}, "password"},
		"its version was revoked":        {Known{Views: []view.View{feeds(view.Up, "")}, Revoked: revoked}, "revoked feeds"},
		"a repository is away":           {Known{Repositories: []Problem{{"nas", "no route"}}}, "repository nas"},
		"the catalog is frozen":          {Known{Frozen: "it expired"}, "frozen"},
		"the catalog cannot be followed": {Known{Catalog: "it is damaged"}, "catalog"},
		"the disk has room":              {Known{Disk: disk.Space{Free: 11, Total: 100}}, ""},
		"the disk is filling":            {Known{Disk: disk.Space{Free: 10, Total: 100}}, "disk"},
	} {
		found := Look(c.known)
		if got := ids(found); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for _, c := range found.Conditions {
			if c.Subject == "" || c.What == "" || c.Over == "" || c.Remedy == "" || c.Severity == 0 {
				t.Errorf("%s: %+v lacks something", name, c)
			}
		}
	}
}

func TestTextsOfOthersAreOneHarmlessLine(t *testing.T) {
	v := feeds(view.Failed, "line 1\r\nBcc: all@example.org\n\x1b[2J\u202e\xff"+strings.Repeat("long ", 1000))
	v.Manifest.Name = "Feeds\nSubject: more\x00" + strings.Repeat("x", 1000)
	c := Look(Known{Views: []view.View{v}}).Conditions[0]
	for _, s := range []string{c.Subject, c.Text, c.ID} {
		if strings.ContainsAny(s, "\r\n\x00\x1b\u202e") || len(s) > mostText+40 {
			t.Errorf("%q (%d bytes)", s, len(s))
		}
	}
}

// diary drives a book through time and says what it says.
type diary struct {
	t *testing.T
	book
	now time.Time
}

func (d *diary) at(after time.Duration, k Known, want ...string) {
	d.t.Helper()
	d.now = d.now.Add(after)
	said, _, _ := d.update(Look(k), d.now, true)
	var got []string
	for _, s := range said {
		got = append(got, s.title())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		d.t.Errorf("at %s: said %q, want %q", d.now.Format("15:04:05"), got, want)
	}
}

func with(v ...view.View) Known { return Known{Views: v} }

func TestANoticeGoesOutOnceAndOnceItIsOver(t *testing.T) {
	d := &diary{t, book{}, noon}
	failed, up := with(feeds(view.Failed, "no")), with(feeds(view.Up, ""))
	d.at(0, failed, "Feeds failed")
	d.at(time.Second, failed)
	d.at(time.Hour, failed)
	d.at(time.Second, with(feeds(view.Starting, ""))) // whether it is well is not known yet
	d.at(time.Second, Known{Views: up.Views, Stale: "no answer"})
	d.at(time.Second, up, "Feeds is well again")
	d.at(time.Second, up)
}

func TestWhatFlapsIsSaidOnce(t *testing.T) {
	d := &diary{t, book{}, noon}
	failed, up := with(feeds(view.Failed, "no")), with(feeds(view.Up, ""))
	d.at(0, failed, "Feeds failed")
	d.at(time.Second, up, "Feeds is well again")
	for range 10 {
		d.at(time.Second, failed)
		d.at(time.Second, up)
	}
	d.at(time.Second, failed)
	d.at(noon.Add(quiet-time.Minute).Sub(d.now), failed)
	if _, again, _ := d.update(Look(failed), d.now, true); !again.Equal(noon.Add(quiet)) {
		t.Errorf("it looks again at %s", again)
	}
	d.at(time.Minute, failed, "Feeds failed") // it is still so
	d.at(time.Second, up, "Feeds is well again")
}

func TestWhatIsShortIsNotSaid(t *testing.T) {
	d := &diary{t, book{}, noon}
	ill, up := with(feeds(view.Unhealthy, "")), with(feeds(view.Up, ""))
	d.at(0, ill)
	d.at(unhealthyFor-time.Second, ill)
	d.at(time.Second, up)
	d.at(time.Second, ill)
	_, again, _ := d.update(Look(ill), d.now, true)
	if wait := again.Sub(d.now); wait != unhealthyFor {
		t.Errorf("it looks again after %s", wait)
	}
	d.at(unhealthyFor, ill, "Feeds is not healthy")
	if unhealthyFor+gap+burst > time.Minute {
		t.Error("a notice takes longer than a minute")
	}
}

func TestTheOwnerIsNotToldWhatHeDid(t *testing.T) {
	stopped := feeds(view.Down, "")
	stopped.Goal = state.Stopped
	for name, after := range map[string]Known{"stopped": with(stopped), "uninstalled": with()} {
		d := &diary{t, book{}, noon}
		d.at(0, with(feeds(view.Failed, "no")), "Feeds failed")
		d.at(time.Second, after)
		if d.at(2*quiet, after); len(d.book) != 0 {
			t.Errorf("%s: remembered: %v", name, d.book)
		}
	}
}

// TestAKnownPasswordIsSaidOnce has one that goes on, an owner who mistyped, and a daemon that does
// not know what was before it.
func TestAKnownPasswordIsSaidOnce(t *testing.T) {
	d := &diary{t, book{}, noon}
	typed, calm := Known{Password: "it was typed", HoursKnown: true}, Known{HoursKnown: true}
	d.at(0, typed)
	d.at(OwnSlip/2, calm) // it was the owner
	d.at(time.Hour, typed)
	d.at(OwnSlip, typed, "The password of the first owner may be known to somebody else")
	for range 10 {
		d.at(time.Hour, Known{Password: "it was typed again", HoursKnown: true})
	}
	d.at(time.Minute, Known{}) // started anew
	d.at(time.Hour, calm, "The password of the first owner was typed with no wrong code for six hours, or is another one now")
}

func TestADiskThatFillsIsSaidAgainWhenItIsFull(t *testing.T) {
	full := func(free int64) Known { return Known{Disk: disk.Space{Free: free, Total: 100}} }
	d := &diary{t, book{}, noon}
	d.at(0, full(10), "The disk is filling")
	d.at(time.Second, full(11)) // at the edge
	d.at(time.Second, full(10))
	d.at(time.Second, full(3), "The disk is filling")
	d.at(time.Second, full(2))
	for range 10 { // who writes and deletes at the edge calls nobody each time
		d.at(time.Minute, full(4))
		d.at(time.Minute, full(3))
	}
	d.at(time.Second, Known{}) // nobody could look
	d.at(time.Second, full(13), "The disk has room again")
}

func TestAClockThatWasWrongKeepsNobodyWaiting(t *testing.T) {
	d := &diary{t, book{}, noon.AddDate(30, 0, 0)}
	d.at(0, with(feeds(view.Failed, "no")), "Feeds failed")
	d.at(time.Second, with(feeds(view.Up, "")), "Feeds is well again")
	d.now = noon
	d.at(time.Second, with(feeds(view.Failed, "no")), "Feeds failed")
}

func TestWhatWasSaidOutlivesTheDaemon(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notices.json")
	d := &diary{t, book{}, noon}
	d.at(0, with(feeds(view.Failed, "no")), "Feeds failed")
	p := newPost()
	p.queue([]string{"phone"}, message{Title: "t"}, noon)
	if err := keep(file, d.book, p); err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(file); err != nil || i.Mode() != 0o600 {
		t.Errorf("%v, %v", i.Mode(), err)
	}
	b, p, err := recall(file)
	if err != nil || len(p.Queue) != 1 {
		t.Fatal(p, err)
	}
	d.book = b
	d.at(time.Second, with(feeds(view.Starting, "")))
	d.at(time.Second, with(feeds(view.Failed, "no")))
	d.at(time.Second, with(feeds(view.Up, "")), "Feeds is well again")

	for what, damage := range map[string]string{"half": `{"format":1,"notices":{"fai`, "newer": `{"format":2}`, "null": `{"format":1,"notices":{"x":null},"post":null}`} {
		os.WriteFile(file, []byte(damage), 0o600)
		b, p, err := recall(file)
		if (err == nil) != (what == "null") || len(b) != 0 || p.Standings == nil {
			t.Errorf("%s: %v, %v, %v", what, b, p, err)
		}
	}
}

func TestManyNoticesAreOneMessageAndFewMessagesWait(t *testing.T) {
	var k Known
	for i := range 2 * most {
		v := feeds(view.Failed, "the power was cut")
		v.Manifest.ID = fmt.Sprint("app-", i)
		k.Views = append(k.Views, v)
	}
	b := book{}
	said, _, _ := b.update(Look(k), noon, true)
	if len(b) != most || len(said) != most {
		t.Errorf("%d remembered, %d said", len(b), len(said))
	}
	m := compose("box", said)
	if m.Title != fmt.Sprintf("box: %d notices", most) || !m.Urgent || strings.Count(m.Body, "\n") != 2*mostLines || !strings.HasSuffix(m.Body, fmt.Sprintf("and %d more, which are on the pages of the node", most-mostLines)) {
		t.Errorf("%q\n%s", m.Title, m.Body)
	}
	p := newPost()
	for i := range 3 * mostQueued {
		p.queue([]string{"phone", "mail"}, message{Title: fmt.Sprint(i)}, noon)
	}
	if got := p.standing("mail"); len(p.Queue) != 2*mostQueued || got.Waiting != mostQueued || got.Lost != 2*mostQueued || p.Queue[0].Title != fmt.Sprint(2*mostQueued) {
		t.Errorf("%d wait, %+v, the first is %s", len(p.Queue), got, p.Queue[0].Title)
	}
	if !p.forget([]string{"mail"}) || len(p.Queue) != mostQueued || p.forget([]string{"mail"}) {
		t.Errorf("%d wait", len(p.Queue))
	}
}

// The bounds are those of ntfy's server: 4096 bytes of a message, and twice that of JSON.
func TestAMessageIsAsLongAsServicesTake(t *testing.T) {
	var k Known
	for i := range 2 * mostLines {
		v := feeds(view.Failed, strings.Repeat("<\"&>", mostText))
		v.Manifest.ID = fmt.Sprintf("app-%02d", i)
		k.Views = append(k.Views, v)
	}
	said, _, _ := book{}.update(Look(k), noon, true)
	m := compose("box", said)
	spelled := strings.Count(m.Body, "What to do")
	if len(m.Body) > 4096 || spelled == 0 || !strings.HasSuffix(m.Body, fmt.Sprintf("and %d more, which are on the pages of the node", len(said)-spelled)) {
		t.Errorf("%d bytes:\n%s", len(m.Body), m.Body)
	}
	host, got := listens(t, http.StatusOK)
	if err := mustParse(t, "ntfy://"+host+"/topic?scheme=http").send(t.Context(), newLine(), m); err != nil {
		t.Fatal(err)
	}
	if r := <-got; len(r.body) > 8192 {
		t.Errorf("%d bytes of JSON", len(r.body))
	}
}

func TestWhatAServerDoesNotWantMakesWayForTheNext(t *testing.T) {
	p := newPost()
	for _, title := range []string{"spam", "ham"} {
		p.queue([]string{"mail"}, message{Title: title}, noon)
	}
	for range 4 {
		p.done(p.first()[0], errors.New("no route"), noon) // which says nothing of the message
	}
	for range mostOffers {
		if p.first()[0].Title != "spam" {
			t.Fatalf("it was offered too seldom: %+v", p.Queue)
		}
		p.done(p.first()[0], seen{errors.New("554 spam")}, noon)
	}
	if s := p.standing("mail"); p.first()[0].Title != "ham" || s.Lost != 1 || s.Problem != "554 spam" {
		t.Errorf("%+v, %+v", p.Queue, s)
	}
}

func TestWhatFailsIsTriedAgainLaterEachTimeAndThenGivenUp(t *testing.T) {
	p := newPost()
	p.queue([]string{"phone"}, message{Title: "t"}, noon)
	now, last := noon, time.Duration(0)
	for tries := 0; len(p.Queue) > 0; tries++ {
		if tries > 100 {
			t.Fatal("it is never given up")
		}
		m := p.first()[0]
		p.done(m, errors.New("no route"), now)
		if len(p.Queue) == 0 {
			break
		}
		wait := p.Queue[0].Next.Sub(now)
		if wait < last || wait > mostWait || tries < 2 && wait > 15*time.Second {
			t.Errorf("try %d: again after %s", tries, wait)
		}
		now, last = p.Queue[0].Next, wait
	}
	if s := p.standing("phone"); s.Lost != 1 || s.Problem != "no route" || now.Sub(noon) < mostAge {
		t.Errorf("given up after %s: %+v", now.Sub(noon), s)
	}
	p.queue([]string{"phone"}, message{Title: "t"}, now)
	p.done(p.first()[0], nil, now)
	if s := p.standing("phone"); s != (Standing{Sent: now}) {
		t.Errorf("%+v", s)
	}
}
