package release

import (
	"errors"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestARunProvesOnlyWhatItTested(t *testing.T) {
	m, err := manifest.ParseFile("../../catalog/apps/mosquitto/manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m.Containers[0].Image = manifest.Image{Ref: "localhost:5000/mosquitto", Digest: "sha256:" + strings.Repeat("0", 64)}
	e, err := document.NewEntry(m, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	good := func() *reports.Report {
		return &reports.Report{Run: "r", Subject: reports.Subject{Manifests: map[string]string{"mosquitto": m.Digest()}, Images: map[string]string{"mosquitto": strings.Repeat("0", 64)}}}
	}
	if w, err := Proves(good(), &e); err != nil || w != nil {
		t.Error(w, err)
	}
	waived := good()
	waived.Waivers = []reports.Waived{{App: "mosquitto", Manifest: m.Digest(), Waiver: catalog.Waiver{Tracker: "https://t.example"}}, {App: "other"}}
	if w, err := Proves(waived, &e); err != nil || w == nil || w.Tracker != "https://t.example" {
		t.Error(w, err)
	}
	for name, change := range map[string]func(*reports.Report){
		"another manifest": func(r *reports.Report) { r.Subject.Manifests["mosquitto"] = "x" },
		"another image":    func(r *reports.Report) { r.Subject.Images["mosquitto"] = "x" },
		"another app":      func(r *reports.Report) { r.Subject.Manifests = map[string]string{"other": m.Digest()} },
	} {
		r := good()
		change(r)
		if _, err := Proves(r, &e); !errors.Is(err, attest.ErrAttestation) || !strings.Contains(err.Error(), "mosquitto") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Proves(good(), &document.Entry{ID: "mosquitto", Images: e.Images}); !errors.Is(err, attest.ErrAttestation) {
		t.Error("an image-only entry:", err)
	}
}
