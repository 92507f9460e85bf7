package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	qr "github.com/piglig/go-qr"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/certificate"
)

// claimCommand prints what makes the node somebody's. Who may read the daemon's files may
// read the code: its user, and root.
func claimCommand() *cobra.Command {
	var dataDir string
	var asJSON bool
	c := &cobra.Command{
		Use: "claim", Short: "Print the address and the one-time code by which a node without an owner gets one",
		Long: `Print the address and the one-time code by which a node without an owner gets one, and a
QR code of both. Run this on the node, as root or as the daemon's user. The code is another
after each start of the daemon, and dead once a password is set; then this says so.`,
		Example: "  archipelago claim\n  archipelago claim --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state := stateDir(dataDir)
			fingerprint, err := certificate.ReadFingerprint(state)
			if err != nil {
				return err
			}
			host, err := os.Hostname()
			if err != nil {
				return err
			}
			offer, err := access.ReadOffer(state)
			claimed := errors.Is(err, access.ErrClaimed)
			if err != nil && !claimed {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case asJSON:
				var at []string // not known where the node is claimed: the port was in the offer
				if !claimed {
					at = addresses(host, offer.Port)
				}
				return json.NewEncoder(out).Encode(map[string]any{"claimed": claimed, "code": offer.Code, "addresses": at, "fingerprint": fingerprint})
			case claimed:
				fmt.Fprintln(out, "This node has an owner: a password is set. 'archy password' sets another.")
				return nil
			}
			return invite(out, addresses(host, offer.Port), offer.Code, fingerprint)
		},
	}
	dataFlag(c, &dataDir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// addresses are those of My Apps: by the node's name first, then by its addresses on networks.
func addresses(host string, port int) []string {
	var at []string
	if local := certificate.Local(host); local != "" {
		at = append(at, local)
	}
	own, _ := net.InterfaceAddrs() // without them, the name is left
	var numbers []netip.Addr
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			numbers = append(numbers, p.Addr())
		}
	}
	slices.SortStableFunc(numbers, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() }) // those that can be typed first
	for _, n := range numbers {
		at = append(at, n.String())
	}
	for i, host := range at {
		at[i] = "https://" + net.JoinHostPort(host, strconv.Itoa(port))
	}
	return at
}

// invite says how the node is claimed. The QR code leads to an address rather than to the name,
// which not every phone can find.
func invite(w io.Writer, at []string, code, fingerprint string) error {
	if len(at) == 0 {
		return errors.New("this node has neither a name nor an address on a network")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nThis node has no owner yet. To make it yours, open one of these in a browser:\n\n")
	for _, a := range at {
		fmt.Fprintf(&b, "  %s/claim\n", a)
	}
	fmt.Fprintf(&b, "\nand type the code  %s\n\n", code)
	scanned := at[0]
	if len(at) > 1 && strings.Contains(scanned, ".local:") {
		scanned = at[1]
	}
	picture, err := qrCode(scanned + "/claim?code=" + url.QueryEscape(code))
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "%s\nThe browser warns, as it does not know the node yet: compare the fingerprint of the\ncertificate authority that it shows with\n  %s\n\n", picture, fingerprint)
	_, err = io.WriteString(w, b.String())
	return err
}

// qrCode draws a QR code in characters, two modules high each. Terminals are dark, so what is
// drawn is the light.
func qrCode(text string) (string, error) {
	code, err := qr.EncodeText(text, qr.Low)
	if err != nil {
		return "", err
	}
	const quiet = 2 // modules around it
	light := func(x, y int) bool {
		inside := x >= 0 && y >= 0 && x < code.Size() && y < code.Size()
		return y < code.Size()+quiet && (!inside || !code.Module(x, y))
	}
	var b strings.Builder
	for y := -quiet; y < code.Size()+quiet; y += 2 {
		b.WriteString("  ")
		for x := -quiet; x < code.Size()+quiet; x++ {
			switch upper, lower := light(x, y), light(x, y+1); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}
