package archipelago

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents gives the text of every Markdown file, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "out" || path == ".git"):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			b, err := os.ReadFile(path)
			docs[path] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if docs["README.md"] == "" {
		t.Fatal("README.md was not found")
	}
	return docs
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	target  = regexp.MustCompile("(?m)(?:`|^)make((?: [a-z][a-z0-9-]*)+)")
	rule    = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
	unword  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the fragments that GitHub gives a document's headings.
func anchors(doc string) map[string]bool {
	out := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(doc, -1) {
		out[strings.ReplaceAll(unword.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return out
}

func TestLinksInDocumentsResolve(t *testing.T) {
	docs := documents(t)
	for path, text := range docs {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], ":") {
				continue // elsewhere on the web
			}
			file, fragment, _ := strings.Cut(m[1], "#")
			file = filepath.Join(filepath.Dir(path), file)
			if strings.HasPrefix(m[1], "#") {
				file = path
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			} else if fragment != "" && !anchors(docs[file])[fragment] {
				t.Errorf("%s links to %s, which has no such heading", path, m[1])
			}
		}
	}
}

// TestTargetsInDocumentsExist wants every "make TARGET" that a document tells people
// to type to be a target of the Makefile.
func TestTargetsInDocumentsExist(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range rule.FindAllStringSubmatch(string(makefile), -1) {
		known[m[1]] = true
	}
	for path, text := range documents(t) {
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			for _, name := range strings.Fields(m[1]) {
				if !known[name] {
					t.Errorf("%s says 'make %s'; the Makefile has no target %s", path, strings.TrimSpace(m[1]), name)
				}
			}
		}
	}
}

