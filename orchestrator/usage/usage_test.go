package usage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// node is one whose counters the test sets.
type node struct {
	use     map[string]host.Use
	traffic map[string]host.Traffic
	sizes   map[string]int64
	down    error

	looks, asked, sized int
}

func (n *node) Use([]string) map[string]host.Use { n.looks++; return maps.Clone(n.use) }
func (n *node) Traffic(context.Context) (map[string]host.Traffic, error) {
	n.asked++
	return maps.Clone(n.traffic), n.down
}
func (n *node) Sizes(_ context.Context, dirs []string) (map[string]int64, error) {
	n.sized++
	return n.sizes, n.down
}

// card is where it is kept.
type card struct {
	b      []byte
	writes int
}

func (c *card) Remember(_ string, v any) (err error) {
	c.writes++
	c.b, err = json.Marshal(v)
	return err
}

func (c *card) Recall(_ string, v any) error {
	if c.b == nil {
		return fs.ErrNotExist
	}
	return json.Unmarshal(c.b, v)
}

func wiki() map[string]App {
	return map[string]App{"wiki": {Services: map[string]string{"wiki": "wiki.service", "wiki-db": "wiki-db.service"}, Volumes: []string{"/d/wiki/db"}}}
}

var begin = time.Unix(600*3_000_000, 0)

func TestCountersBecomePointsOfSpans(t *testing.T) {
	n := &node{use: map[string]host.Use{}, traffic: map[string]host.Traffic{}, sizes: map[string]int64{"/d/wiki/db": 7}}
	r := New(n, &card{}, wiki, slog.New(slog.DiscardHandler))
	at := begin
	look := func() { r.look(t.Context(), at); at = at.Add(time.Minute) }
	for i := range 21 { // two spans and a look
		n.use["wiki.service"] = host.Use{CPU: time.Duration(i) * 6 * time.Second, Memory: 100}
		n.use["wiki-db.service"] = host.Use{CPU: time.Duration(i%15) * 3 * time.Second, Memory: int64(i)} // it begins anew at 15
		n.traffic["wiki"] = host.Traffic{Received: int64(1000 + 10*i), Sent: int64(i)}
		look()
	}
	got := r.Of("wiki")
	if len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	// From the second span on; in the first there was nothing to compare the first look with.
	for i, want := range []Point{
		{Span: 3_000_000, Milli: 150, Memory: 109, Received: 100, Sent: 10, Disk: 7},
		{Span: 3_000_001, Milli: 145, Memory: 119, Received: 100, Sent: 10, Disk: 7},
	} {
		if got[i] != want {
			t.Errorf("%+v, not %+v", got[i], want)
		}
	}
	if n.looks != 21 || n.asked != 3 || n.sized != 1 {
		t.Errorf("%d looks, %d questions to Podman, %d to the disk", n.looks, n.asked, n.sized)
	}
	if other := r.Of("other"); len(other) != 0 {
		t.Errorf("of an application that is not there: %+v", other)
	}
}

