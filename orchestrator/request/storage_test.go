package request_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// photos has a member that is given the owner's folder photos.
func photos(m *manifest.Manifest) {
	m.Containers[0].Storage = []manifest.StorageMount{{Name: "photos", Path: "/photos", Access: manifest.ReadWrite}}
}

// knowing are records on a node whose owner has named the folder.
func knowing(r state.Records) state.Records {
	r.Folders = map[string]manifest.Folder{"photos": {Dir: "/srv/photos", ID: "x"}}
	return r
}

func TestAFolderThatTheNodeLacksIsRefusedWithTheRemedy(t *testing.T) {
	const agreed = "reads and writes your folder photos (/srv/photos) in its container a"
	install := request.Request{App: "a", Verb: request.Install, Consent: []string{agreed}}
	gone := host.Observation{Folders: map[string]string{"photos": "/srv/photos is not there; connect the disk"}}
	there := host.Observation{Folders: map[string]string{"photos": ""}}
	a := app("a", photos)
	decide(t, []decision{
		{name: "nobody has named it", records: records(), offer: disk(a), request: install, refused: request.ErrFolder, because: []string{"refused", "a wants your folder photos, and none of that name is known here; 'archy storage add photos DIR'"}},
		{name: "its disk is not there", records: knowing(records()), offer: disk(a), request: install, node: gone, refused: request.ErrFolder, because: []string{"a wants your folder photos: /srv/photos is not there; connect the disk"}},
		{name: "the owner has not agreed", records: knowing(records()), offer: disk(a), request: request.Request{App: "a", Verb: request.Install}, node: there, refused: request.ErrConsent, because: []string{": it " + agreed + ";"}},
		{name: "the owner has agreed to another place", records: knowing(records()), offer: disk(a), request: request.Request{App: "a", Verb: request.Install, Consent: []string{strings.Replace(agreed, "/srv", "/mnt", 1)}}, node: there, refused: request.ErrConsent},
		{name: "all is well", records: knowing(records()), offer: disk(a), request: install, node: there, want: "a"},
		{name: "what comes along wants one", records: records(), offer: disk(app("b", requires("a")), a), request: request.Request{App: "b", Verb: request.Install}, refused: request.ErrFolder},
		{name: "what comes along is agreed to", records: knowing(records()), offer: disk(app("b", requires("a")), a), request: request.Request{App: "b", Verb: request.Install}, refused: request.ErrConsent, because: []string{"installs a, which " + agreed}},
		{name: "two have it", records: knowing(records(installed(app("b", photos)))), offer: disk(a), request: install, node: there, want: "a"},
		{name: "an update that wants one", records: records(installed(app("a"))), offer: disk(app("a", version("2"), photos)), request: request.Request{App: "a", Verb: request.Update, Consent: []string{agreed}}, refused: request.ErrFolder},
		{name: "an update must be agreed to", records: knowing(records(installed(app("a")))), offer: disk(app("a", version("2"), photos)), request: request.Request{App: "a", Verb: request.Update}, refused: request.ErrConsent, because: []string{agreed}},
		{name: "an update of what has it", records: knowing(records(installed(a))), offer: disk(app("a", version("2"), photos)), request: request.Request{App: "a", Verb: request.Update}, want: "a to 2"},
		{name: "an update while the disk is not there", records: knowing(records(installed(a))), offer: disk(app("a", version("2"), photos)), request: request.Request{App: "a", Verb: request.Update}, node: gone, refused: request.ErrFolder},
		{name: "what is stopped starts, and waits", records: knowing(records(installed(a, goal(state.Stopped)))), offer: disk(), request: request.Request{App: "a", Verb: request.Start}, node: gone, want: "a"},
	})
}

func TestABackupOfWhatHasAFolderWantsIt(t *testing.T) {
	rec := installed(app("a", photos))
	if _, err := request.Restored(records(), disk(rec.Manifest), now, rec, nil); !errors.Is(err, request.ErrFolder) {
		t.Error(err)
	}
	if _, err := request.Restored(knowing(records()), disk(rec.Manifest), now, rec, nil); err != nil {
		t.Error(err)
	}
}

func TestABackupBringsNothingAlongThatItsOwnerHasNotAgreedTo(t *testing.T) {
	rec := installed(app("b", requires("a"), photos))
	got, err := request.Restored(knowing(records()), disk(rec.Manifest, app("a", photos)), now, rec, nil)
	if !errors.Is(err, request.ErrConsent) || !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "installs a, which reads and writes your folder photos (/srv/photos)") {
		t.Errorf("%s, %v", says(got), err)
	}
	if _, err := request.Restored(knowing(records(installed(app("a", photos)))), disk(rec.Manifest), now, rec, nil); err != nil {
		t.Errorf("it is installed: %v", err)
	}
}

func TestAFolderIsForgottenOnceNobodyHasIt(t *testing.T) {
	for _, c := range []struct {
		name    string
		records state.Records
		folder  string
		want    error
	}{
		{"an application has it", knowing(records(installed(app("a", photos)))), "photos", request.ErrRefused},
		{"a stopped one has it", knowing(records(installed(app("a", photos), goal(state.Stopped)))), "photos", request.ErrRefused},
		{"one is about to have it", knowing(records(installed(app("a"), updatingTo(app("a", photos))))), "photos", request.ErrRefused},
		{"the one that had it goes", knowing(records(installed(app("a", photos), goal(state.Absent)))), "photos", nil},
		{"nobody has it", knowing(records(installed(app("a")))), "photos", nil},
		{"there is none", knowing(records()), "music", request.ErrUnknownFolder},
	} {
		if err := request.ForgetFolder(c.records, c.folder); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if apps := request.HaveFolder(knowing(records(installed(app("a", photos)), installed(app("b")), installed(app("c", photos)))), "photos"); !slices.Equal(apps, []string{"a", "c"}) {
		t.Errorf("%q have it", apps)
	}
}
