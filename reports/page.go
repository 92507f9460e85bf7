package reports

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"image"
	"image/jpeg"
	"image/png"
	"io/fs"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/image/draw"

	"github.com/archipelago-cloud/archipelago/internal/plain"
)

//go:embed report.html
var reportHTML string

// What bounds a page, so that one of forty applications of which everything is red stays below
// 3 MB. Sizes are in bytes. What is left out is in the page of its application, or in report.json.
const (
	maxDetails = 512 << 10 // of what witnesses saw
	maxShots   = 1 << 20   // of screenshots, as they stand in the page
	maxTold    = 600       // of a text beside others
	maxRows    = 12        // of the cells of one square, beside those that are told in detail
	maxList    = 100       // of a list
	maxFaults  = 20        // of a reason
	maxAt      = 20        // squares of a kind of failure
	maxWrong   = 24        // problems of all nodes together, each of which has one at least
	maxUnfit   = 10        // of what makes a run unfit

	shotWidth  = 240     // pixels of a screenshot in the page of a run
	shotPixels = 1 << 24 // beyond which one is not made smaller
	quality    = 50      // of its JPEG
)

// heat is one square of the heat map of applications and steps.
type heat struct {
	App, Step                     string
	Passed, Failed, NotRun, Total int
	Class                         string
}

// row is what a page shows of one application.
type row struct {
	App
	Squares []heat
}

// Is are the words by which rows are filtered, and Find the text in which is searched.
func (r row) Is() string {
	is := string(r.Verdict)
	if len(r.Flaky) > 0 {
		is += " flaky"
	}
	return is
}

func (r row) Find() string {
	words := []string{r.ID, r.Version, r.Is(), r.Level}
	for _, h := range r.Squares {
		if h.Failed > 0 {
			words = append(words, h.Step)
		}
	}
	return strings.ToLower(strings.Join(words, " "))
}

type shot struct {
	row
	Node, File string
	Data       template.URL // empty: there is no room for it
}

type link struct{ Name, Href string }

type failure struct {
	Result
	Faults []Difference
	Rest   int // faults that are left out
	Links  []link
}

// square is what there is to see of a red square: its cells in the order in which they failed,
// the first of each node in detail.
type square struct {
	App, Step string
	Total     int
	Failed    int
	Told      []failure
	Rows      []failure
}

// ID is the square's anchor.
func (s square) ID() string { return anchor(s.App, s.Step) }

// ID is the cell's anchor in the page of its application.
func (f failure) ID() string { return fmt.Sprintf("f-%s-%s-%d", f.Step, f.Node, f.Cycle) }

func anchor(app, step string) string { return "c-" + app + "-" + step }

// kind are the failures of one reason.
type kind struct {
	First Result
	Text  string
	Cells int
	Nodes []string
	Of    []string // applications and steps
	At    []link   // squares
}

// boot is how long an application took to be back after a reboot: medians of its cells that passed.
type boot struct {
	row
	Seconds float64
	Timing  Timing
}

type view struct {
	*Report
	Single  bool // one application's page, a folder below
	Rows    []row
	Kinds   []kind
	Squares []square
	Boots   []boot
	Shots   []shot
	Max     float64 // longest p95
	MaxBoot float64
	Counts  map[string]int
	details int // bytes, so far
	shots   int
}

// Href is where a page finds a file of the run.
func (v *view) Href(file string) string {
	if v.Single {
		file = "../" + file
	}
	return filepath.ToSlash(file)
}

// HTML gives one self-contained page, with the screenshots from dir in it as far as there is room.
func HTML(dir string, r *Report) ([]byte, error) {
	v := &view{Report: r, Single: len(r.Apps) == 1 && len(r.Asked.Apps) > 1, Counts: map[string]int{}}
	var failed []Result
	for _, a := range r.Apps {
		one := row{App: a, Squares: make([]heat, len(r.Asked.Steps))}
		for i, step := range r.Asked.Steps {
			one.Squares[i] = heat{App: a.ID, Step: step}
		}
		for _, c := range a.Cells {
			h := &one.Squares[slices.Index(r.Asked.Steps, c.Step)]
			h.Total++
			v.Counts[string(c.Status)]++
			switch c.Status {
			case Passed:
				h.Passed++
			case Failed:
				h.Failed++
				failed = append(failed, c)
			default:
				h.NotRun++
			}
		}
		for i := range one.Squares {
			switch h := &one.Squares[i]; {
			case h.Failed > 0:
				h.Class = "failed"
			case h.NotRun > 0, h.Total == 0:
				h.Class = "notrun"
			default:
				h.Class = "passed"
			}
		}
		v.Rows = append(v.Rows, one)
	}
	slices.SortStableFunc(failed, func(a, b Result) int { return a.At.Compare(b.At) })
	v.group(failed)
	v.tell(failed)
	v.boots()
	if err := v.see(dir); err != nil {
		return nil, err
	}
	for _, t := range r.Timing {
		v.Max = max(v.Max, t.P95)
	}
	return v.page()
}

