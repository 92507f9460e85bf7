package keys

import (
	"fmt"
	"os"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/root"
)

// Roots reads a chain of root documents and returns the policy of the last. The first is
// trusted as it is. A file that cannot be read is an ErrUsage.
func Roots(files ...string) (chain [][]byte, p *root.Policy, err error) {
	if len(files) == 0 {
		return nil, nil, fmt.Errorf("%w: --root: name the root document that says whose signatures count", ErrUsage)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: --root: %w", ErrUsage, err)
		}
		chain = append(chain, b)
	}
	p, err = root.Verify(time.Now(), chain[0], chain[1:]...)
	return chain, p, err
}
