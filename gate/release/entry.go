package release

import (
	"fmt"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Proves says why a verified run does not prove a catalog's entry: it must have tested
// exactly the entry's manifest and images. The waiver is the one that the run excuses
// the application by, nil for none.
func Proves(r *reports.Report, e *document.Entry) (*catalog.Waiver, error) {
	tested, ok := r.Subject.Manifests[e.ID]
	switch {
	case e.ImageOnly():
		return nil, fmt.Errorf("%w: the entry of %s only overrides images: no gate has seen what comes of it on a node", attest.ErrAttestation, e.ID)
	case !ok:
		return nil, fmt.Errorf("%w: run %s did not test %s", attest.ErrAttestation, r.Run, e.ID)
	case tested != e.SHA256:
		return nil, fmt.Errorf("%w: run %s tested another manifest of %s (%.12s…) than the entry's, version %s (%.12s…)", attest.ErrAttestation, r.Run, e.ID, tested, e.Version, e.SHA256)
	}
	for c, image := range e.Images {
		if _, digest, _ := strings.Cut(image, "@sha256:"); r.Subject.Images[c] != digest {
			return nil, fmt.Errorf("%w: run %s tested another image of %s (%.12s…) than the entry's (%.12s…)", attest.ErrAttestation, r.Run, c, r.Subject.Images[c], digest)
		}
	}
	for _, w := range r.Waivers {
		if w.App == e.ID && w.Manifest == e.SHA256 {
			return &w.Waiver, nil
		}
	}
	return nil, nil
}
