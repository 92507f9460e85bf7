package nodes

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAClockIsRefusedOnlyWhereItIsCertainlyOff(t *testing.T) {
	here := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		off, uncertain time.Duration
		refused        bool
	}{
		{0, 0, false}, {2 * time.Second, 0, false}, {-2 * time.Second, 0, false},
		{2100 * time.Millisecond, 0, true}, {-2100 * time.Millisecond, 0, true},
		{3 * time.Second, 1500 * time.Millisecond, false}, {3 * time.Second, 500 * time.Millisecond, true},
		{time.Hour, 5 * time.Second, true},
	} {
		err := Clock{here.Add(c.off), here, c.uncertain}.Check()
		if c.refused != errors.Is(err, ErrRefused) || (err != nil) != c.refused {
			t.Errorf("%s off, %s uncertain: %v", c.off, c.uncertain, err)
		}
	}
	err := Clock{here.Add(3 * time.Second), here, 0}.Check()
	for _, want := range []string{"2026-01-01 12:00:03.000", "2026-01-01 12:00:00.000", "3s off", "timedatectl"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestReadClock(t *testing.T) {
	before := time.Unix(100, 0)
	c, err := readClock("105.250000000\n", before, before.Add(time.Second))
	if err != nil || c.Skew() != 4750*time.Millisecond || c.Uncertain != 500*time.Millisecond {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "noon", "1.x", "1.-1"} {
		if c, err := readClock(bad, before, before); err == nil {
			t.Errorf("%q is %+v", bad, c)
		}
	}
}

func TestAge(t *testing.T) {
	out, err := local(t, t.TempDir(), "age.sh", nil)
	if err != nil {
		t.Fatal(err, out)
	}
	if age, err := readAge(out); err != nil || age < 0 {
		t.Errorf("%q is %s, %v", out, age, err)
	}
	if age, err := readAge("100.5\n250\n100\n"); err != nil || age != 98*time.Second {
		t.Errorf("%s, %v", age, err)
	}
	for _, bad := range []string{"", "1 2", "1 2 0", "a b c"} {
		if _, err := readAge(bad); err == nil {
			t.Errorf("%q is an age", bad)
		}
	}
}

func TestAgoCountsBackFromNow(t *testing.T) {
	for back, want := range map[time.Duration]string{0: "-3s", 90 * time.Second: "-93s", -time.Hour: "-2s"} {
		if got := Ago(time.Now().Add(-back)); got != want {
			t.Errorf("%s ago is %s, expected %s", back, got, want)
		}
	}
}
