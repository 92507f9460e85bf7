package perform_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// adopted is a pair whose database is somebody else's container.
func adopted(t *testing.T) (*world, state.Desired, plan.Action) {
	w := newWorld(t)
	m := pair("1")
	m.Adopts = []manifest.Adoption{{Container: "old-db", As: "pair-db", Secrets: map[string]string{"PASSWORD": "password"}}}
	d := w.record(t, func(d *state.Desired) { d.Manifest, d.Adopted = m, map[string]string{"pair-db": "old-db"} })
	w.inspected["old-db"] = host.Inspection{Environment: map[string]string{"PASSWORD": "kept"}, Mounts: []host.Mount{{Type: "bind", Source: "/srv/old", Destination: "/data"}}}
	return w, d, plan.Action{App: "pair", Verb: plan.Convert, Manifest: m}
}

const converted = "image pair, image pair-db, retire old-db as old-db-before-archipelago, take-over /srv/old to db"

func TestConvert(t *testing.T) {
	w, d, convert := adopted(t)
	if out := w.Do(t.Context(), d, convert); out.Err != nil || w.took() != converted {
		t.Fatal(out.Err)
	}
	values, err := w.secrets.All(pair("1"))
	if err != nil || values["password"] != "kept" {
		t.Errorf("%v, %v", values, err)
	}
	now := w.now(t)
	if now.Adopted != nil || !strings.Contains(now.Note, "podman rm --volumes old-db-before-archipelago") {
		t.Errorf("%+v", now)
	}
	if data := w.store.Data("pair"); !slices.Equal(data.Volumes, []string{"db"}) || data.Version != "1" || data.Migration != 2 {
		t.Errorf("%+v", data)
	}
}

func TestConversionTakesDataToTheVolumeThatTheManifestNames(t *testing.T) {
	w, d, convert := adopted(t)
	db := &convert.Manifest.Containers[1]
	db.Volumes = append(db.Volumes, manifest.Volume{Name: "log", Path: "/srv/pg"}) // where the old container keeps its data
	convert.Manifest.Adopts[0].Volumes = map[string]string{"/srv/pg": "db"}
	seen := w.inspected["old-db"]
	seen.Mounts[0].Destination = "/srv/pg"
	if out := w.Do(t.Context(), d, convert); out.Err != nil || w.took() != converted {
		t.Error(out.Err)
	}
	if data := w.store.Data("pair"); !slices.Equal(data.Volumes, []string{"db"}) {
		t.Errorf("%+v", data)
	}
}

func TestConversionCopiesNothingFromAContainerThatMayStillRun(t *testing.T) {
	w, d, convert := adopted(t)
	w.fail["retire"] = errPlanted
	if out := w.Do(t.Context(), d, convert); !errors.Is(out.Err, errPlanted) || strings.Contains(w.took(), "take-over") || w.now(t).Adopted == nil {
		t.Errorf("%v, %+v", out.Err, w.now(t))
	}
}

