package strength

import (
	"strings"
	"testing"

	"github.com/trustelem/zxcvbn"
)

func TestWhatIsGuessedSoonIsRefusedWithTheReason(t *testing.T) {
	for password, reason := range map[string]string{
		"password12":              "a common password",
		"P@ssw0rd12":              "a common password with letters replaced",
		"drowssap12":              "a common password",
		"nogard1990":              "backwards",
		"qwertyuiop":              "password",
		"sdfghjkl;'[":             "keys beside each other",
		"abcdefghij":              "a sequence",
		"aaaaaaaaaaaa":            "a repetition",
		"lovelovelovelove":        "a repetition",
		"12.05.1987":              "a date",
		"margaret1987":            "a name and a date",
		"summer2019!!":            "a common password, a date and 2 more characters",
		"harbour-box":             "known of this node",
		"archipelago":             "known of this node",
		"kwtpv":                   "too short",
		strings.Repeat("ab", 100): "a repetition",
	} {
		err := Weak(password, "harbour-box", "archipelago")
		if err == nil || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), "password manager") {
			t.Errorf("%s: %v, not %q", password, err, reason)
			continue
		}
		if strings.Contains(strings.ToLower(err.Error()), password) {
			t.Errorf("%s: the reason has the password in it: %v", password, err)
		}
	}
	for _, password := range []string{"correct horse battery", "Kw7!pzQm2v", "blue harbour lantern", "корова лошадь дом сад", strings.Repeat("x8-Qq ", 30)} {
		if err := Weak(password, "box"); err != nil {
			t.Errorf("%s: %v", password, err)
		}
	}
}

// TestTheSearchFindsWhatTheLibraryFinds compares the number of guesses with that of zxcvbn's
// own search, which takes all its readings into account.
func TestTheSearchFindsWhatTheLibraryFinds(t *testing.T) {
	for _, password := range []string{
		"password12", "P@ssw0rd12", "drowssap12", "qwertyuiop", "zaq1xsw2cde3", "abcdefghij", "13579acegi", "aaaaaaaaaaaa", "lovelovelovelove", "12.05.1987", "19870512!!",
		"margaret1987", "Tr0ub4dor&3", "correct horse battery", "Kw7!pzQm2v", "summer2019!", "iloveyou4ever", "147258369", "mustangford", "schneider", "0123456789", "sdfghjkl;'", "xylophone$$$", "l3tm31n!!!",
	} {
		want := zxcvbn.PasswordStrength(password, []string{"box"}).Guesses
		got, _ := estimate(password, []string{"box"})
		if got > 4*want || got < want/50 {
			t.Errorf("%s: %.3g guesses, where zxcvbn's search comes to %.3g", password, got, want)
		}
		if want < enough && got >= enough {
			t.Errorf("%s is taken, and is weak by zxcvbn's search", password)
		}
	}
}
