package manifest

// maxDepth bounds how deep a text nests, far above what a manifest needs: the parser calls
// itself for each level, and takes minutes and gigabytes for some hundred thousand.
const maxDepth = 200

// nestedTooDeep gives the offset at which a text opens more than maxDepth brackets that are
// not closed, or has a line that opens as many lists by dashes; -1 where none does. It does not
// know quotes: no text of so many brackets is worth an exception.
func nestedTooDeep(src []byte) int {
	open, dashes := 0, 0
	for i, b := range src {
		switch b {
		case '[', '{':
			open++
		case ']', '}':
			open = max(0, open-1)
		case '\n':
			dashes = 0
		case '-', '?':
			if i+1 < len(src) && src[i+1] == ' ' {
				dashes++
			}
		}
		if open > maxDepth || dashes > maxDepth {
			return i
		}
	}
	return -1
}
