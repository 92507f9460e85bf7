package manifest

import (
	"fmt"
	"time"
)

// Duration is a Go duration in the file ("2s", "500ms").
type Duration time.Duration

// UnmarshalText reads what the schema's "duration" admits.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText writes the duration in one unit, the largest that holds it exactly.
func (d Duration) MarshalText() ([]byte, error) {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if time.Duration(d)%u.size == 0 {
			return fmt.Appendf(nil, "%d%s", time.Duration(d)/u.size, u.name), nil
		}
	}
	return fmt.Appendf(nil, "%dms", time.Duration(d)/time.Millisecond), nil
}

// Or is the duration, or fallback where the manifest gave none.
func (d Duration) Or(fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return time.Duration(d)
}
