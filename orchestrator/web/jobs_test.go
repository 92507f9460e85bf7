package web

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

func TestAJobGoesOnByItselfAndSaysHowItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		j := newJobs(func() { told++ })
		step := make(chan backup.Step)
		end := make(chan error)
		work := func(_ context.Context, tell func(backup.Step)) error {
			for {
				select {
				case s := <-step:
					tell(s)
				case err := <-end:
					return err
				}
			}
		}
		what := job{Verb: jobBackup, App: "feeds", Repository: "disk"}
		if err := j.begin(what, work); err != nil {
			t.Fatal(err)
		}
		if err := j.begin(what, work); err == nil || !strings.Contains(err.Error(), "done already") {
			t.Errorf("the same once more: %v", err)
		}
		step <- backup.Step{Message: "storing", Done: 0.421}
		step <- backup.Step{Message: "storing", Done: 0.422}
		synctest.Wait()
		if l := j.list(); len(l) != 1 || l[0].Message != "storing" || l[0].Percent != 42 || !l[0].Ended.IsZero() {
			t.Errorf("under way: %+v", l)
		}
		if told != 2 {
			t.Errorf("it was told of %d times, though two changes show", told)
		}
		end <- fmt.Errorf("restoring: %w", &request.Unagreed{Asked: []string{"reads your folder photos"}})
		synctest.Wait()
		if l := j.list(); l[0].Ended.IsZero() || l[0].Problem == "" || len(l[0].Asked) != 1 {
			t.Errorf("ended: %+v", l)
		}
		if err := j.begin(what, work); err != nil {
			t.Fatalf("once more after it has ended: %v", err)
		}
		end <- nil
		synctest.Wait()
		if l := j.list(); len(l) != 1 || l[0].Problem != "" || l[0].Message != "done" {
			t.Errorf("done: %+v", l)
		}
	})
}

func TestJobsEndWithTheDaemon(t *testing.T) {
	j := newJobs(func() {})
	if err := j.begin(job{Verb: jobProve, App: "feeds"}, func(ctx context.Context, _ func(backup.Step)) error {
		<-ctx.Done()
		return ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	j.end()
	if l := j.list(); len(l) != 1 || l[0].Problem == "" {
		t.Errorf("%+v", l)
	}
	if err := j.begin(job{Verb: jobProve, App: "other"}, nil); err == nil || !strings.Contains(err.Error(), "the daemon is ending") {
		t.Errorf("after the end: %v", err)
	}
}
