package matrix

import (
	"bytes"
	"context"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
	"github.com/archipelago-cloud/archipelago/reports"
)

const maxBackup = 1 << 30 // bytes; it is kept in memory

// backUpAndRestore takes a backup, purges the application and brings it back: the
// same secrets, and the canary where it was.
func backUpAndRestore(ctx context.Context, env *Environment, rec *Recorder) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	var file bytes.Buffer
	saved := rec.charge(&rec.timing.Engine)
	_, err = env.Daemon.SaveBackup(ctx, env.App.ID, []string{id.Recipient().String()}, nodes.AtMost(&file, maxBackup))
	saved()
	if err != nil {
		return err
	}
	if err := remove(ctx, env, rec, true); err != nil {
		return err
	}
	restored := rec.charge(&rec.timing.Engine)
	err = env.restore(ctx, file.Bytes(), id)
	restored()
	if err != nil {
		return ofKind(reports.DataLoss, err) // the backup was all that there was of it
	}
	s, err := env.look(ctx, rec)
	if err != nil {
		return err
	}
	// The directories are new; what was in them must not be.
	secrets := CheckSame(&Snapshot{Secrets: rec.before.Secrets}, s)
	if err := Verdict(CheckRunning(env.App, s), secrets); err != nil {
		return err
	}
	rec.before = s
	return env.readCanary(ctx, rec)
}

// restore has the daemon bring back an application from a backup, and waits for the end.
func (e *Environment) restore(ctx context.Context, backup []byte, id age.Identity) error {
	b, err := client.OpenBackup(bytes.NewReader(backup), int64(len(backup)), []age.Identity{id})
	if err != nil {
		return err
	}
	defer b.Close()
	op, err := e.Daemon.RestoreBackup(ctx, b)
	if err != nil {
		return err
	}
	_, err = e.Daemon.Await(ctx, op, nil)
	return err
}
