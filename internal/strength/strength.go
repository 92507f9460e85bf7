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

// OfNode are the words that everybody knows of a node with this name, such as "box.local".
func OfNode(name string) []string {
	return append(strings.FieldsFunc(name, func(c rune) bool { return c == '.' || c == '-' }), name, "archipelago", "local")
}

// Weakness is why a password is guessed too soon. It says nothing that helps to guess it.
type Weakness struct {
	Parts []Part // by which it is found, each once; none where it is only too short
	More  int    // characters besides them, which are guessed one by one
}

// Part is what a part of a password was recognised as.
type Part struct {
	Kind                string // one of Kinds
	Backwards, Replaced bool   // it was written so, or with other signs for letters
}

// Kinds are all that parts are recognised as.
var Kinds = []string{"a common word", "a common password", "a name", "a word that is known of this node", "keys beside each other", "a repetition", "a sequence such as abc", "a date"}

func (w *Weakness) Error() string {
	if len(w.Parts) == 0 {
		return "it is too short to withstand guessing. " + remedy
	}
	var parts []string
	for _, p := range w.Parts {
		what := p.Kind
		if p.Backwards {
			what += " backwards"
		}
		if p.Replaced {
			what += " with letters replaced"
		}
		parts = append(parts, what)
	}
	if w.More == 1 {
		parts = append(parts, "one more character")
	} else if w.More > 1 {
		parts = append(parts, fmt.Sprintf("%d more characters", w.More))
	}
	text := parts[0]
	if last := len(parts) - 1; last > 0 {
		text = strings.Join(parts[:last], ", ") + " and " + parts[last]
	}
	return fmt.Sprintf("it is guessed too soon: it is made of %s. %s", text, remedy)
}

// Weak tells why a password is guessed too soon by somebody who knows these words of the
// owner's, as a *Weakness; nil where it is not.
func Weak(password string, known ...string) error {
	guesses, sequence := estimate(password, known)
	if guesses >= enough {
		return nil
	}
	w := &Weakness{}
	for _, m := range sequence {
		switch what := kind(m); {
		case what.Kind == "":
			w.More += utf8.RuneCountInString(m.Token)
		case !slices.Contains(w.Parts, what):
			w.Parts = append(w.Parts, what)
		}
	}
	return w
}

// kind says what was recognised; nothing where it has to be guessed character by character.
func kind(m *match.Match) Part {
	switch m.Pattern {
	case "dictionary":
		p := Part{Kind: "a common word", Backwards: m.Reversed, Replaced: m.L33t}
		switch m.DictionaryName {
		case "passwords":
			p.Kind = "a common password"
		case "surnames", "male_names", "female_names":
			p.Kind = "a name"
		case owners:
			p.Kind = "a word that is known of this node"
		}
		return p
	case "spatial":
		return Part{Kind: "keys beside each other"}
	case "repeat":
		return Part{Kind: "a repetition"}
	case "sequence":
		return Part{Kind: "a sequence such as abc"}
	case "regex", "date":
		return Part{Kind: "a date"}
	}
	return Part{}
}

// estimate is after how many guesses a password is found, and the parts by which it is.
func estimate(password string, known []string) (guesses float64, sequence []*match.Match) {
	if len(password) > looked {
		password = strings.ToValidUTF8(password[:looked], "")
	}
	r := scoring.MostGuessableMatchSequence(password, find(password, known), false)
	return r.Guesses, r.Sequence
}
