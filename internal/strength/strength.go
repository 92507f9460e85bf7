// Package strength says whether a password is guessed too soon, and why. The estimate is
// that of zxcvbn: the words, lists and formulas of its port to Go. What it finds in a password
// is found here, because the port's own search builds tables in each process that is linked
// with it, which take it 10 MB and a tenth of a second before it has begun.
package strength

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn/match"
	"github.com/trustelem/zxcvbn/scoring"
)

const (
	// Guesses. zxcvbn gives 3 of its 4 points from 1e8 on, which it counts for any three parts:
	// a word, a year and a sign, too. Ten random characters are 1e10.
	enough = 1e9
	looked = 64 // bytes of a password that are looked at; the rest can only make it better
)

const remedy = "Take four or more words that do not belong together, or have a password manager make one."

// Weak tells why a password is guessed too soon by somebody who knows these words of the
// owner's; nil where it is not. The error says nothing that helps to guess it.
func Weak(password string, known ...string) error {
	guesses, sequence := estimate(password, known)
	if guesses >= enough {
		return nil
	}
	var parts []string
	free := 0
	for _, m := range sequence {
		what := kind(m)
		switch {
		case what == "":
			free += utf8.RuneCountInString(m.Token)
		case !slices.Contains(parts, what):
			parts = append(parts, what)
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("This password is too short to withstand guessing. %s", remedy)
	}
	if free == 1 {
		parts = append(parts, "one more character")
	} else if free > 1 {
		parts = append(parts, fmt.Sprintf("%d more characters", free))
	}
	text := parts[0]
	if last := len(parts) - 1; last > 0 {
		text = strings.Join(parts[:last], ", ") + " and " + parts[last]
	}
	return fmt.Errorf("This password is guessed too soon: it is made of %s. %s", text, remedy)
}

// kind says what was recognised; nothing where it has to be guessed character by character.
func kind(m *match.Match) string {
	switch m.Pattern {
	case "dictionary":
		what := "a common word"
		switch m.DictionaryName {
		case "passwords":
			what = "a common password"
		case "surnames", "male_names", "female_names":
			what = "a name"
		case owners:
			what = "a word that is known of this node"
		}
		if m.Reversed {
			what += " backwards"
		}
		if m.L33t {
			what += " with letters replaced"
		}
		return what
	case "spatial":
		return "keys beside each other"
	case "repeat":
		return "a repetition"
	case "sequence":
		return "a sequence such as abc"
	case "regex", "date":
		return "a date"
	}
	return ""
}

// estimate is after how many guesses a password is found, and the parts by which it is.
func estimate(password string, known []string) (guesses float64, sequence []*match.Match) {
	if len(password) > looked {
		password = strings.ToValidUTF8(password[:looked], "")
	}
	r := scoring.MostGuessableMatchSequence(password, find(password, known), false)
	return r.Guesses, r.Sequence
}
