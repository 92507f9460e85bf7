package look

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const asProgram = "LOOK_TEST_AS_PROGRAM"

// TestMain lets this program be the one that it tests.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// systemctl shows two units as systemd does, one of them with a property of several lines, and
// writes down that it was asked.
const systemctl = `#!/bin/sh
echo "$*" >>"$HOME/asked"
case $* in
*list-units*)
  printf '%s\n' 'pair-db.service loaded    active   running A data base' 'gone.service    not-found inactive dead    gone.service'
  exit ;;
esac
cat <<END
Id=pair-db.service
LoadState=loaded
ActiveState=active
SubState=running
WantedBy=pair.service default.target
ExecStartPre={ path=/bin/a ; argv[]=/bin/a --x=1 ; status=0/0 }
ExecStartPre={ path=/bin/b ; argv[]=/bin/b ; status=0/0 }
RestartUSec=100ms
ExecReload=
ControlGroup=/

Id=pair.service
LoadState=loaded
ActiveState=failed
SubState=failed
WantedBy=
MemoryMax=infinity
ControlGroup=
END
`

// place is a node's disk, and who looks there.
type place struct {
	t    *testing.T
	home string
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{t, t.TempDir()}
	p.write("bin/systemctl", systemctl)
	p.write("bin/journalctl", "#!/bin/sh\necho \"$*\" >>\"$HOME/asked\"\ncat \"$HOME/journal\"\n")
	p.write("journal", "started\n")
	p.write(unitFiles+"/pair.container", "[Container]\nLabel=\"io.archipelago.app=pair\"\n")
	p.write(unitFiles+"/pair-db.container", "[Container]\nLabel=\"io.archipelago.app=pair\"") // without an end
	p.write(unitFiles+"/other.container", "[Container]\nLabel=\"io.archipelago.app=pair-x\"\n#Label=\"io.archipelago.app=pair\"\n")
	p.write(unitFiles+"/pair.container.d/more.conf", "x\n")
	p.write(userUnits+"/pair-db.service.d/archipelago.conf", "")
	p.write(userUnits+"/pair.service.d/limit.conf", "") // the owner's
	p.write(userUnits+"/other.service.d/archipelago.conf", "")
	p.write("data/pair/db/table", "rows")
	p.write("data/_daemon/snapshots/pair/x", "")
	p.write("data/_daemon/secrets/pair/.hidden", "hidden")
	p.write("data/_daemon/secrets/pair/folder/x", "hidden, too")
	p.write("data/_daemon/state/desired/pair.json", "{}")
	p.write("data/_daemon/catalog/pair.yaml", "id: pair")
	for name, value := range forms {
		p.write("data/_daemon/secrets/pair/"+name, value)
	}
	for _, f := range []struct {
		name string
		mode os.FileMode
	}{{"pair/db", 0o2751}, {"_daemon/secrets/pair/word", 0o640}} {
		if err := os.Chmod(filepath.Join(p.data(), f.name), f.mode&0o777|setgid(f.mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("db", filepath.Join(p.data(), "pair/link")), os.Symlink("nowhere", filepath.Join(p.data(), "pair/dangling"))); err != nil {
		t.Fatal(err)
	}
	return p
}

func setgid(mode os.FileMode) os.FileMode {
	if mode&0o2000 != 0 {
		return os.ModeSetgid
	}
	return 0
}

// forms are secrets of every form, and of none.
var forms = map[string]string{
	"word": "S3cretValue", "number": "12345678", "hex": "0123456789abcdef", "hex-odd": "abc", "base64": "aGVsbG8gd29ybGQ=", "base64-2": "aGVsbG8gd29ybA==",
	"uuid": "0b8a8a0e-3c5f-4d6e-8f00-0123456789ab", "not-4": "0b8a8a0e-3c5f-1d6e-8f00-0123456789ab", "line": "0123456789abcdef\n", "two": "abcd\nefgh", "bytes": "\xff\xfeabc=", "empty": "", "pad": "====",
}

func (p place) data() string { return filepath.Join(p.home, "data") }

func (p place) write(name, content string) {
	p.t.Helper()
	file := filepath.Join(p.home, name)
	mode := os.FileMode(0o600)
	if strings.HasPrefix(name, "bin/") {
		mode = 0o700
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), mode)); err != nil {
		p.t.Fatal(err)
	}
}

