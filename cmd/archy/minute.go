package main

import "google.golang.org/protobuf/types/known/timestamppb"

// minute is a time as tables show it, by this machine's clock; "-" where there is none.
func minute(t *timestamppb.Timestamp) string { return shown(t, "2006-01-02 15:04", "-") }

// day is minute without the time.
func day(t *timestamppb.Timestamp) string { return shown(t, "2006-01-02", "-") }

// second is minute with the seconds; "never" where there is none.
func second(t *timestamppb.Timestamp) string { return shown(t, "2006-01-02 15:04:05", "never") }

func shown(t *timestamppb.Timestamp, layout, none string) string {
	if t == nil {
		return none
	}
	return t.AsTime().Local().Format(layout)
}
