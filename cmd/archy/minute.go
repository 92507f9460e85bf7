package main

import "google.golang.org/protobuf/types/known/timestamppb"

// minute is a time as tables show it, by this machine's clock; "-" where there is none.
func minute(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Local().Format("2006-01-02 15:04")
}
