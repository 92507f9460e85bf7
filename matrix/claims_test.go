package matrix

import (
	"strings"
	"testing"
	"testing/synctest"
)

// TestEveryCycleBeginsVerifiedEmpty leaves one thing at a time of the application on the node:
// the cycle's first step is red before it asks for anything.
func TestEveryCycleBeginsVerifiedEmpty(t *testing.T) {
	for left, plant := range map[string]func(s *Snapshot){
		"":                                func(*Snapshot) {},
		"container pair is left, running": func(s *Snapshot) { s.Containers = append(s.Containers, healthy().Containers[1]) },
		"unit pair.service is left":       func(s *Snapshot) { s.Units = healthy().Units },
		"unit file pair.container":        func(s *Snapshot) { s.Files = []string{"pair.container"} },
		"network archipelago-pair":        aNetwork,
		"secret pair.password":            func(s *Snapshot) { s.Stored = []string{"pair.password"} },
		"volume db is left":               func(s *Snapshot) { s.Volumes = healthy().Volumes },
		"secret password is left":         func(s *Snapshot) { s.Secrets = healthy().Secrets },
		"the folder pair is left":         aFolder,
		"port 8081 still answers":         openPort,
		"the proxy's port 18080 is left":  func(s *Snapshot) { s.Proxied = map[int]string{8080: "502"} },
		"volume cache is left":            func(s *Snapshot) { s.Podmans = map[string]string{"cache": "pair"} },
	} {
		t.Run(left, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := fake(t, family())
				s.Shard.Cycle = 7
				n.see = func(seen *Snapshot) {
					if len(n.asked) == 0 {
						plant(seen)
					}
				}
				_, err := perform(t, s, n.m, Install)
				if left == "" {
					if err != nil {
						t.Errorf("on an empty node: %v", err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), "before the install, something is left") || !strings.Contains(err.Error(), left) {
					t.Errorf("%v, expected %q", err, left)
				}
				if len(n.asked) > 0 {
					t.Errorf("%s, and it asks for %q", left, n.asked)
				}
			})
		})
	}
}
