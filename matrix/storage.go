package matrix

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// gateFolders is where the gate makes the folders that applications want of a node's owner,
// below the home directory of its user.
const gateFolders = "archipelago-gate"

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
	made := "mkdir -p"
	for _, name := range names {
		made += " " + gateFolders + "/" + name
	}
	home, err := s.SSH.Run(ctx, "cd && "+made+" && pwd -P")
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

// checkOwners requires the owner's folders to be there, whatever is done to applications.
func checkOwners(s *Snapshot) (wrong []string) {
	for _, dir := range slices.Sorted(maps.Keys(s.Places)) {
		if s.Places[dir] == "" {
			wrong = append(wrong, fmt.Sprintf(dataGone+"the owner's folder %s was deleted", dir))
		}
	}
	return wrong
}

// inodeOf is that of a directory on the node: of a volume, or of a folder of the owner's.
func (s *Snapshot) inodeOf(dir string) string {
	if inode, ok := s.Places[dir]; ok {
		return inode
	}
	return s.Volumes[filepath.Base(dir)].Inode
}