// group puts failures of one reason and kind together: the worst kind first, then the most frequent.
func (v *view) group(failed []Result) {
	at := map[string]int{}
	seen := map[string]bool{}
	for _, c := range failed {
		text := alike(c)
		same := string(c.Kind) + " " + text
		i, known := at[same]
		if !known {
			i = len(v.Kinds)
			at[same], v.Kinds = i, append(v.Kinds, kind{First: c, Text: plain.Clip(text, maxTold)})
		}
		k := &v.Kinds[i]
		k.Cells++
		if !slices.Contains(k.Nodes, c.Node) {
			k.Nodes = append(k.Nodes, c.Node)
		}
		for _, name := range []string{c.App, c.Step} {
			if !slices.Contains(k.Of, name) {
				k.Of = append(k.Of, name)
			}
		}
		if where := fmt.Sprint(i, anchor(c.App, c.Step)); !seen[where] {
			seen[where] = true
			k.At = append(k.At, link{c.App + " " + c.Step, "#" + anchor(c.App, c.Step)})
		}
	}
	worst := func(k kind) int { return slices.Index([]Failure{DataLoss, Invariant, ""}, k.First.Kind) }
	slices.SortStableFunc(v.Kinds, func(a, b kind) int {
		return cmp.Or(cmp.Compare(worst(a), worst(b)), cmp.Compare(b.Cells, a.Cells))
	})
}

// tell lays out what there is to see of each red square.
func (v *view) tell(failed []Result) {
	told, rows := 1, maxRows // of a node
	if v.Single {
		told, rows = math.MaxInt, math.MaxInt
	}
	for _, a := range v.Rows {
		for _, h := range a.Squares {
			if h.Failed == 0 {
				continue
			}
			s := square{App: h.App, Step: h.Step, Failed: h.Failed, Total: h.Total}
			of := map[string]int{} // told, by node
			for _, c := range failed {
				if c.App != h.App || c.Step != h.Step {
					continue
				}
				f := failure{Result: c}
				for _, e := range c.Evidence {
					f.Links = append(f.Links, link{path.Base(filepath.ToSlash(e)), v.Href(e)})
				}
				switch {
				case of[c.Node] < told && v.details < maxDetails:
					of[c.Node]++
					f.Faults = Differences(c.Reason)
					f.Rest = max(0, len(f.Faults)-maxFaults)
					f.Faults = f.Faults[:len(f.Faults)-f.Rest]
					for i, d := range f.Faults {
						f.Faults[i] = Difference{plain.Clip(d.What, maxTold), plain.Clip(d.Expected, maxTold), plain.Clip(d.Seen, maxTold)}
						v.details += min(maxTold, len(d.What)) + min(maxTold, len(d.Expected)) + min(maxTold, len(d.Seen)) + 100
					}
					v.details += 500
					s.Told = append(s.Told, f)
				case len(s.Rows) < rows:
					s.Rows = append(s.Rows, f)
				}
			}
			v.Squares = append(v.Squares, s)
		}
	}
}

// MaxAt bounds the squares that are named of a kind of failure.
func (v *view) MaxAt() int { return maxAt }

// MaxWrong bounds the problems that are told of a node.
func (v *view) MaxWrong() int { return max(1, maxWrong/max(1, len(v.Health))) }

// MaxUnfit bounds what is told of why a run is unfit.
func (v *view) MaxUnfit() int { return maxUnfit }

// Left is how many cells of a square are on no page but its application's.
func (s square) Left() int { return s.Failed - len(s.Told) - len(s.Rows) }

