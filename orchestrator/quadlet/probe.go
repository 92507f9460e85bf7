package quadlet

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// Probe is how a container's health is looked at; it is the value of
// manifest.LabelHealth, so that what is probed is what runs.
type Probe struct {
	Interval time.Duration // in steady state
	Timeout  time.Duration // of Podman's check
	Port     int           // in the container; 0: Podman's check alone tells
	Path     string        // of an HTTP request; empty: a connection is enough
	Status   int           // that the answer to it must have
}

func probe(c manifest.Container) Probe {
	h := c.Health
	p := Probe{Interval: h.Interval.Or(defaultInterval), Timeout: h.Timeout.Or(defaultTimeout)}
	switch {
	case h.HTTP != nil:
		port, _ := c.Port(h.HTTP.Port)
		p.Port, p.Path, p.Status = port.Container, h.HTTP.Path, cmp.Or(h.HTTP.Status, http.StatusOK)
	case h.TCP != nil:
		port, _ := c.Port(h.TCP.Port)
		p.Port = port.Container
	}
	return p
}

// String writes "INTERVAL TIMEOUT", and then "exec", "tcp PORT" or "http PORT STATUS PATH".
func (p Probe) String() string {
	s := seconds(p.Interval) + " " + seconds(p.Timeout)
	switch {
	case p.Port == 0:
		return s + " exec"
	case p.Path == "":
		return fmt.Sprintf("%s tcp %d", s, p.Port)
	}
	return fmt.Sprintf("%s http %d %d %s", s, p.Port, p.Status, p.Path)
}

// ParseProbe reads what String writes.
func ParseProbe(label string) (p Probe, err error) {
	bad := fmt.Errorf("label %s is %q, expected INTERVAL TIMEOUT and exec, tcp PORT or http PORT STATUS PATH", manifest.LabelHealth, label)
	w := strings.Fields(label)
	if len(w) < 3 {
		return p, bad
	}
	var errs [4]error
	p.Interval, errs[0] = time.ParseDuration(w[0])
	p.Timeout, errs[1] = time.ParseDuration(w[1])
	switch {
	case w[2] == "exec" && len(w) == 3:
	case w[2] == "tcp" && len(w) == 4:
		p.Port, errs[2] = strconv.Atoi(w[3])
	case w[2] == "http" && len(w) == 6 && strings.HasPrefix(w[5], "/"):
		p.Port, errs[2] = strconv.Atoi(w[3])
		p.Status, errs[3] = strconv.Atoi(w[4])
		p.Path = w[5]
	default:
		return p, bad
	}
	native := w[2] != "exec"
	if errs != [4]error{} || p.Interval <= 0 || p.Timeout <= 0 || native && (p.Port < 1 || p.Port > 65535) {
		return p, bad
	}
	return p, nil
}
