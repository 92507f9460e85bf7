package main

import (
	"image"
	"image/color"
	"strings"
	"testing"

	qr "github.com/piglig/go-qr"
)

func TestTheDrawnQRCodeLeadsToTheClaim(t *testing.T) {
	var b strings.Builder
	if err := invite(&b, []string{"https://box.local:7443", "https://192.0.2.7:7443"}, "K7QF-M2XP", "3f2a"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"https://box.local:7443/claim\n", "https://192.0.2.7:7443/claim\n", "code  K7QF-M2XP\n", "3f2a"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in %s", want, b.String())
		}
	}
	var rows [][]rune
	for line := range strings.Lines(b.String()) {
		if line = strings.TrimSuffix(line, "\n"); strings.ContainsAny(line, "█▀▄") {
			rows = append(rows, []rune(line)[2:])
		}
	}
	// As a camera sees it on a dark terminal.
	const scale = 4
	seen := image.NewGray(image.Rect(0, 0, len(rows[0])*scale, 2*len(rows)*scale))
	for y := range 2 * len(rows) * scale {
		for x := range len(rows[0]) * scale {
			c := rows[y/scale/2][x/scale]
			if c == '█' || c == '▀' && y/scale%2 == 0 || c == '▄' && y/scale%2 == 1 {
				seen.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	if got, err := qr.Decode(seen); err != nil || got != "https://192.0.2.7:7443/claim?code=K7QF-M2XP" {
		t.Errorf("%q, %v\n%s", got, err, b.String())
	}
}
