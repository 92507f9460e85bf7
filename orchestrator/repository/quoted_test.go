package repository

import "testing"

func TestAQuotedValueComesBack(t *testing.T) {
	for _, value := range []string{"", "plain", "it's", "'", "a'b'c", `\'`} {
		if got := unquoted(quoted(value)); got != value {
			t.Errorf("%q became %q", value, got)
		}
	}
}
