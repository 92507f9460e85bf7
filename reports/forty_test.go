package reports_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestMain lets a process of a test become the browser that it started.
func TestMain(m *testing.M) {
	matrix.BecomeBrowser()
	os.Exit(m.Run())
}

const most = 3_000_000 // bytes of a page

const block = 5 // pixels of the noise in a screenshot, so that there is some left in a small one

// forty writes a run of forty applications on two nodes, in which the cells fail that red gives
// a reason for.
func forty(t *testing.T, cycles int, red func(reports.Cell) string) (dir string, r *reports.Report) {
	t.Helper()
	dir = t.TempDir()
	noise := rand.New(rand.NewPCG(1, 2))
	picture := image.NewGray(image.Rect(0, 0, 1280, 800))
	for y := range 800 / block {
		for x := range 1280 / block {
			grey := image.NewUniform(color.Gray{uint8(noise.Uint32() >> 24)}) // no page is as hard to make small
			draw.Draw(picture, image.Rect(x*block, y*block, (x+1)*block, (y+1)*block), grey, image.Point{}, draw.Src)
		}
	}
	var shot bytes.Buffer
	if err := png.Encode(&shot, picture); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	r = &reports.Report{Run: "20260101-120000-0001", Gate: "1.0", Started: at, Finished: at.Add(time.Hour), Seconds: 3600, Verdict: reports.Red,
		Policy: reports.Policy{Cycles: 20}, Nodes: []reports.Node{{Name: ".228"}, {Name: ".198"}}, Subject: reports.Subject{Daemon: strings.Repeat("ab", 32), Manifests: map[string]string{}},
		Asked: reports.Policy{Cycles: cycles, Nodes: []string{".228", ".198"}, Steps: matrix.StepNames()},
		Green: &reports.Comparison{Run: "20260101-110000-0001", Started: at, Changes: []string{"daemon: 1, was 0"}, Steps: []reports.StepThen{{Step: "stop", Then: 1, Now: 2}}}}
	for i := range 40 {
		a := reports.App{ID: fmt.Sprintf("application-%02d", i), Version: "1.2.3", Verdict: reports.Green, Level: "L3"}
		if i == 7 {
			a.ID = "a-name-of-an-application-that-is-as-long-as-a-name-can-possibly"
		}
		r.Asked.Apps = append(r.Asked.Apps, a.ID)
		r.Subject.Manifests[a.ID] = strings.Repeat("cd", 32)
		for k := 1; k <= cycles; k++ {
			for _, node := range r.Asked.Nodes {
				for _, step := range r.Asked.Steps {
					at = at.Add(time.Millisecond)
					c := reports.Result{Cell: reports.Cell{App: a.ID, Node: node, Cycle: k, Step: step}, Status: reports.Passed, Seconds: 10 + float64(i), Timing: reports.Timing{Engine: 5, App: float64(i), Witness: 5}, At: at}
					if reason := red(c.Cell); reason != "" {
						a.Verdict, c.Status, c.Reason = reports.Red, reports.Failed, reason
						for _, name := range []string{"journal-user.txt", "journal-system.txt", "units.txt", "inspect.json", "desired.json"} {
							c.Evidence = append(c.Evidence, fmt.Sprintf("evidence/%s/cycle%d%s-%s/%s", a.ID, k, node, step, name))
						}
						if r.First == nil {
							r.First = &c
						}
					}
					if step == matrix.UIReachable && k == 1 {
						name := fmt.Sprintf("evidence/%s/cycle%d%s-%s/screenshot.png", a.ID, k, node, step)
						file := filepath.Join(dir, name) // nobody needs it to be there after a power cut
						if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, shot.Bytes(), 0o644)); err != nil {
							t.Fatal(err)
						}
						c.Evidence = append(c.Evidence, name)
					}
					a.Cells = append(a.Cells, c)
				}
			}
		}
		r.Apps = append(r.Apps, a)
	}
	return dir, r
}

