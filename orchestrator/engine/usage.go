package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const cgroups = "/sys/fs/cgroup"

// Use reads what the user's services have used since each began, from the kernel's own
// accounts. One that does not run is left out.
func (e *Engine) Use(services []string) map[string]host.Use {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	slice, ok := appSlice(string(own), os.Getuid())
	if !ok {
		return nil
	}
	return use(filepath.Join(cgroups, slice), services)
}

// appSlice is the control group of the user's services, by that of one of them.
func appSlice(own string, uid int) (string, bool) {
	_, path, _ := strings.Cut(strings.TrimSpace(own), "::")
	manager := fmt.Sprintf("/user@%d.service", uid)
	before, _, ok := strings.Cut(path+"/", manager+"/")
	return before + manager + "/app.slice", ok
}

func use(slice string, services []string) map[string]host.Use {
	all := make(map[string]host.Use, len(services))
	for _, s := range services {
		dir := filepath.Join(slice, s)
		stat, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
		if err != nil {
			dir = filepath.Join(slice, "_"+s) // systemd's name for one that the kernel has given a meaning
			if stat, err = os.ReadFile(filepath.Join(dir, "cpu.stat")); err != nil {
				continue
			}
		}
		u := host.Use{CPU: time.Duration(field(stat, "usage_usec")) * time.Microsecond}
		if b, err := os.ReadFile(filepath.Join(dir, "memory.current")); err == nil {
			u.Memory, _ = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		}
		// What files have left in memory goes as soon as somebody needs the room.
		if b, err := os.ReadFile(filepath.Join(dir, "memory.stat")); err == nil {
			u.Memory = max(0, u.Memory-field(b, "inactive_file"))
		}
		all[s] = u
	}
	return all
}

// field is a number of a file of lines of a name and a number; 0 where it is not there.
func field(b []byte, name string) int64 {
	for line := range bytes.Lines(b) {
		if n, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			v, _ := strconv.ParseInt(string(bytes.TrimSpace(n)), 10, 64)
			return v
		}
	}
	return 0
}

// Traffic gives what running containers have received and sent since each began, by name.
// Of the network of a container, only Podman can be asked: the daemon sees no other process.
func (p *Podman) Traffic(ctx context.Context) (map[string]host.Traffic, error) {
	resp, err := p.request(ctx, http.MethodGet, "/containers/stats", url.Values{"stream": {"false"}}, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for the network's counters: %w", err)
	}
	defer resp.Body.Close()
	if !resp.IsSuccess() {
		return nil, fmt.Errorf("asking for the network's counters: %w", resp.Process(nil))
	}
	var report struct {
		Stats []struct {
			Name    string
			Network map[string]struct{ RxBytes, TxBytes uint64 }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		return nil, fmt.Errorf("asking for the network's counters: %w", err)
	}
	all := make(map[string]host.Traffic, len(report.Stats))
	for _, c := range report.Stats {
		var t host.Traffic
		for name, n := range c.Network {
			if name != "lo" {
				t.Received, t.Sent = t.Received+int64(n.RxBytes), t.Sent+int64(n.TxBytes)
			}
		}
		all[c.Name] = t
	}
	return all, nil
}

// du says the sizes of directories. Its status is 1 where a file has gone while it looked, as those
// of an application that works do; what it says of the rest holds.
const du = `nice -n 19 ionice -c 3 du -sk -- "$@" || test $? = 1`

// Sizes gives the bytes of directories of mapped owners, at the disk's leisure. One that is
// not there is left out.
func (e *Engine) Sizes(ctx context.Context, dirs []string) (map[string]int64, error) {
	argv := []string{"/usr/bin/podman", "unshare", "sh", "-c", du, "du"}
	all := map[string]int64{}
	bare := len(argv)
	for _, dir := range dirs {
		if _, err := os.Lstat(dir); err == nil {
			argv = append(argv, dir)
		}
	}
	if len(argv) == bare {
		return all, nil
	}
	out, err := e.helper(ctx, patient, "archipelago: the sizes of volumes", argv...)
	if err != nil {
		return nil, fmt.Errorf("the sizes of volumes: %w", err)
	}
	for line := range strings.Lines(out) {
		kib, dir, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		n, err := strconv.ParseInt(kib, 10, 64)
		if !ok || err != nil {
			return nil, errors.New("the sizes of volumes: du says " + strconv.Quote(line))
		}
		all[dir] = n << 10
	}
	if len(all) == 0 {
		return nil, errors.New("the sizes of volumes: du says none")
	}
	return all, nil
}
