package support

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestAReportSaysWhatTheNodeIsAndWhatIsWrong(t *testing.T) {
	n := Node{
		Made:     noon,
		About:    About("box.local", "1.2.3", "abc", noon, "beta 7"),
		Findings: []host.Finding{{Name: "disk", OK: true, Detail: "enough is free"}, {Name: "clock", Detail: "it is wrong", Remedy: "timedatectl set-ntp true"}},
		Apps: []view.View{{
			Manifest: &manifest.Manifest{ID: "feeds", Version: "2", Settings: []manifest.Setting{{Name: "color", Default: "red"}, {Name: "title"}}}, Config: map[string]string{"color": "red", "title": "the Millers"},
			Source: "catalog beta 7", State: view.Failed, Goal: state.Running, Error: "it does not start", Containers: []host.Container{{Name: "feeds", State: "exited", StartedAt: noon}, {Name: "feeds-db"}},
		}},
		Asked: map[string][]state.Asked{"": {{Time: noon, Who: "owner", What: "sign in"}}, "feeds": {{Time: noon.Add(time.Hour), Who: "owner", What: "start", Refused: "busy"}, {Time: noon, Who: "owner", What: "stop"}}},
		Logs:  map[string]Log{"feeds": {Lines: []host.LogLine{{At: noon, Text: "up"}, {Text: "two\n== Applications\x1b[2J"}, {Text: strings.Repeat("wide ", 200)}}}, "feeds-db": {Problem: "its log did not come in 5s"}},
	}
	text := n.Text()
	for _, want := range []string{
		"made 2026-03-01T12:00:00Z\n", "\nname: box.local\n", "\ncatalog: beta 7\n", "\nwell      disk: enough is free\n", "\nNOT WELL  clock: it is wrong\n          to do: timedatectl set-ntp true\n",
		"\nfeeds 2 (catalog beta 7): failed, to be running\n    error: it does not start\n    set: title\n    container feeds: exited , since 2026-03-01T12:00:00Z\n    container feeds-db: not there \n",
		"\n== What was asked of the node\n2026-03-01T12:00:00Z  owner: sign in\n", "\n== What was asked of feeds\n2026-03-01T12:00:00Z  owner: stop\n2026-03-01T13:00:00Z  owner: start; refused: busy\n",
		"\n== What feeds said last\n2026-03-01T12:00:00Z  up\n-  two\n    == Applications\\x1b[2J\n", "bytes more)\n", "\n== What feeds-db said last\nnot known: its log did not come in 5s\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "Millers") {
		t.Error("the value of a setting is in it")
	}
}

// TestAReportHoldsNoSecret has secrets of all kinds in all that a report is made of.
func TestAReportHoldsNoSecret(t *testing.T) {
	const password, phrase, pem = "Zq4/x+9 &Kw\"7", "abandon ability able", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIE\nx8ZLs0wXq\n-----END PRIVATE KEY-----"
	secrets := Known(map[string]string{"feeds/password": password + "\n", "wallet/phrase": phrase, "wallet/key": pem, "feeds/short": "ab", "feeds/longer": password + "longer", "feeds/signs": "+/&+/&"})
	leaks := map[string]string{ // what is said, and what must not be left of it
		"the password is " + password:                       password,
		"longer: " + password + "longer":                    "longer]longer",
		"/?p=" + url.QueryEscape(password):                  url.QueryEscape(password),
		base64.StdEncoding.EncodeToString([]byte(password)): base64.StdEncoding.EncodeToString([]byte(password)),
		fmt.Sprintf("%q", password):                         `Kw\"7`,
		"seed words: " + phrase:                             "ability",
		pem:                                                 "x8ZLs0wXq",
		"-----BEGIN RSA PRIVATE KEY----- MIIabc":            "MIIabc",
		"GET / Authorization: Bearer abcdefgh12345":         "abcdefgh12345",
		"token archipelago_ABCDEFGHIJKLMNOPQRSTUVWXYZ ends": "archipelago_",
		"postgres://feeds:hunter2@db/feeds":                 "hunter2",
		`{"db_password": "hunter 2", "x": 1}`:               "hunter",
		"API_KEY=hunter2 other=1":                           "hunter2",
		"set secret: 'hunter2'":                             "hunter2",
		"GET / session=hunter2; x=1":                        "hunter2",
		"AGE-SECRET-KEY-1QQQQQQ":                            "1QQQQQQ",
		"mail to someone.else@mail.example.org":             "someone",
		"from 8.8.8.8:53 and 2606:4700::1111":               "8.8.8.8",
		"from 2606:4700::1111":                              "4700",
		strings.Repeat("x", 490) + password:                 password[:9],
		"token=" + strings.Repeat("A", 955) + " postgres://u:hunter2hunter2hunter2@db/x": "hunter2",
		// As others write them.
		"lower /?p=" + strings.ToLower(url.QueryEscape("+/&+/&")):            "%2b%2f%26",
		`{"p":"Zq4\/x+9 \u0026Kw\"7"}`:                                       `Kw\"7`,
		fmt.Sprintf("%X", password):                                          fmt.Sprintf("%X", password)[:8],
		"of the file " + base64.StdEncoding.EncodeToString([]byte(pem+"\n")): "LS0tLS1CRUdJTiBQ",
		`-----BEGIN PRIVATE KEY-----\nMIIother\n-----END PRIVATE KEY-----`:   "MIIother",
		"-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOYother":                   "lQOYother",
		"PGPASSWORD=hunter2":                                                 "hunter2",
		`dbPassword: hunter2 {"clientSecret":"hunter2"}`:                     "hunter2",
		"AWS_SECRET_ACCESS_KEY=hunter2 SECRET_KEY_BASE=hunter2":              "hunter2",
		`msg="{\"password\":\"hunter 2\"}"`:                                  "hunter",
		`{"password": "abc\"hunter2"}`:                                       "hunter2",
		"Cookie: theme=dark; connect.sid=hunter2":                            "hunter2",
		"server --db-password hunter2 -v":                                    "hunter2",
		"Authorization: hunter2":                                             "hunter2",
		"amqp://feeds:hunt/er2@x@db/feeds":                                   "er2",
		"is eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.hunter2":                    "hunter2",
		"from ::ffff:8.9.10.11 by [::ffff:8.9.10.11]:443":                    "9.10.11",
		"peer:2606:4700::1111 and add:bad:8.9.10.11":                         "1111",
		"addr:8.9.10.11 or add:bad:8.9.10.11":                                "9.10.11",
	}
	for said, secret := range leaks {
		for where, text := range map[string]string{
			"a log":     Node{Secrets: secrets, Logs: map[string]Log{"feeds": {Lines: []host.LogLine{{Text: said}}}}}.Text(),
			"a problem": Node{Secrets: secrets, Logs: map[string]Log{"feeds": {Problem: said}}}.Text(),
			"a finding": Node{Secrets: secrets, Findings: []host.Finding{{Detail: said, Remedy: said}}}.Text(),
			"an error":  Node{Secrets: secrets, Apps: []view.View{{Manifest: &manifest.Manifest{}, Error: said, Note: said, Doing: said}}}.Text(),
			"the audit": Node{Secrets: secrets, Asked: map[string][]state.Asked{"": {{Who: said, What: said, Refused: said}}}}.Text(),
			"a fact":    Node{Secrets: secrets, About: []Fact{{"catalog", said}}}.Text(),
		} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %q is left of %q:\n%s", where, secret, said, text)
			}
		}
	}
}

