package main

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/certificate"
)

// addNames takes names from flags, or from the environment, which a drop-in of the unit
// can set.
func addNames(c *cobra.Command, n *certificate.Names) {
	f := c.Flags()
	f.StringArrayVar(&n.Extra, "name", words("ARCHIPELAGO_NAMES"), "another name or address under which the node is reached, for its certificate; may be given again")
	f.StringArrayVar(&n.ACME.Names, "acme-name", words("ARCHIPELAGO_ACME_NAMES"), "a public name for which Let's Encrypt is to sign, whose terms you accept by this; may be given again. Port 443 of the name must lead to the daemon's TLS port")
	f.StringVar(&n.ACME.Email, "acme-email", os.Getenv("ARCHIPELAGO_ACME_EMAIL"), "address to which the authority may write")
	f.StringVar(&n.ACME.Directory, "acme-directory", os.Getenv("ARCHIPELAGO_ACME_DIRECTORY"), "directory of another ACME authority than Let's Encrypt")
}

func words(variable string) []string { return strings.Fields(os.Getenv(variable)) }

// onLoopback tells what is wrong with an address on which nothing is encrypted.
func onLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not on loopback, and nothing is encrypted there: use an address such as 127.0.0.1:%d; other machines are served over TLS (--listen-tls)", cmp.Or(address, "it"), manifest.DaemonPort)
	}
	return nil
}
