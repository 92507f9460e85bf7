package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
)

// tilesAPage is how many applications a page of the store shows.
const tilesAPage = 36

// storePage is what may be installed, as far as somebody looks for it.
type storePage struct {
	frame
	standing
	Words, Category string
	Chips           []chip
	Tiles           []card
	Found           int
	Page, Pages     int
	Before, After   string // the pages beside it; empty for none
}

// chip leads to what is found in one category.
type chip struct {
	Name, Link string
	Count      int
	Chosen     bool
}

func (s *Server) storePage(f frame, q url.Values) storePage {
	o := s.Reconciler.Offer()
	p := storePage{frame: f, standing: s.standing(f.tongue, s.Reconciler.Heard()), Words: strings.TrimSpace(q.Get("q")), Category: q.Get("category")}
	ids := o.Search(p.Words, p.Category)
	p.Found, p.Pages = len(ids), max(1, (len(ids)+tilesAPage-1)/tilesAPage)
	p.Page, _ = strconv.Atoi(q.Get("page"))
	p.Page = min(max(p.Page, 1), p.Pages)
	for n, to := range map[int]*string{p.Page - 1: &p.Before, p.Page + 1: &p.After} {
		if n >= 1 && n <= p.Pages {
			*to = storeLink(p.Words, p.Category, n)
		}
	}
	p.Chips = chips(f.tongue, o.Categories(), p.Words, p.Category)
	from := (p.Page - 1) * tilesAPage
	for _, v := range s.Reconciler.AppsOf(ids[from:min(from+tilesAPage, len(ids))]) {
		p.Tiles = append(p.Tiles, s.card(v, f, ""))
	}
	return p
}

func chips(l tongue, all []offer.Category, words, chosen string) []chip {
	out := []chip{{Name: l.t("everything"), Link: storeLink(words, "", 1), Chosen: chosen == ""}}
	for _, c := range all {
		if c.Name != "" {
			out = append(out, chip{l.word(c.Name), storeLink(words, c.Name, 1), c.Count, c.Name == chosen})
		}
	}
	return out
}

func storeLink(words, category string, page int) string {
	to := url.Values{}
	if words != "" {
		to.Set("q", words)
	}
	if category != "" {
		to.Set("category", category)
	}
	if page > 1 {
		to.Set("page", strconv.Itoa(page))
	}
	if len(to) == 0 {
		return "/store"
	}
	return "/store?" + to.Encode()
}

// store shows a page of it; to htmx, what was found alone.
func (s *Server) store(w http.ResponseWriter, r *http.Request) {
	p := s.storePage(s.frame(r, "store", in(r).t("Store")), r.URL.Query())
	if swaps(r) && r.Header.Get("HX-Target") == "found" {
		s.render(w, r, http.StatusOK, "found", p)
		return
	}
	s.render(w, r, http.StatusOK, "store", p)
}
