package matrix

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// gateFolders is where the gate makes the folders that applications want of a node's owner,
// below the home directory of its user.
const gateFolders = "archipelago-gate"

// witnessFile is the gate's own file in a folder of the owner's, as look has it, and witnessText
// what is in it: whoever deletes or changes what is the owner's does it to that, too.
const (
	witnessFile = "archipelago-gate.txt"
	witnessText = "This is the owner's, and stays as it is."
)

// placeOfFolder is where a folder of the owner's is: by an expectation of no node, where the
// daemon renders it without one.
func placeOfFolder(s manifest.StorageMount) string { return cmp.Or(s.Dir, "/srv/"+s.Name) }

// store fills in the owner's folders that a container has.
func (c *Meant) store(from manifest.Container) {
	for _, s := range from.Storage {
		dir := placeOfFolder(s)
		c.Volumes[s.Path] = VolumeMeant{dir, s.Access == "read_only"}
		c.Marks = append(c.Marks, dir+"/.archipelago-"+s.Name)
	}
}

// placed is a manifest with the folders of the node that it wants of its owner; the gate
// makes them where it asks for them first.
func (s *Session) placed(ctx context.Context, m *manifest.Manifest) (*manifest.Manifest, error) {
	names := m.Storage()
	if len(s.foldersOf(m)) == len(names) {
		return m.WithFolders(s.foldersOf(m)), nil
	}
	script := "cd"
	for _, name := range names {
		dir := gateFolders + "/" + name
		file := dir + "/" + witnessFile
		// At once: another process may look.
		script += fmt.Sprintf(" && mkdir -p %[1]s && echo %[2]s >%[3]s.$$ && mv %[3]s.$$ %[3]s", dir, nodes.Quote(witnessText), file)
	}
	home, err := s.SSH.Run(ctx, script+" && pwd -P")
	if err != nil {
		return nil, fmt.Errorf("making the folders of %s: %w", m.ID, err)
	}
	s.mu.Lock()
	if s.owners == nil {
		s.owners = map[string]manifest.Folder{}
	}
	for _, name := range names {
		s.owners[name] = manifest.Folder{Dir: filepath.Join(strings.TrimSpace(home), gateFolders, name)}
	}
	s.mu.Unlock()
	return m.WithFolders(s.foldersOf(m)), nil
}

// foldersOf are those of an application that have been made.
func (s *Session) foldersOf(m *manifest.Manifest) map[string]manifest.Folder {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]manifest.Folder{}
	for _, name := range m.Storage() {
		if f, made := s.owners[name]; made {
			out[name] = f
		}
	}
	return out
}

// owned names the folders that an application wants, as their owner does.
func (e *Environment) owned(ctx context.Context) (*manifest.Manifest, error) {
	m, err := e.placed(ctx, e.App)
	if err != nil {
		return nil, err
	}
	folders := e.foldersOf(m)
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		if _, err := e.Daemon.AddStorage(ctx, connect.NewRequest(&api.AddStorageRequest{Name: name, Dir: folders[name].Dir})); err != nil {
			return nil, fmt.Errorf("naming the folder %s: %w", name, err)
		}
	}
	return m, nil
}

var witnessed = fmt.Sprintf("%x", sha256.Sum256([]byte(witnessText+"\n")))

// checkOwners requires the owner's folders to be there, with what is in them, whatever is done
// to applications.
func checkOwners(s *Snapshot) (wrong []string) {
	for _, dir := range slices.Sorted(maps.Keys(s.Places)) {
		switch at := s.Places[dir]; {
		case strings.HasPrefix(dir, nodes.DataDir+"/"): // another application's volume: of its own cells
		case at.Inode == "":
			wrong = append(wrong, fmt.Sprintf(dataGone+"the owner's folder %s was deleted", dir))
		case at.Witness == "-":
			wrong = append(wrong, fmt.Sprintf(dataGone+"what was in the owner's folder %s was deleted", dir))
		case at.Witness != witnessed:
			wrong = append(wrong, fmt.Sprintf(dataGone+"what was in the owner's folder %s was changed", dir))
		}
	}
	return wrong
}

// inodeOf is that of a directory on the node: of a volume, or of a place that is not the
// application's own.
func (s *Snapshot) inodeOf(dir string) string {
	if at, ok := s.Places[dir]; ok {
		return at.Inode
	}
	return s.Volumes[filepath.Base(dir)].Inode
}
