package web

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
)

// moving is a move of a volume, and what is said of it.
type moving struct {
	job
	Doing string
}

// moved is the last move of a volume of an application; nil where there was none lately.
func (s *Server) moved(f frame, app string) *moving {
	if j := s.jobs.moved(app); j != nil {
		return &moving{*j, f.doing(*j)}
	}
	return nil
}

// move begins to move a volume to another disk, or back.
func (s *Server) move(r *http.Request, app string) error {
	j := job{Verb: jobMove, App: app, Volume: r.PostForm.Get("volume"), Dir: strings.TrimSpace(r.PostForm.Get("dir"))}
	switch back := r.PostForm.Get("back") != ""; {
	case !slices.ContainsFunc(s.Reconciler.Volumes(app), func(v orchestrator.Volume) bool { return v.Name == j.Volume }):
		return refusing("%s has no such volume", app)
	case back:
		j.Dir = ""
	case !path.IsAbs(j.Dir):
		return refusing("type the whole path of a directory on this node, such as /mnt/big")
	}
	who := access.Who(r)
	return s.jobs.begin(j, func(ctx context.Context, tell func(backup.Step)) error {
		_, err := s.Reconciler.MoveVolume(ctx, app, j.Volume, j.Dir, who, func(message string) { tell(backup.Step{Message: message}) })
		return err
	})
}
