package keys

import (
	"fmt"
	"os"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/root"
)

// Roots reads a chain of root documents, the first trusted as it is, and gives the
// policy of the last. A file that cannot be read is bad usage.
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