// TestAPageStaysBelowThreeMegabytes has everything be red, each cell for reasons of its own that are
// as long as reasons can be.
func TestAPageStaysBelowThreeMegabytes(t *testing.T) {
	dir, r := forty(t, 10, func(c reports.Cell) string {
		var all []string
		for i := range 200 {
			all = append(all, fmt.Sprintf("container %s: property %s of %s is <another> value, wanted %s", c.App, strings.Repeat(string(rune('a'+(i+c.Cycle)%26)), 10), c.Step, strings.Repeat("&", 20)))
		}
		return reports.Text(strings.Join(all, "; "))
	})
	for range 500 {
		r.Warnings = append(r.Warnings, strings.Repeat("w", reports.MaxText))
		r.Reruns = append(r.Reruns, reports.Rerun{Cell: r.First.Cell, Reason: strings.Repeat("r", reports.MaxText)})
		r.Checklist = append(r.Checklist[:min(8, len(r.Checklist))], reports.Criterion{Text: "c", Why: r.First.Reason})
	}
	for n := range 6 { // of three machines
		h := reports.NodeHealth{Node: fmt.Sprintf("shard-%d/.%d", 1+n/2, n)}
		for k := range 300 {
			h.Problems = append(h.Problems, reports.Problem{Cycle: 1 + k, What: strings.Repeat("&", reports.MaxText)})
		}
		r.Health = append(r.Health, h)
		r.Unfit = append(r.Unfit, slices.Repeat([]string{strings.Repeat("u", reports.MaxText)}, 100)...)
	}
	page, err := reports.HTML(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range r.Health {
		if strings.Count(string(page), "<strong>Node "+h.Node+"</strong>") < 1 {
			t.Errorf("the page does not begin with what was wrong with %s", h.Node)
		}
	}
	one := *r
	one.Apps = r.Apps[:1]
	single, err := reports.HTML(dir, &one)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the page of the run has %d bytes, that of an application %d", len(page), len(single))
	if len(page) > most || len(single) > most {
		t.Error("that is too much")
	}
	for _, a := range r.Apps {
		for _, step := range r.Asked.Steps {
			if id := "c-" + a.ID + "-" + step; !strings.Contains(string(page), `id="`+id+`"`) || !strings.Contains(string(page), `href="#`+id+`"`) {
				t.Errorf("there is nothing to see of %s", id)
			}
		}
	}
	if n := strings.Count(string(page), "data:image/jpeg"); n < 40 {
		t.Errorf("%d screenshots are in the page", n)
	}
}

// TestARedRunOfFortyApplicationsIsReadable opens one in a real browser, on a desk and on a phone.
func TestARedRunOfFortyApplicationsIsReadable(t *testing.T) {
	dir, r := forty(t, 2, func(c reports.Cell) string {
		switch {
		case c.App == "application-03" && c.Step == matrix.Stop:
			return "invariant: container application-03: its unit's Restart is no, wanted always; port 8082 still answers"
		case c.App == "application-11" && c.Step == matrix.RebootSurvive && c.Node == ".198":
			return "waited 29s for application-11 to be back after the reboot, budget 30s: member is missing"
		}
		return ""
	})
	if err := reports.Render(dir, r); err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer site.Close()
	b, err := matrix.StartBrowser(t.Context(), []string{site.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, width := range []int{1280, 390} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			tab, closeTab := chromedp.NewContext(b.Context())
			defer closeTab()
			if err := chromedp.Do(tab); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(tab, time.Minute)
			defer cancel()
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(int64(width), 800)); err != nil {
				t.Fatal(err)
			}
			open(t, ctx, site.URL+"/report.html", "#search") // without its script, the page has no search
			is := func(what, js string, want func(float64) bool) {
				t.Helper()
				got, err := chromedp.Run(ctx, chromedp.Evaluate[float64](js))
				if err != nil || !want(got) {
					t.Errorf("%s: %v, %v", what, got, err)
				}
			}
			equals := func(n float64) func(float64) bool { return func(got float64) bool { return got == n } }
			shown := func(css string) string {
				return fmt.Sprintf("[...document.querySelectorAll(%q)].filter(e => e.getClientRects().length > 0).length", css)
			}
			is("pixels beyond the window", "document.scrollingElement.scrollWidth - window.innerWidth", func(n float64) bool { return n <= 0 })
			is("where the first failure ends", `document.querySelector(".first").getBoundingClientRect().bottom`, func(n float64) bool { return n <= 800 })
			is("squares", shown(".heat td"), equals(40*9))
			is("the narrowest square", `Math.min(...[...document.querySelectorAll(".heat td")].map(e => e.getBoundingClientRect().width))`, func(n float64) bool { return n >= 20 })
			is("the lowest square", `Math.min(...[...document.querySelectorAll(".heat td")].map(e => e.getBoundingClientRect().height))`, func(n float64) bool { return n >= 18 })
			is("the highest row", `Math.max(...[...document.querySelectorAll(".heat tbody tr")].map(e => e.getBoundingClientRect().height))`, func(n float64) bool { return n <= 90 })
			is("names of steps that are cut", `[...document.querySelectorAll(".heat thead span")].filter(e => { const a = e.getBoundingClientRect(), b = e.closest("th").getBoundingClientRect(); return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1 }).length`, equals(0))
			is("names of applications that are cut", `[...document.querySelectorAll(".heat tbody th")].filter(e => e.scrollWidth > e.clientWidth).length`, func(n float64) bool { return n <= 1 }) // the longest there can be
			is("figures beyond their square", `[...document.querySelectorAll(".heat td")].filter(e => e.scrollWidth > e.clientWidth || e.getBoundingClientRect().height > 90).length`, equals(0))
			is("panels before one is asked for", shown(".square"), equals(0))

			picture(t, ctx, fmt.Sprintf("forty-%d.png", width))
			if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`td.failed a[href="#c-application-03-stop"]`))); err != nil {
				t.Fatal(err)
			}
			is("panels after one click", shown(".square"), equals(1))
			is("links to evidence in it", shown(`.square:target article a[href$="/journal-user.txt"]`), equals(2))
			is("what was expected", shown(`.square:target del`), equals(2))
			is("what was seen", shown(`.square:target ins`), equals(4))
			is("where it is", `document.querySelector(".square:target").getBoundingClientRect().top`, func(n float64) bool { return n >= 0 && n < 400 })
			is("pixels beyond the window, with it", "document.scrollingElement.scrollWidth - window.innerWidth", func(n float64) bool { return n <= 0 })
			picture(t, ctx, fmt.Sprintf("forty-%d-open.png", width))
			is("missing evidence", `Number([...document.querySelectorAll('.square:target article a')].some(a => !a.getAttribute("href").startsWith("evidence/application-03/")))`, equals(0))

			if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`label[for=only-red]`))); err != nil {
				t.Fatal(err)
			}
			is("rows of what is red", shown(".heat tbody tr"), equals(2))
			if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`label[for=only-all]`)), chromedp.SendKeys(chromedp.CSS("#search"), "reboot red")); err != nil {
				t.Fatal(err)
			}
			is("rows that are found", shown(".heat tbody tr"), equals(1))
			open(t, ctx, site.URL+"/apps/application-03.html", ".square article")
			is("failures of an application", shown(".square article"), equals(4))
			is("pixels beyond its window", "document.scrollingElement.scrollWidth - window.innerWidth", func(n float64) bool { return n <= 0 })
		})
	}
}

// open opens a page and waits for a part of it. While this machine's network changes, as it does
// when nodes come and go, a browser gives up; that says nothing of the page.
func open(t *testing.T, ctx context.Context, url, part string) {
	t.Helper()
	var err error
	for range 5 {
		if err = chromedp.Do(ctx, chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS(part))); err == nil {
			return
		}
		if !strings.Contains(err.Error(), "net::ERR_NETWORK_CHANGED") {
			break
		}
	}
	t.Fatal(err)
}

// picture keeps what a test saw, where REPORT_PICTURES says.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("REPORT_PICTURES")
	if dir == "" {
		return
	}
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), shot, 0o644)); err != nil {
		t.Fatal(err)
	}
}