// run has a program answer on the place, and gives what it tells, in order.
func (p place) run(stdin string, program string, args ...string) []string {
	p.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "HOME="+p.home, "PATH="+filepath.Join(p.home, "bin")+":"+os.Getenv("PATH"), asProgram+"=1")
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	told := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if told[len(told)-1] != "end" {
		p.t.Fatalf("the end is missing: %q", out)
	}
	for i := range told {
		told[i] = strings.Join(strings.Fields(told[i]), " ") // as they are read
	}
	slices.Sort(told)
	return told
}

// both have the program and the script that it stands in for answer, and want the same of them.
// What happens on the machine between the two is no difference: they are asked again.
func (p place) both(stdin string, args ...string) []string {
	p.t.Helper()
	script, err := os.ReadFile("testdata/look.sh")
	if err != nil {
		p.t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		want := p.run(stdin, "bash", append([]string{"-c", string(script)}, args...)...)
		got := p.run(stdin, os.Args[0], args...)
		if slices.Equal(got, want) {
			return got
		}
		if time.Now().After(deadline) {
			for _, line := range got {
				if !slices.Contains(want, line) {
					p.t.Errorf("only the program tells %q", line)
				}
			}
			for _, line := range want {
				if !slices.Contains(got, line) {
					p.t.Errorf("only the script tells %q", line)
				}
			}
			p.t.FailNow()
		}
	}
}

// look are the arguments of a look at everything.
func (p place) look(mains, others, inside string) []string {
	volumes := strings.Join([]string{p.data() + "/pair/db", p.data() + "/pair/link", p.data() + "/pair/dangling", p.data() + "/pair/gone"}, " ")
	return []string{"look", "pair", p.data(), "io.archipelago.app", "-63s", "pair-db.service pair.service", volumes, mains, others, inside, p.data() + " " + filepath.Join(p.data(), "pair/link") + " " + filepath.Join(p.data(), "nowhere"), inside, ""}
}

