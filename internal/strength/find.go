package strength

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/trustelem/zxcvbn/adjacency"
	"github.com/trustelem/zxcvbn/frequency"
	"github.com/trustelem/zxcvbn/match"
)

const (
	owners  = "user_inputs" // zxcvbn's name of the list of what is known of the owner
	longest = 32            // bytes of a word that is looked up

	minRepetition = 3 // bytes in all
	minKeys       = 3 // of a walk over the keyboard
)

// leet are two ways to read digits and signs as letters.
var leet = []map[byte]byte{
	{'4': 'a', '@': 'a', '8': 'b', '(': 'c', '3': 'e', '6': 'g', '1': 'i', '!': 'i', '0': 'o', '$': 's', '5': 's', '7': 't', '+': 't', '2': 'z'},
	{'4': 'a', '@': 'a', '8': 'b', '<': 'c', '3': 'e', '9': 'g', '|': 'i', '1': 'l', '0': 'o', '$': 's', '5': 's', '7': 'l', '+': 't', '%': 'x'},
}

// find gives all that is recognised in a password.
func find(password string, known []string) []*match.Match {
	found := words(password, known)
	found = append(found, dates(password)...)
	found = append(found, sequences(password)...)
	for _, keyboard := range []string{"qwerty", "keypad"} {
		found = append(found, walks(password, adjacency.Graphs[keyboard])...)
	}
	return append(found, repetitions(password, known)...)
}

// reading is a way to read a part of a password as a word.
type reading struct {
	i, j     int // the part, j included
	reversed bool
	leet     map[byte]byte
}

// words looks the parts of a password up in the lists, each of which is read once.
func words(password string, known []string) (found []*match.Match) {
	plain := lower(password)
	read := map[string][]reading{}
	for i := range len(plain) {
		for j := i; j < min(len(plain), i+longest); j++ {
			part := plain[i : j+1]
			read[part] = append(read[part], reading{i: i, j: j})
			if back := reversed(part); back != part {
				read[back] = append(read[back], reading{i: i, j: j, reversed: true})
			}
			for n, table := range leet {
				other := replaced(part, table)
				if other != part && (n == 0 || other != replaced(part, leet[0])) {
					read[other] = append(read[other], reading{i: i, j: j, leet: table})
				}
			}
		}
	}
	look := func(name string, list []string) {
		for rank, word := range list {
			for _, r := range read[word] {
				m := &match.Match{Pattern: "dictionary", I: r.i, J: r.j, Token: password[r.i : r.j+1], MatchedWord: word, Rank: rank + 1, DictionaryName: name, Reversed: r.reversed}
				if r.leet != nil {
					if r.i == r.j {
						continue
					}
					m.L33t, m.Sub = true, map[string]string{}
					for _, c := range []byte(m.Token) {
						if to, ok := r.leet[c]; ok {
							m.Sub[string(c)] = string(to)
						}
					}
				}
				found = append(found, m)
			}
		}
	}
	var own []string
	for _, word := range known {
		own = append(own, lower(word))
	}
	look(owners, own)
	for name, list := range frequency.FrequencyLists {
		look(name, list)
	}
	return found
}

// lower leaves each byte where it is, unlike strings.ToLower.
func lower(text string) string {
	b := []byte(text)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func reversed(text string) string {
	b := []byte(text)
	slices.Reverse(b)
	return string(b)
}

func replaced(text string, table map[byte]byte) string {
	b := []byte(text)
	for i, c := range b {
		if to, ok := table[c]; ok {
			b[i] = to
		}
	}
	return string(b)
}

var (
	year = regexp.MustCompile(`(19|20)\d\d`)
	days = []*regexp.Regexp{ // the year last, and first
		regexp.MustCompile(`\d{1,2}(?P<separator>[-./ ]?)\d{1,2}[-./ ]?(?P<year>(?:19|20)?\d\d)`),
		regexp.MustCompile(`(?P<year>(?:19|20)\d\d)(?P<separator>[-./ ]?)\d{1,2}[-./ ]?\d{1,2}`),
	}
)

func dates(password string) (found []*match.Match) {
	for _, at := range year.FindAllStringIndex(password, -1) {
		found = append(found, &match.Match{Pattern: "regex", RegexName: "recent_year", I: at[0], J: at[1] - 1, Token: password[at[0]:at[1]]})
	}
	for _, day := range days {
		for _, at := range day.FindAllStringSubmatchIndex(password, -1) {
			group := func(name string) string {
				n := day.SubexpIndex(name)
				return password[at[2*n]:at[2*n+1]]
			}
			y, err := strconv.Atoi(group("year"))
			if err != nil {
				continue
			}
			if y < 50 {
				y += 2000
			} else if y < 100 {
				y += 1900
			}
			found = append(found, &match.Match{Pattern: "date", I: at[0], J: at[1] - 1, Token: password[at[0]:at[1]], Year: y, Separator: group("separator")})
		}
	}
	return found
}

// sequences are characters at one distance from each other, such as abc and 97531.
func sequences(password string) (found []*match.Match) {
	const farthest = 5
	for i := 0; i+1 < len(password); {
		step := int(password[i+1]) - int(password[i])
		j := i + 1
		for j+1 < len(password) && int(password[j+1])-int(password[j]) == step {
			j++
		}
		if step != 0 && -farthest <= step && step <= farthest && (j-i > 1 || step == 1 || step == -1) {
			found = append(found, &match.Match{Pattern: "sequence", I: i, J: j, Token: password[i : j+1], Ascending: step > 0})
		}
		i = j
	}
	return found
}

// walks are keys beside each other.
func walks(password string, keyboard *adjacency.Graph) (found []*match.Match) {
	const shifted = `~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:"ZXCVBNM<>?`
	for i := 0; i < len(password); {
		m := &match.Match{Pattern: "spatial", Graph: keyboard.Name, I: i}
		if keyboard.Name == "qwerty" && strings.IndexByte(shifted, password[i]) >= 0 {
			m.ShiftedCount++
		}
		j, last := i+1, -1
		for ; j < len(password); j++ {
			next := slices.IndexFunc(keyboard.Graph[password[j-1:j]], func(keys string) bool { return strings.IndexByte(keys, password[j]) >= 0 })
			if next < 0 {
				break
			}
			if strings.IndexByte(keyboard.Graph[password[j-1:j]][next], password[j]) == 1 {
				m.ShiftedCount++
			}
			if next != last {
				m.Turns++
				last = next
			}
		}
		if j-i >= minKeys {
			m.J, m.Token = j-1, password[i:j]
			found = append(found, m)
		}
		i = j
	}
	return found
}

// repetitions are parts that follow upon themselves.
func repetitions(password string, known []string) (found []*match.Match) {
	for i := 0; i < len(password); {
		end, length := i, 0 // of the farthest repetition from here, and of what is repeated
		for n := 1; i+2*n <= len(password); n++ {
			j := i + n
			for j+n <= len(password) && password[j:j+n] == password[i:i+n] {
				j += n
			}
			if j > i+n && j > end {
				end, length = j, n
			}
		}
		if end-i < minRepetition {
			i++
			continue
		}
		base := password[i : i+length]
		guesses, _ := estimate(base, known)
		found = append(found, &match.Match{Pattern: "repeat", I: i, J: end - 1, Token: password[i:end], BaseToken: base, BaseGuesses: guesses, RepeatCount: (end - i) / length})
		i = end
	}
	return found
}
