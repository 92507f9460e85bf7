package matrix

import (
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// The node's user may signal processes of its containers, since their user namespace is
// its own (user_namespaces(7)).
//
//go:embed kill.sh
var killScript string

// crash kills the main process of each container, and wants all of them back by
// themselves: within the budget of a start, as new processes, with the data. s is how
// they were seen last.
func crash(ctx context.Context, env *Environment, rec *Recorder, s *Snapshot) error {
	command, err := killing(env.App, s)
	if err != nil {
		return err
	}
	if _, err := env.SSH.Run(ctx, command); err != nil {
		return fmt.Errorf("killing them: %w", err)
	}
	if err := awaitRecovery(ctx, env, rec, s); err != nil {
		return err
	}
	_, err = complete(ctx, env, rec)
	return err
}

// killing is the command that kills the main processes of the application's containers.
func killing(m *manifest.Manifest, s *Snapshot) (string, error) {
	words := []string{"bash", "-c", nodes.Quote(killScript), "kill"}
	for _, c := range m.Containers {
		found := s.member(c.Name)
		if len(found) != 1 || found[0].running == nil || found[0].running.Cgroup == "" {
			return "", fmt.Errorf("%w: container %s has no main process to kill", ErrIncomplete, c.Name)
		}
		words = append(words, found[0].pid, nodes.Quote(found[0].running.Cgroup))
	}
	command := strings.Join(words, " ")
	for _, c := range m.Containers {
		command = forced(c.Name+".service", command)
	}
	return command, nil
}

// awaitRecovery waits until the application is back, and not as it was. No command is
// given, and the daemon is asked nothing.
func awaitRecovery(ctx context.Context, env *Environment, rec *Recorder, before *Snapshot) error {
	defer rec.charge(&rec.timing.App)()
	budget := env.App.StartBudget()
	s := env.sight(rec)
	look := s.look
	s.look = func(ctx context.Context) (*Snapshot, error) {
		now, err := look(ctx)
		if errors.Is(err, errEnded) {
			err = errors.New(err.Error()) // it crashes on, which is no trouble of the gate's
		}
		return now, err
	}
	return s.await(ctx, budget, fmt.Sprintf("%s to be back, budget %s", env.App.ID, budget),
		func(now *Snapshot) []string {
			return append(CheckUp(env.App, now), CheckOther(env.App, before, now)...)
		},
		func(now *Snapshot, _ time.Time) error {
			return Verdict(CheckAnew(env.App, before, now), CheckRunning(env.App, now))
		})
}
