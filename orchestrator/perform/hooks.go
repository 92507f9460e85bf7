package perform

import (
	"context"
	"fmt"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const defaultHookTimeout = time.Minute

type hookEngine interface {
	Exec(ctx context.Context, container string, argv []string) (string, error)
}

// hooks runs commands in containers of the application, one after the other.
func (p *Performer) hooks(ctx context.Context, m *manifest.Manifest, kind string, hooks []manifest.Hook) error {
	for _, h := range hooks {
		p.say(m.ID, "%s hook in %s", kind, h.Container)
		timeout := h.Timeout.Or(defaultHookTimeout)
		bounded, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than %s", timeout))
		_, err := p.engine.Exec(bounded, h.Container, h.Command)
		cancel()
		if err != nil {
			return fmt.Errorf("%s hook: %w", kind, err)
		}
	}
	return nil
}