// afterReboot is the step whose cells say how long a boot took.
const afterReboot = "reboot-survive"

// boots gives the applications by how long they took to be back, the slowest first.
func (v *view) boots() {
	for _, a := range v.Rows {
		var all []Result
		for _, c := range a.Cells {
			if c.Step == afterReboot && c.Status == Passed {
				all = append(all, c)
			}
		}
		if len(all) == 0 {
			continue
		}
		slices.SortFunc(all, func(a, b Result) int { return cmp.Compare(a.Seconds, b.Seconds) })
		middle := all[(len(all)-1)/2]
		v.Boots = append(v.Boots, boot{a, middle.Seconds, middle.Timing})
		v.MaxBoot = max(v.MaxBoot, middle.Seconds)
	}
	slices.SortStableFunc(v.Boots, func(a, b boot) int { return cmp.Compare(b.Seconds, a.Seconds) })
}

// see takes over the last screenshot of each application and node: in the page of a run smaller,
// and as long as there is room.
func (v *view) see(dir string) error {
	for _, a := range v.Rows {
		last := map[string]string{}
		for _, c := range a.Cells {
			for _, e := range c.Evidence {
				if filepath.Base(e) == "screenshot.png" {
					last[c.Node] = e
				}
			}
		}
		for _, node := range v.Asked.Nodes {
			file, ok := last[node]
			if !ok {
				continue
			}
			b, err := readFile(dir, file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			s := shot{row: a, Node: node, File: v.Href(file)}
			form := "png"
			if len(v.Apps) > 1 {
				if b = smaller(b); b != nil {
					form = "jpeg"
				}
			}
			data := "data:image/" + form + ";base64," + base64.StdEncoding.EncodeToString(b)
			if len(b) > 0 && v.shots+len(data) <= maxShots {
				v.shots += len(data)
				s.Data = template.URL(data)
			}
			v.Shots = append(v.Shots, s)
		}
	}
	return nil
}

// smaller makes a small JPEG of a PNG; nil if it is none, or too large to be looked at.
func smaller(b []byte) []byte {
	size, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil || size.Width <= 0 || size.Height <= 0 || size.Width > shotPixels/size.Height {
		return nil
	}
	whole, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	height := max(1, min(2*shotWidth, shotWidth*size.Height/size.Width)) // of a long page, it is squeezed
	small := image.NewRGBA(image.Rect(0, 0, shotWidth, height))
	draw.ApproxBiLinear.Scale(small, small.Bounds(), whole, whole.Bounds(), draw.Src, nil)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: quality}); err != nil {
		return nil
	}
	return out.Bytes()
}

// script is the one script of a page, which searches; see docs/adr/0018-one-script.md.
func script() string {
	_, rest, _ := strings.Cut(reportHTML, "<script>")
	text, _, _ := strings.Cut(rest, "</script>")
	return text
}

func (v *view) page() ([]byte, error) {
	wrong := v.MaxWrong()
	sum := sha256.Sum256([]byte(script()))
	source := strings.Replace(reportHTML, "SCRIPT", "sha256-"+base64.StdEncoding.EncodeToString(sum[:]), 1)
	t, err := template.New("report").Funcs(template.FuncMap{
		"upper":    strings.ToUpper,
		"lower":    strings.ToLower,
		"headline": Headline,
		"again":    Again,
		"anchor":   anchor,
		"told":     func(s string) string { return plain.Clip(s, maxTold) },
		"few":      func(n int) bool { return n < maxList },
		"more":     func(n int) int { return max(0, n-maxList) },
		"wrong":    func(n int) bool { return n < wrong },
		"rest":     func(n, most int) int { return max(0, n-most) },
		"seconds":  func(s float64) string { return fmt.Sprintf("%.1f", s) },
		"share": func(part, whole float64) float64 {
			if whole == 0 {
				return 0
			}
			return 100 * part / whole
		},
		"join":  strings.Join,
		"short": func(s string) string { return s[:min(12, len(s))] },
		"lasted": func(s float64) string {
			return fmt.Sprintf("%d min %02d s", int(s)/60, int(s)%60)
		},
	}).Parse(source)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, err
	}
	return []byte(plain.Text(b.String())), nil
}