func TestAReportKeepsWhatIsNoSecret(t *testing.T) {
	for _, said := range []string{
		"listening on 192.168.1.20:8080, [::1]:80, fd00::1 and 10.88.0.1", "from 100.64.3.2 by the tailnet", "at 12:30:45 version 1.2.3.4567 of 2026-03-01", "sha256:0123456789abcdef0123456789abcdef", "http://box.local:7070/path?x=1", "session: XDG_RUNTIME_DIR is set", "tokenizer ready; secrets are mounted", "mac 02:42:ac:11:00:02",
		"from ::ffff:192.168.1.20", "std::bad_alloc in std::fs::read by ActiveRecord::Base", "exceeded: 5, parsed: 3",
	} {
		if got := Known(map[string]string{"feeds/short": "ab", "feeds/empty": ""}).leaveOut(said); got != said {
			t.Errorf("%q became %q", said, got)
		}
	}
}

// TestAReportHasNoPrivateKeyThatALogHasLineByLine: the node does not know of it, and each line
// alone looks like nothing.
func TestAReportHasNoPrivateKeyThatALogHasLineByLine(t *testing.T) {
	var lines []host.LogLine
	for _, said := range []string{"my key: -----BEGIN RSA PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED", "", "c2VjcmV0LW9mLWFuLWFwcGxpY2F0aW9u", "out | c2VjcmV0LW9mLWFuLWFwcGxpY2F0aW9u", "c2Vjcg==", "-----END RSA PRIVATE KEY-----", "listening"} {
		lines = append(lines, host.LogLine{Text: said})
	}
	text := Node{Logs: map[string]Log{"feeds": {Lines: lines}, "other": {Lines: []host.LogLine{{Text: "cGxhaW4td29yZHMtb2YtYW4tYXBw"}}}}}.Text()
	if strings.Contains(text, "c2Vjc") || !strings.Contains(text, "-  listening\n") || !strings.Contains(text, "cGxhaW4t") || lines[5].Text != "c2Vjcg==" {
		t.Errorf("%s", text)
	}
}

// TestAReportOfLongLinesIsMadeSoon has an application say what takes longest to look through.
func TestAReportOfLongLinesIsMadeSoon(t *testing.T) {
	var lines []host.LogLine
	for range Tail {
		lines = append(lines, host.LogLine{Text: strings.Repeat("a.b@", 64<<10/4)})
	}
	began := time.Now()
	Node{Secrets: Known(map[string]string{"feeds/password": "Zq4x9Kw7"}), Logs: map[string]Log{"feeds": {Lines: lines}}}.Text()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}
