package subscription

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
)

const (
	maxRoots = 64 // new root documents at a time
	tries    = 3  // of one mirror; each resumes where the one before broke off
)

// limits bound how much data and time a mirror may take.
type limits struct {
	size  int           // bytes of a catalog
	stall time.Duration // without a single byte
	total time.Duration // for one answer
}

var defaultLimits = limits{size: document.MaxSize, stall: 15 * time.Second, total: 5 * time.Minute}

// ErrMirror is wrapped when a mirror does not behave like one.
var ErrMirror = errors.New("mirror")

// newClient returns a client that goes where the owner said and nowhere else: it follows
// no redirects, uses no proxy, and does not connect to link-local addresses, where clouds
// serve a machine's credentials.
func newClient() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if ip := a.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
			return fmt.Errorf("%w: %s cannot be the address of a mirror", ErrMirror, ip)
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, IdleConnTimeout: time.Minute, MaxIdleConns: 4},
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			return fmt.Errorf("%w: it redirects to %s; name that as the mirror if it is one", ErrMirror, r.URL)
		},
	}
}

// errStalled is the cause when a context ends because no data arrives.
var errStalled = errors.New("no more bytes came")

// get fetches a small document; nil if the mirror has none.
func (s *Subscription) get(ctx context.Context, address string, limit int) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limits.total, fmt.Errorf("the answer took longer than %s", s.limits.total))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, why(ctx, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, nil
	default:
		return nil, fmt.Errorf("%w: it answered %s for %s", ErrMirror, resp.Status, address)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return nil, why(ctx, err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes at %s", ErrMirror, limit, address)
	}
	return b, nil
}

// why prefers the cause of a context's end to the error that it led to.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// fetch returns a channel's envelope and its entity tag; nil if it still is the one with
// the given tag. A download that breaks off is kept and resumed, now or at the next call.
func (s *Subscription) fetch(ctx context.Context, base, channel, etag string) (envelope []byte, newTag string, err error) {
	address := base + "/" + mirror.Catalog(channel)
	part := s.openPart(address)
	for range tries {
		envelope, newTag, err = s.attempt(ctx, address, etag, part)
		if err == nil || !errors.Is(err, errBroken) || ctx.Err() != nil {
			break
		}
	}
	if err == nil {
		part.drop()
	}
	return envelope, newTag, err
}

// errBroken is wrapped when an answer broke off and may be resumed.
var errBroken = errors.New("the answer broke off")

func (s *Subscription) attempt(ctx context.Context, address, etag string, part *part) ([]byte, string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	total := time.AfterFunc(s.limits.total, func() { cancel(fmt.Errorf("the answer took longer than %s", s.limits.total)) })
	defer total.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", err
	}
	if part.etag == "" {
		part.drop() // without a tag, the rest might be of another version
	}
	have := part.size()
	switch {
	case have > 0:
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		r.Header.Set("If-Range", part.etag)
	case etag != "":
		r.Header.Set("If-None-Match", etag)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, "", why(ctx, err)
	}
	defer resp.Body.Close()
	tag := resp.Header.Get("ETag")
	switch resp.StatusCode {
	case http.StatusNotModified:
		if etag == "" {
			return nil, "", fmt.Errorf("%w: it answered %s to a request without a tag", ErrMirror, resp.Status)
		}
		return nil, etag, nil
	case http.StatusOK:
		have = 0
	case http.StatusPartialContent:
		first, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "-")
		if n, err := strconv.Atoi(first); err != nil || n != have || tag != part.etag {
			part.drop()
			return nil, "", fmt.Errorf("%w: it resumed at %q of %q, expected %d of %q", ErrMirror, first, tag, have, part.etag)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		part.drop()
		return nil, "", fmt.Errorf("%w: %s", errBroken, resp.Status)
	default:
		return nil, "", fmt.Errorf("%w: it answered %s for %s", ErrMirror, resp.Status, address)
	}
	if resp.ContentLength > int64(s.limits.size-have) {
		return nil, "", fmt.Errorf("%w: it announced %d bytes; the limit is %d", ErrMirror, resp.ContentLength, s.limits.size)
	}
	if err := part.begin(have, tag); err != nil {
		return nil, "", err
	}
	part.buf.Grow(int(max(resp.ContentLength, 0)))
	stall := time.AfterFunc(s.limits.stall, func() { cancel(fmt.Errorf("%w for %s", errStalled, s.limits.stall)) })
	defer stall.Stop()
	buf := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buf)
		stall.Reset(s.limits.stall)
		if n > 0 {
			if part.size()+n > s.limits.size {
				part.drop()
				return nil, "", fmt.Errorf("%w: more than %d bytes", ErrMirror, s.limits.size)
			}
			if err := part.add(buf[:n]); err != nil {
				return nil, "", err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return part.buf.Bytes(), tag, nil
		case err != nil:
			return nil, "", fmt.Errorf("%w after %d bytes: %w", errBroken, part.size(), why(ctx, err))
		}
	}
}

// part is an unfinished download. If the mirror names its version by an entity tag it is
// kept on disk, otherwise only in memory.
type part struct {
	file    string
	address string
	etag    string
	buf     bytes.Buffer
}

// openPart returns what has been downloaded from an address so far.
func (s *Subscription) openPart(address string) *part {
	p := &part{file: filepath.Join(s.dir, partFile), address: address}
	b, err := os.ReadFile(p.file)
	if err != nil {
		return p
	}
	head, body, ok := bytes.Cut(b, []byte("\n"))
	from, tag, ok2 := strings.Cut(string(head), " ")
	if ok && ok2 && from == address && len(body) < s.limits.size {
		p.etag = tag
		p.buf.Write(body)
	}
	return p
}

func (p *part) size() int { return p.buf.Len() }

// begin keeps the first have bytes and prepares for more.
func (p *part) begin(have int, etag string) error {
	if p.etag = etag; strings.HasPrefix(etag, "W/") {
		p.etag = "" // a weak tag does not promise the same bytes
	}
	if p.buf.Truncate(have); have > 0 {
		return nil
	}
	if p.etag == "" {
		return p.remove()
	}
	return os.WriteFile(p.file, []byte(p.address+" "+p.etag+"\n"), 0o600)
}

func (p *part) add(b []byte) error {
	p.buf.Write(b)
	if p.etag == "" {
		return nil
	}
	f, err := os.OpenFile(p.file, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func (p *part) remove() error {
	if err := os.Remove(p.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (p *part) drop() {
	p.buf.Reset()
	p.etag = ""
	p.remove()
}