// inNamespaces starts a process that stands for a container's main one, with a child, in user
// and process namespaces of their own.
func inNamespaces(t *testing.T) (pid int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "sleep 600 & echo; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal("this machine must allow user namespaces: ", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestTheProgramTellsWhatTheScriptTold runs both on the same disk, processes and sockets.
func TestTheProgramTellsWhatTheScriptTold(t *testing.T) {
	if testing.Short() {
		t.Skip()
	}
	p := newPlace(t)
	pid := inNamespaces(t)
	open, talk := listen(t)
	main := fmt.Sprintf("%d:%d", pid, os.Getpid())
	inside := fmt.Sprintf("%d:/etc %d:/etc/passwd %d:/not/there", pid, pid, pid)
	told := p.both("[]", p.look(main, strconv.Itoa(os.Getpid()), inside)...)
	text := "\n" + strings.Join(told, "\n") + "\n"
	for _, want := range []string{
		"\nboot ", "\nids ", "\nunit pair-db.service loaded active running 1\n", "\nunit pair.service loaded failed failed 0\n",
		"\nproperty pair-db.service ExecStartPre { path=/bin/a ; argv[]=/bin/a --x=1 ; status=0/0 } { path=/bin/b ; argv[]=/bin/b ; status=0/0 }\n", "\nproperty pair-db.service ExecReload\n",
		"\nfile pair.container\n", "\nfile pair-db.container\n", " 2751\n", "\nvolume dangling ", "\nvolume gone absent\n", "\nfolder _daemon/snapshots/pair there\n", "\nfolder pair there\n",
		"\nsecret word ", " 640\n", "\nform uuid ,uuid\n", "\nform hex ,letters:16,hex:8,base64:12\n", "\nform two ,other\n", "\nns self user user:[", fmt.Sprintf("\nns %d uts uts:[", pid),
		fmt.Sprintf("\ninside %d /etc ", pid), fmt.Sprintf("\nroot %d %d\n", pid, os.Getuid()), fmt.Sprintf("\ncgroup %d /", pid), fmt.Sprintf("\nmount %d / ", pid),
		fmt.Sprintf("\nlimit %d own Max_open_files ", pid), fmt.Sprintf("\nlimit %d parent Max_open_files ", pid), fmt.Sprintf("\nprocess %d %d ", pid, pid), fmt.Sprintf(" sleep %d ", os.Getuid()), "\nsockets ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing is told of %q", want)
		}
	}
	if n := strings.Count(text, fmt.Sprintf("\nprocess %d ", pid)); n != 2 {
		t.Errorf("%d processes of the container, expected 2", n)
	}
	for _, socket := range open {
		if !strings.Contains(text, "\nsocket "+socket+" ") {
			t.Errorf("%s is not told", socket)
		}
	}
	for _, socket := range talk {
		if strings.Contains(text, "\nsocket "+socket+" ") {
			t.Errorf("%s is told, which holds no port", socket)
		}
	}
	if strings.Contains(text, "\nleak ") || strings.Contains(text, "\nfailed ") || strings.Contains(text, "/not/there") {
		t.Errorf("%s", text)
	}
}

// TestTheProgramFindsWhatTheScriptFound has a secret leak in each place, be it across the pieces
// that a text is read in, and each question fail.
func TestTheProgramFindsWhatTheScriptFound(t *testing.T) {
	long := strings.Repeat("x", 64<<10-5)
	for name, c := range map[string]struct {
		file, content, stdin string
		want                 string // all that is told of leaks and failures
	}{
		"nowhere":                    {stdin: "S3cretValu"},
		"in the inspection":          {stdin: "[{\n" + long + "S3cretValue\n}]", want: "leak inspect"},
		"one line of it":             {stdin: "efgh", want: "leak inspect"},
		"bytes":                      {stdin: "a\x00\xff\xfeabc=", want: "leak inspect"},
		"in a unit file":             {file: unitFiles + "/pair.container.d/.more.conf", content: "S3cretValue", want: "leak unit-files"},
		"in the journal":             {file: "journal", content: "x\n" + long + "S3cretValue" + long + long, want: "leak journal"},
		"in the daemon's state":      {file: "data/_daemon/state/deep/er", content: long + "S3cretValue", want: "leak catalog-or-state"},
		"in the daemon's catalog":    {file: "data/_daemon/catalog/pair.yaml", content: "S3cretValue", want: "leak catalog-or-state"},
		"a journal that has no end":  {file: "bin/journalctl", content: "#!/bin/sh\nyes S3cretValue\n", want: "leak journal"},
		"no journal":                 {file: "bin/journalctl", content: "#!/bin/sh\nexit 1\n", want: "failed journal"},
		"no systemd":                 {file: "bin/systemctl", content: "#!/bin/sh\nexit 1\n", want: "failed systemctl"},
		"a journal that has its end": {file: "bin/journalctl", content: "#!/bin/sh\nexit 0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			if c.file != "" {
				p.write(c.file, c.content)
			}
			var found []string
			for _, line := range p.both(c.stdin, p.look("", "", "")...) {
				if strings.HasPrefix(line, "leak ") || strings.HasPrefix(line, failed) {
					found = append(found, line)
				}
			}
			if got := strings.Join(found, ", "); got != c.want {
				t.Errorf("%q, expected %q", got, c.want)
			}
		})
	}
}

