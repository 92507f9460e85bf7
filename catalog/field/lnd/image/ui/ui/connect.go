package main

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"rsc.io/qr"
)

// address is one by which a wallet elsewhere connects, as LND Connect writes it
// (https://github.com/LN-Zap/lndconnect).
type address struct {
	For string
	URL template.URL
	QR  template.HTML
}

// connect gives the addresses. Whoever has one may spend what lnd holds.
func (l *lnd) connect(host string) *view {
	v := &view{}
	problem := func(err error) *view {
		v.Problems = append(v.Problems, err.Error())
		return v
	}
	admin, err := macaroon(l.dir, "admin")
	if err != nil {
		return problem(fmt.Errorf("lnd has no wallet yet: %w", err))
	}
	b, err := os.ReadFile(filepath.Join(l.dir, "tls.cert"))
	if err != nil {
		return problem(err)
	}
	certificate, _ := pem.Decode(b)
	if certificate == nil {
		return problem(errors.New("tls.cert holds no certificate"))
	}
	for _, p := range []struct{ what, port string }{{"Most wallets (gRPC)", l.grpcPort}, {"Wallets that ask for REST", l.restPort}} {
		u := connectURL(net.JoinHostPort(host, p.port), certificate.Bytes, admin)
		code, err := drawing(u)
		if err != nil {
			return problem(err)
		}
		v.Connect = append(v.Connect, address{p.what, template.URL(u), code})
	}
	return v
}

func connectURL(host string, certificate, macaroon []byte) string {
	u := url.URL{Scheme: "lndconnect", Host: host}
	u.RawQuery = "cert=" + base64.RawURLEncoding.EncodeToString(certificate) + "&macaroon=" + base64.RawURLEncoding.EncodeToString(macaroon)
	return u.String()
}

// margin is how wide a QR code's light border is, in modules (ISO/IEC 18004, section 9.1).
const margin = 4

// drawing is a text's QR code as an SVG, black on white whatever the page's colours.
func drawing(text string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	size := code.Size + 2*margin
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="QR code" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path d="`, size, size, size, size)
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&b, "M%d %dh1v1h-1z", x+margin, y+margin)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()), nil
}