var (
	testName  = regexp.MustCompile(`\bTest[A-Z]\w*`)
	testFunc  = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`)
	testsOfIt = regexp.MustCompile("`([a-z/]+)`: (Test\\w+(?:, Test\\w+)*)")
)

// TestTestsNamedInDocumentsExist wants every test that a document names to be a function of
// some _test.go, and one that is named with its package ("`nodes`: TestA, TestB") to be there.
func TestTestsNamedInDocumentsExist(t *testing.T) {
	dirs := map[string][]string{} // of each test, those it is in
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "out" || path == ".git"):
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			b, err := os.ReadFile(path)
			for _, m := range testFunc.FindAllSubmatch(b, -1) {
				dirs[string(m[1])] = append(dirs[string(m[1])], filepath.ToSlash(filepath.Dir(path)))
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	docs := documents(t)
	if len(testName.FindAllString(docs["TESTING.md"], -1)) < 50 {
		t.Fatal("TESTING.md names hardly any test")
	}
	for path, text := range docs {
		for _, name := range testName.FindAllString(text, -1) {
			if len(dirs[name]) == 0 {
				t.Errorf("%s names the test %s, which does not exist", path, name)
			}
		}
		for _, m := range testsOfIt.FindAllStringSubmatch(text, -1) {
			for name := range strings.SplitSeq(m[2], ", ") {
				if len(dirs[name]) > 0 && !slices.Contains(dirs[name], m[1]) {
					t.Errorf("%s names the test %s of %s; it is in %s", path, name, m[1], strings.Join(dirs[name], ", "))
				}
			}
		}
	}
}

// rows gives the first cell of each row of a table, and what follows it, in the section of
// a document with this heading.
func rows(doc, heading string) map[string]string {
	_, section, _ := strings.Cut(doc, "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n#") // the next one, of any level
	out := map[string]string{}
	for line := range strings.Lines(section) {
		if cells := strings.SplitN(strings.TrimSpace(line), "|", 3); len(cells) == 3 && !strings.HasPrefix(cells[1], " ---") {
			out[strings.TrimSpace(cells[1])] = cells[2]
		}
	}
	delete(out, "")
	return out
}

// TestEveryPromiseHasATest wants TESTING.md to name a test for each promise that owners are
// given, and no promise that they are not.
func TestEveryPromiseHasATest(t *testing.T) {
	docs := documents(t)
	seen := rows(docs["TESTING.md"], "Promises")
	delete(seen, "promise")
	promised := map[string]bool{}
	for _, doc := range []string{"OPERATING.md", "SECURITY.md"} {
		before := len(promised)
		for promise := range rows(docs[doc], "What is promised") {
			promised[promise] = true
			if !testName.MatchString(seen[promise]) {
				t.Errorf("%s promises %q, and TESTING.md names no test of it under Promises", doc, promise)
			}
		}
		if len(promised) < before+10 {
			t.Fatalf("%s promises hardly anything", doc)
		}
	}
	for promise := range seen {
		if !promised[promise] {
			t.Errorf("TESTING.md has tests of %q, which neither OPERATING.md nor SECURITY.md promises", promise)
		}
	}
}

// TestPlantedFaultsOfTheTableArePlanted wants every fault that TESTING.md's table names to be
// one of the self-test's, which wants the reverse.
func TestPlantedFaultsOfTheTableArePlanted(t *testing.T) {
	var planted []byte
	for _, file := range []string{"selftest_test.go", "update_test.go"} {
		b, err := os.ReadFile("gate/selftest/" + file)
		if err != nil {
			t.Fatal(err)
		}
		planted = append(planted, b...)
	}
	table := rows(documents(t)["TESTING.md"], "The gate can fail")
	delete(table, "planted fault")
	if len(table) < 30 {
		t.Fatalf("TESTING.md names only %d planted faults", len(table))
	}
	for fault := range table {
		if !strings.Contains(string(planted), `"`+fault+`"`) {
			t.Errorf("TESTING.md says that the self-test plants %q; it does not", fault)
		}
	}
}

var code = regexp.MustCompile("`([^`]+)`")

// packagesInHacking gives the packages that HACKING.md's tables name, row by row.
func packagesInHacking(t *testing.T) (rows [][]string) {
	t.Helper()
	_, section, _ := strings.Cut(documents(t)["HACKING.md"], "\n## Packages\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		var row []string
		for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
			row = append(row, m[1])
		}
		if len(row) > 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

// TestTablesOfPackagesAreThoseOfTheCode wants HACKING.md to have the orchestrator's rooms
// as architecture_test.go has them, line by line, and every other package once.
func TestTablesOfPackagesAreThoseOfTheCode(t *testing.T) {
	rows := packagesInHacking(t)
	if len(rows) < len(rooms) {
		t.Fatalf("HACKING.md names packages in %d rows; the orchestrator alone has %d", len(rows), len(rooms))
	}
	named := map[string]int{"orchestrator/api/apiconnect": 1} // of api, generated
	for i, row := range rows {
		if i < len(rooms) {
			want := slices.Sorted(slices.Values(rooms[i]))
			want = slices.DeleteFunc(want, func(s string) bool { return s == "api/apiconnect" })
			if want[0] == "" {
				want[0] = "orchestrator"
			}
			if got := slices.Sorted(slices.Values(row)); !slices.Equal(got, want) {
				t.Errorf("HACKING.md, row %d of the orchestrator's packages: %q, expected %q", i+1, got, want)
			}
		}
		for _, name := range row {
			if i < len(rooms) && name != "orchestrator" {
				name = "orchestrator/" + name
			}
			named[name]++
		}
	}
	pkgs := imports(t)
	delete(pkgs, strings.TrimSuffix(module, "/"))
	for _, name := range slices.Sorted(maps.Keys(pkgs)) {
		if named[name] == 0 && !within(name, "cmd/internal") {
			t.Errorf("HACKING.md's tables do not name the package %s", name)
		}
	}
	for name, times := range named {
		if _, there := pkgs[name]; !there || times != 1 {
			t.Errorf("HACKING.md's tables name %s %d times; there is such a package: %v", name, times, there)
		}
	}
}

// TestDrawingHasTheRoomsInTheirLines wants docs/rooms.dot to have a row for each line of
// the orchestrator's rooms. client is drawn with archy, which links it.
func TestDrawingHasTheRoomsInTheirLines(t *testing.T) {
	dot, err := os.ReadFile("docs/rooms.dot")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`\{ rank=same; (.*) \}`).FindAllSubmatch(dot, -1)
	if len(rows) != len(rooms) {
		t.Fatalf("docs/rooms.dot has %d rows, expected %d", len(rows), len(rooms))
	}
	for i, line := range rooms {
		want := drawn(line)
		got := slices.Sorted(strings.SplitSeq(string(rows[len(rows)-1-i][1]), "; "))
		if !slices.Equal(got, want) {
			t.Errorf("docs/rooms.dot, row %d from below: %q, expected %q", i+1, got, want)
		}
	}
}

// drawn gives the names of a line's rooms as the drawing has them, sorted.
func drawn(line []string) (names []string) {
	for _, name := range line {
		switch name {
		case "client", "api/apiconnect":
		case "":
			names = append(names, "loop")
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