func TestWhatCannotBeReadIsUnknownAndWhatIsStoppedHasNoPoint(t *testing.T) {
	n := &node{use: map[string]host.Use{"wiki.service": {}}, down: errors.New("down")}
	r := New(n, &card{}, wiki, slog.New(slog.DiscardHandler))
	for i := range 11 {
		r.look(t.Context(), begin.Add(time.Duration(i)*time.Minute))
	}
	if got := r.Of("wiki"); len(got) != 2 || got[0] != (Point{Span: 3_000_000, Milli: 0, Received: Unknown, Sent: Unknown, Disk: Unknown}) {
		t.Errorf("%+v", got)
	}
	n.use = nil
	for i := range 30 {
		r.look(t.Context(), begin.Add(time.Duration(20+i)*time.Minute))
	}
	if got := r.Of("wiki"); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestItIsBoundedWrittenSeldomAndForgetsWhatIsUninstalled(t *testing.T) {
	apps := map[string]App{}
	n := &node{use: map[string]host.Use{}, traffic: map[string]host.Traffic{}}
	for i := range most + 10 {
		name := fmt.Sprint("app-", i)
		apps[name] = App{Services: map[string]string{name: name + ".service"}}
		n.use[name+".service"] = host.Use{CPU: time.Hour, Memory: 1 << 40}
		n.traffic[name] = host.Traffic{}
	}
	c := &card{}
	r := New(n, c, func() map[string]App { return apps }, slog.New(slog.DiscardHandler))
	r.writing = begin
	const hours = 26
	for i := range hours * 60 {
		for name, u := range n.use {
			u.CPU += 59 * time.Second
			n.use[name] = u
		}
		for name, m := range n.traffic {
			n.traffic[name] = host.Traffic{Received: m.Received + 1<<40, Sent: m.Sent + 1<<40}
		}
		r.look(t.Context(), begin.Add(time.Duration(i)*time.Minute))
		if len(r.open) != most {
			t.Fatalf("%d applications are looked at", len(r.open))
		}
	}
	if c.writes > hours {
		t.Errorf("written %d times in %d hours", c.writes, hours)
	}
	points := 0
	for app := range apps {
		points += len(r.Of(app))
	}
	if points > (most+10)*(Spans+1) || len(c.b) > 4<<20 {
		t.Errorf("%d points, %d bytes", points, len(c.b))
	}
	apps = map[string]App{"app-1": apps["app-1"]}
	r.look(t.Context(), begin.Add((hours*60+11)*time.Minute))
	if got := len(r.kept.Apps); got != 1 {
		t.Errorf("%d applications are remembered", got)
	}
}

func TestAnApplicationThatIsInstalledAgainHasNotTheDiskOfTheOneBefore(t *testing.T) {
	apps := wiki()
	n := &node{use: map[string]host.Use{"wiki.service": {}}, sizes: map[string]int64{"/d/wiki/db": 7}}
	r := New(n, &card{}, func() map[string]App { return apps }, slog.New(slog.DiscardHandler))
	r.look(t.Context(), begin)
	r.look(t.Context(), begin.Add(time.Minute))
	if got := r.Of("wiki"); len(got) != 1 || got[0].Disk != 7 {
		t.Fatalf("%+v", got)
	}
	apps = nil
	r.look(t.Context(), begin.Add(Span))
	apps = wiki()
	r.look(t.Context(), begin.Add(2*Span))
	r.look(t.Context(), begin.Add(2*Span+time.Minute))
	if got := r.Of("wiki"); len(got) != 1 || got[0].Disk != Unknown {
		t.Errorf("%+v", got)
	}
}

func TestItSurvivesARestartADamagedFileAndAClockThatGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{use: map[string]host.Use{"wiki.service": {Memory: 5}}}
		c := &card{}
		run := func(d time.Duration) *Recorder {
			r := New(n, c, wiki, slog.New(slog.DiscardHandler))
			ctx, end := context.WithTimeout(t.Context(), d)
			defer end()
			r.Run(ctx)
			return r
		}
		run(25*time.Minute + time.Second)
		run(2*time.Minute + time.Second) // within the span that the first one has begun
		r := run(time.Minute + time.Second)
		got := r.Of("wiki")
		spans := make([]int64, 0, len(got))
		for _, p := range got {
			spans = append(spans, p.Span)
		}
		if len(got) != 3 || !slices.IsSorted(spans) || len(slices.Compact(spans)) != 3 {
			t.Errorf("%+v", got)
		}
		// A clock that was ahead has left points of the future.
		r.kept.Apps["wiki"] = append(r.kept.Apps["wiki"], Point{Span: time.Now().Unix()/600 + 99})
		r.write(time.Now())
		r = run(12 * time.Minute)
		for _, p := range r.Of("wiki") {
			if p.At().After(time.Now()) {
				t.Errorf("of the future: %+v", p)
			}
		}
		for _, damaged := range []string{"", "{", `{"apps": {"wiki": [[1,2]]}}`, `{"apps": null}`, strings.Repeat("[", 1000), `{"apps": {"wiki": [[1,0,0,9223372036854775807,0,0]]}}`, `{"apps": {"wiki": [[1,-2,0,0,0,0]]}}`} {
			c.b = []byte(damaged)
			var log bytes.Buffer
			r := New(n, c, wiki, slog.New(slog.NewTextHandler(&log, nil)))
			if len(r.Of("wiki")) != 0 {
				t.Errorf("%q: %+v", damaged, r.Of("wiki"))
			}
			ctx, end := context.WithTimeout(t.Context(), 11*time.Minute)
			r.Run(ctx)
			end()
			if len(r.Of("wiki")) == 0 {
				t.Errorf("%q: nothing is seen", damaged)
			}
		}
	})
}