// Without the record of its volumes, nobody would notice later that one is gone.
func TestConversionIsNotDoneBeforeItsDataIsOnRecord(t *testing.T) {
	w, d, convert := adopted(t)
	if err := os.MkdirAll(filepath.Join(filepath.Dir(w.data), "state", "data", "pair.json.last", "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out := w.Do(t.Context(), d, convert); out.Err == nil || w.now(t).Adopted == nil {
		t.Errorf("%v, %+v", out.Err, w.now(t))
	}
}

func TestConversionNeverReplacesASecret(t *testing.T) {
	w, d, convert := adopted(t)
	if err := w.secrets.Import(pair("1"), "password", "of other data", false); err != nil {
		t.Fatal(err)
	}
	out := w.Do(t.Context(), d, convert)
	if !errors.Is(out.Err, secrets.ErrInUse) || strings.Contains(w.took(), "retire") || w.now(t).Adopted == nil {
		t.Errorf("%v, %+v", out.Err, w.now(t))
	}
	if values, err := w.secrets.All(pair("1")); err != nil || values["password"] != "of other data" {
		t.Errorf("%v, %v", values, err)
	}
}

func TestConversionMakesSecretsThatTheOldContainersDidNotHave(t *testing.T) {
	w, d, convert := adopted(t)
	convert.Manifest.Secrets = append(convert.Manifest.Secrets, manifest.GeneratedSecret{Name: "session"})
	if out := w.Do(t.Context(), d, convert); out.Err != nil || w.now(t).Adopted != nil {
		t.Fatal(out.Err)
	}
	if values, err := w.secrets.All(convert.Manifest); err != nil || values["password"] != "kept" || values["session"] == "" {
		t.Errorf("%v, %v", values, err)
	}
}

func TestConversionThatWasCutOffGoesOn(t *testing.T) {
	w, d, convert := adopted(t)
	w.fail["take-over"] = errPlanted
	if out := w.Do(t.Context(), d, convert); !errors.Is(out.Err, errPlanted) || w.now(t).Adopted == nil {
		t.Fatalf("%v, %+v", out.Err, w.now(t))
	}
	w.took()
	delete(w.fail, "take-over")
	w.inspected["old-db-before-archipelago"] = w.inspected["old-db"]
	delete(w.inspected, "old-db")
	if out := w.Do(t.Context(), d, convert); out.Err != nil || w.took() != converted || w.now(t).Adopted != nil {
		t.Errorf("%v, %+v", out.Err, w.now(t))
	}
}

func TestConversionLeavesNothingBehindUnnoticed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*host.Inspection)
		why    string
	}{
		"a mount that no volume takes": {func(i *host.Inspection) {
			i.Mounts = append(i.Mounts, host.Mount{Type: "volume", Source: "/srv/more", Destination: "/more"})
		}, "no volume of pair-db takes what it keeps at /more"},
		"a secret that is not there": {func(i *host.Inspection) { i.Environment = nil }, "'archy secret import pair password'"},
	} {
		t.Run(name, func(t *testing.T) {
			w, d, convert := adopted(t)
			seen := w.inspected["old-db"]
			c.change(&seen)
			w.inspected["old-db"] = seen
			out := w.Do(t.Context(), d, convert)
			if out.Err == nil || !strings.Contains(out.Err.Error(), c.why) || strings.Contains(w.took(), "retire") || w.now(t).Adopted == nil {
				t.Errorf("%v, %+v", out.Err, w.now(t))
			}
		})
	}
	w, d, convert := adopted(t)
	delete(w.inspected, "old-db")
	if out := w.Do(t.Context(), d, convert); out.Err == nil || !strings.Contains(out.Err.Error(), "no container old-db") || w.now(t).Adopted == nil {
		t.Errorf("a container that is gone: %v", out.Err)
	}
}

// TestConversionDoesNotKeepWhatIsThereSilently, unless an attempt before made it.
func TestConversionDoesNotKeepWhatIsThereSilently(t *testing.T) {
	w, d, convert := adopted(t)
	dir := manifest.VolumeDir(w.data, "pair", "db")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	out := w.Do(t.Context(), d, convert)
	if out.Err == nil || !strings.Contains(out.Err.Error(), dir+" is on the disk already") || strings.Contains(w.took(), "retire") || w.now(t).Adopted == nil {
		t.Errorf("%v, %+v", out.Err, w.now(t))
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	w.fail["take-over"] = errPlanted
	if out := w.Do(t.Context(), d, convert); !errors.Is(out.Err, errPlanted) {
		t.Fatal(out.Err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { // it ended just after it was there
		t.Fatal(err)
	}
	delete(w.fail, "take-over")
	if out := w.Do(t.Context(), d, convert); out.Err != nil || w.now(t).Adopted != nil {
		t.Errorf("its own: %v, %+v", out.Err, w.now(t))
	}
}
