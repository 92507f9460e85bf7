package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"rsc.io/qr"
)

// lnd is asked by REST, with the macaroons that permit to look and to be paid. They and the
// certificate are read anew each time, because lnd may have made others.
type lnd struct {
	rest, dir string
}

// What lnd answers (lnrpc). Numbers of 64 bits are texts.
type info struct {
	Alias    string
	Height   int64 `json:"block_height"`
	Synced   bool  `json:"synced_to_chain"`
	Channels int64 `json:"num_active_channels"`
}

type invoice struct {
	Memo    string
	Hash    []byte `json:"r_hash"`
	Value   string
	Paid    string `json:"amt_paid_sat"`
	State   string
	Created int64  `json:"creation_date,string"`
	Expiry  int64  `json:"expiry,string"`
	Request string `json:"payment_request"`
}

// Key is the hash as addresses have it.
func (i *invoice) Key() string { return hex.EncodeToString(i.Hash) }

// Open tells whether it can still be paid.
func (i *invoice) Open() bool {
	return i.State == "OPEN" && time.Now().Unix() < i.Created+i.Expiry
}

// Says is its state in words.
func (i *invoice) Says() string {
	switch {
	case i.State == "SETTLED":
		return "paid"
	case i.State == "ACCEPTED":
		return "being paid"
	case i.Open():
		return "not paid yet"
	}
	return "expired"
}

// view is a page.
type view struct {
	Info     info
	Invoices []invoice
	Invoice  *invoice
	QR       template.HTML
	Pay      template.URL
	Problems []string
}

const (
	newest    = 200 // invoices that a page lists
	expiry    = time.Hour
	maxAnswer = 16 << 20 // bytes
)

func (l *lnd) info(ctx context.Context) (i info, err error) {
	err = l.call(ctx, "readonly", http.MethodGet, "/v1/getinfo", nil, &i)
	return i, err
}

// look asks all that the first page shows. What cannot be had is a problem on the page, and
// no reason not to show the rest.
func (l *lnd) look(ctx context.Context) *view {
	v := &view{}
	var err error
	if v.Info, err = l.info(ctx); err != nil {
		v.Problems = append(v.Problems, err.Error())
	}
	var list struct{ Invoices []invoice }
	if err := l.call(ctx, "invoice", http.MethodGet, "/v1/invoices?reversed=true&num_max_invoices="+strconv.Itoa(newest), nil, &list); err != nil {
		v.Problems = append(v.Problems, err.Error())
	}
	for i := len(list.Invoices) - 1; i >= 0; i-- { // lnd gives the newest last
		v.Invoices = append(v.Invoices, list.Invoices[i])
	}
	return v
}

var hash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// one is the page of an invoice, with what a wallet reads.
func (l *lnd) one(ctx context.Context, of string) *view {
	v := &view{}
	var i invoice
	err := errors.New("expected the hash of an invoice")
	if hash.MatchString(of) {
		err = l.call(ctx, "invoice", http.MethodGet, "/v1/invoice/"+of, nil, &i)
	}
	if err == nil && i.Open() {
		v.QR, err = drawing(strings.ToUpper(i.Request)) // capitals take less room
		v.Pay = template.URL("lightning:" + i.Request)
	}
	if err != nil {
		v.Problems = append(v.Problems, err.Error())
		return v
	}
	v.Invoice = &i
	return v
}

// ask makes an invoice and gives its hash.
func (l *lnd) ask(ctx context.Context, sat int64, memo string) (string, error) {
	var made invoice
	question := map[string]any{"memo": memo, "value": strconv.FormatInt(sat, 10), "expiry": strconv.Itoa(int(expiry.Seconds()))}
	if err := l.call(ctx, "invoice", http.MethodPost, "/v1/invoices", question, &made); err != nil {
		return "", err
	}
	return made.Key(), nil
}

func (l *lnd) call(ctx context.Context, macaroon, method, path string, question, answer any) error {
	certificate, err := os.ReadFile(filepath.Join(l.dir, "tls.cert"))
	if err != nil {
		return fmt.Errorf("lnd has not started yet: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		return errors.New("tls.cert holds no certificate")
	}
	permit, err := os.ReadFile(filepath.Join(l.dir, "current", macaroon+".macaroon"))
	if err != nil {
		return fmt.Errorf("lnd has no wallet yet: %w", err)
	}
	var body bytes.Buffer
	if question != nil {
		if err := json.NewEncoder(&body).Encode(question); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, l.rest+path, &body)
	if err != nil {
		return err
	}
	r.Header.Set("Grpc-Metadata-macaroon", hex.EncodeToString(permit))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	a, err := client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		var said struct{ Message string }
		if json.Unmarshal(b, &said) != nil || said.Message == "" {
			said.Message = a.Status
		}
		return fmt.Errorf("%s: %.300s", r.URL.Path, said.Message)
	}
	return json.Unmarshal(b, answer)
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