// TestALookAsksTwoPrograms counts them: what else is told, it reads itself.
func TestALookAsksTwoPrograms(t *testing.T) {
	p := newPlace(t)
	p.run("[]", os.Args[0], p.look("", "", "")...)
	asked, err := os.ReadFile(filepath.Join(p.home, "asked"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(asked, []byte("\n")); n != 2 || !strings.Contains(string(asked), "--user --since -63s -o cat") || !strings.Contains(string(asked), "pair-db.service pair.service") {
		t.Errorf("%d programs: %s", n, asked)
	}
}

// TestAGlanceIsOneQuestion wants one list of all services, whose properties are not asked.
func TestAGlanceIsOneQuestion(t *testing.T) {
	p := newPlace(t)
	told := p.run("", os.Args[0], "glance")
	if len(told) != 4 || !strings.HasPrefix(told[0], "boot ") || told[2] != "unit gone.service not-found inactive dead -" || told[3] != "unit pair-db.service loaded active running -" {
		t.Errorf("%q", told)
	}
	asked, err := os.ReadFile(filepath.Join(p.home, "asked"))
	if err != nil || bytes.Count(asked, []byte("\n")) != 1 || !bytes.Contains(asked, []byte("list-units --all")) {
		t.Errorf("%s, %v", asked, err)
	}
	p.write("bin/systemctl", "#!/bin/sh\nexit 1\n")
	if told := p.run("", os.Args[0], "glance"); !slices.Contains(told, "failed systemctl") {
		t.Errorf("%q", told)
	}
}

func TestWhoseMainProcessIsGoneIsSaid(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(ended.Process.Pid)
	p := newPlace(t)
	if told := p.both("[]", p.look(pid+":"+strconv.Itoa(os.Getpid()), pid, pid+":/etc")...); !slices.Contains(told, "gone "+pid) {
		t.Errorf("%q", told)
	}
}

// TestTheEnginesProgramIsKnownByItsFile starts a program as crun starts itself, from a mount
// that is gone: the kernel has no name for its file.
func TestTheEnginesProgramIsKnownByItsFile(t *testing.T) {
	dir := t.TempDir()
	engine, at := filepath.Join(dir, "engine"), filepath.Join(dir, "at")
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(engine, sleep, 0o755), os.WriteFile(at, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", `mount --bind "$1" "$2"; exec 3<"$2"; umount -l "$2"; exec /proc/self/fd/3 300`, "sh", engine, at)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	pid := strconv.Itoa(cmd.Process.Pid)
	for link := ""; link != "/"; link, err = os.Readlink("/proc/" + pid + "/exe") {
		if err != nil {
			t.Fatal(err)
		}
	}
	if name := program(pid); name != "/" {
		t.Errorf("a program that is no engine's is %q", name)
	}
	defer func(were []string) { engines = were }(engines)
	engines = []string{filepath.Join(dir, "absent"), engine}
	if name := program(pid); name != "engine" {
		t.Errorf("the engine's program is %q", name)
	}
}

func TestAnAnswerThatIsTooLongHasNoEnd(t *testing.T) {
	var out bytes.Buffer
	p := newPlace(t)
	t.Setenv("HOME", p.home)
	volumes := strings.Repeat(p.data()+"/pair/db ", most/20)
	if status := Main([]string{"look", "pair", p.data(), "l", "-1s", "", volumes, "", "", "", "", "", ""}, strings.NewReader(""), &out); status != 0 {
		t.Fatal(status)
	}
	if out.Len() > most || bytes.HasSuffix(out.Bytes(), []byte("\nend\n")) || !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		t.Errorf("%d bytes, the last of them %q", out.Len(), out.Bytes()[out.Len()-20:])
	}
}

func TestWhatIsNoQuestionIsRefused(t *testing.T) {
	for _, args := range [][]string{nil, {"look"}, {"glance", "x"}, {"stare"}} {
		if status := Main(args, strings.NewReader(""), io.Discard); status != 2 {
			t.Errorf("%q: %d", args, status)
		}
	}
}
