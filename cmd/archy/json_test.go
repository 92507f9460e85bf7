package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// TestJSONSaysStatesInWords wants them as people see them, at any depth, and texts as they are.
func TestJSONSaysStatesInWords(t *testing.T) {
	out := &bytes.Buffer{}
	cmd := &cobra.Command{}
	cmd.SetOut(out)
	if err := (&app{}).print(cmd, &api.ListAppsResponse{Apps: []*api.App{
		{Id: "feeds", State: api.State_STATE_RUNNING, Note: "STATE_RUNNING & <so on>", Config: map[string]string{"state": "STATE_STOPPED"}, Generation: 1 << 60},
		{Id: "wiki", State: api.State_STATE_NOT_INSTALLED, Containers: []*api.Container{{Name: "wiki", State: "running"}}},
	}}); err != nil {
		t.Fatal(err)
	}
	var said struct {
		Apps []struct {
			State, Note, Generation string
			Config                  map[string]string
			Containers              []struct{ State string }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	feeds, wiki := said.Apps[0], said.Apps[1]
	if feeds.State != "running" || wiki.State != "not installed" || wiki.Containers[0].State != "running" {
		t.Errorf("states: %q, %q, %q", feeds.State, wiki.State, wiki.Containers[0].State)
	}
	if feeds.Note != "STATE_RUNNING & <so on>" || feeds.Config["state"] != "STATE_STOPPED" || feeds.Generation != "1152921504606846976" {
		t.Errorf("what is no state: %+v", feeds)
	}
	if !bytes.Contains(out.Bytes(), []byte("STATE_RUNNING & <so on>")) {
		t.Errorf("written otherwise than it was said: %s", out)
	}
}
