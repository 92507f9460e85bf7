package keys

import (
	"fmt"
	"os"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Policy reads the release policy of a flag --policy; no file stands for the one built in.
func Policy(file string) (reports.Policy, error) {
	if file == "" {
		return plan.Default(), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return reports.Policy{}, fmt.Errorf("%w: --policy: %w", ErrUsage, err)
	}
	p, err := plan.ParsePolicy(file, b)
	if err != nil {
		return reports.Policy{}, fmt.Errorf("%w: --policy: %w", ErrUsage, err)
	}
	return p, nil
}
