package repository

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// Files of a repository's directory, all of mode 0600.
const (
	recordFile      = "repository.json"
	locationFile    = "location"    // its address, as restic reads it
	passwordFile    = "password"    // the recovery key
	environmentFile = "environment" // variables that restic needs, for a shell
)

// Files beside the repositories' directories: by what the node is known over SFTP, and whom
// it knows.
const (
	sshKey    = "ssh_key"
	sshKnown  = "ssh_known_hosts"
	cacheName = "cache"
	nodeFile  = "node_name" // what this node is called in repositories
	keysDir   = ".removed"  // the recovery keys of those that were removed, NAME.TIME
)

const (
	format = 1
	maxKey = 1 << 10 // bytes of a recovery key

	keyStays  = 30 * 24 * time.Hour // on the node, after its repository was removed
	increment = ".new"              // of a directory whose repository is not on record yet
)

var (
	// ErrUnknown is wrapped where no repository has a name.
	ErrUnknown = errors.New("no repository is named")
	// ErrRefused is wrapped where what the owner asks for cannot be.
	ErrRefused = errors.New("refused")
)

// nameForm is what names a repository, and its directory.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// isName tells whether a repository can have a name, beside what else the directory holds.
func isName(name string) bool { return nameForm.MatchString(name) && name != cacheName }

// variables are those that a repository may need to be reached.
var variables = []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"}

// Variables are the names of what an owner may give to reach a repository.
func Variables() []string { return slices.Clone(variables) }

// Repository is one that the owner has named.
type Repository struct {
	Name     string
	URL      string   // without a password in it
	Settings Settings // as the owner set them
	Problem  string   // why it cannot be used, where it cannot

	dir, cache, host string
	options          []string // of restic, before its command
	runner           Runner
	working          *sync.RWMutex
}

// Settings are what the owner decides of a repository. The zero value stands for the
// defaults of whoever uses it.
type Settings struct {
	Hours  int    `json:"hours,omitempty"`  // between two backups of an application; below 0 for none but on demand
	Window string `json:"window,omitempty"` // when they may begin, such as "02:00-05:00"; empty: always
	Keep   Keep   `json:"keep,omitzero"`
}

// Every is the time between two backups of an application; 0 where none is made but on demand.
func (s Settings) Every() time.Duration {
	switch {
	case s.Hours < 0:
		return 0
	case s.Hours == 0:
		return 24 * time.Hour
	}
	return time.Duration(s.Hours) * time.Hour
}

// Rule is which snapshots are kept.
func (s Settings) Rule() Keep {
	if s.Keep == (Keep{}) {
		return Keep{Daily: 7, Weekly: 4, Monthly: 6}
	}
	return s.Keep
}

// record is what is on disk of one.
type record struct {
	Format   int      `json:"format"`
	URL      string   `json:"url"` // without a password in it
	Settings Settings `json:"settings"`
}

// Store keeps the repositories of a node.
type Store struct {
	dir     string
	host    string
	runner  Runner
	dataDir string

	adding chan struct{} // holds one while a repository is added: of two at a time, one would have the other's key

	mu      sync.Mutex // held while the directories change
	working map[string]*sync.RWMutex
}

// Open gives the repositories below dir, of a node that is called host. dataDir is where
// applications' data is: no repository is in it.
func Open(dir, host, dataDir string, runner Runner) *Store {
	return &Store{dir: dir, host: host, runner: runner, dataDir: dataDir, adding: make(chan struct{}, 1), working: map[string]*sync.RWMutex{}}
}

// List gives all of them, sorted by name. One that cannot be read says so.
func (s *Store) List() ([]*Repository, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the repositories: %w", err)
	}
	var all []*Repository
	for _, e := range entries {
		if !e.IsDir() || !isName(e.Name()) {
			continue
		}
		r, err := s.Get(e.Name())
		if err != nil {
			r = &Repository{Name: e.Name(), Problem: err.Error()}
		}
		all = append(all, r)
	}
	return all, nil
}

// Own tells whether this node made a snapshot.
func (r *Repository) Own(s Snapshot) bool { return s.Host == r.host }

const hostLength = 40 // characters of a node's name that are in what it is called in repositories

var (
	notInName = regexp.MustCompile(`[^A-Za-z0-9-]+`)
	calledAs  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

// called is what this node is called in repositories, and no other is: several that share one
// often have the same name. It is made once, and stays when the node gets another name. The
// caller holds mu.
func (s *Store) called() (string, error) {
	file := filepath.Join(s.dir, nodeFile)
	b, err := os.ReadFile(file)
	name := strings.TrimSpace(string(b))
	switch {
	case err == nil && calledAs.MatchString(name):
		return name, nil
	case err == nil:
		return "", fmt.Errorf("%s: expected what this node is called in repositories, letters, digits and hyphens; remove it to have another name made: backups that bear the old one stay, and are another node's then", file)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	name = notInName.ReplaceAllString(s.host, "-")
	name = strings.Trim(name[:min(len(name), hostLength)], "-")
	name = strings.TrimPrefix(name+"-", "-") + strings.ToLower(rand.Text()[:8])
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", err
	}
	return name, atomicfile.Write(file, []byte(name+"\n"), 0o600)
}

// Get gives one.
func (s *Store) Get(name string) (*Repository, error) {
	if !isName(name) {
		return nil, fmt.Errorf("%w %q", ErrUnknown, name)
	}
	return s.read(name, filepath.Join(s.dir, name))
}

func (s *Store) read(name, dir string) (*Repository, error) {
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w %q", ErrUnknown, name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", name, err)
	}
	var rec record
	switch err := json.Unmarshal(b, &rec); {
	case err != nil, rec.Format == 0, rec.URL == "":
		return nil, fmt.Errorf("repository %[1]s: its record %[2]s is damaged; nothing is backed up there. 'archy repository remove %[1]s' gives its recovery key and deletes nothing in it; add it again with that key", name, filepath.Join(dir, recordFile))
	case rec.Format != format:
		return nil, fmt.Errorf("repository %s: %s was written by a newer daemon, format %d, this one knows %d; install a daemon at least as new", name, filepath.Join(dir, recordFile), rec.Format, format)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	called, err := s.called()
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", name, err)
	}
	working := s.working[name]
	if working == nil {
		working = &sync.RWMutex{}
		s.working[name] = working
	}
	r := &Repository{Name: name, URL: rec.URL, Settings: rec.Settings, dir: dir, cache: filepath.Join(s.dir, cacheName), host: called, runner: s.runner, working: working}
	if to, ok := strings.CutPrefix(rec.URL, "sftp:"); ok {
		r.options = []string{"-o", "sftp.command=" + s.overSSH(to)}
	}
	return r, nil
}

// Key gives the recovery key of one, or of the last of that name if it was removed not long ago.
func (s *Store) Key(name string) (string, error) {
	if !isName(name) {
		return "", fmt.Errorf("%w %q", ErrUnknown, name)
	}
	file := filepath.Join(s.dir, name, passwordFile) // of one whose record cannot be read, too
	if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, fs.ErrNotExist) {
		removed, _ := filepath.Glob(filepath.Join(s.dir, keysDir, name+".*"))
		if len(removed) == 0 {
			return "", fmt.Errorf("%w %q", ErrUnknown, name)
		}
		file = slices.Max(removed)
	}
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}

// Secrets are the recovery keys, and what else opens the repositories, by the repository; several
// of one a line each.
func (s *Store) Secrets() (map[string]string, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, r := range all {
		dir := filepath.Join(s.dir, r.Name)
		key, err := os.ReadFile(filepath.Join(dir, passwordFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		variables, err := os.ReadFile(filepath.Join(dir, environmentFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		out[r.Name] = string(key)
		for line := range strings.Lines(string(variables)) {
			if _, value, set := strings.Cut(strings.TrimSpace(line), "="); set {
				out[r.Name] += unquoted(value) + "\n"
			}
		}
	}
	return out, nil
}

// Added is what an owner says of a repository.
type Added struct {
	Name, URL   string
	Key         string            // of one that is there already; empty makes a new one
	Environment map[string]string // to reach it, by the names in Variables
	Settings    Settings
}

// Add gives a repository a name. Without a key, it is made, with a new one; with one, it must
// be there and open by it. What has been tried is on record before it is tried, so that
// nothing is ever encrypted with a key that a cut could lose.
func (s *Store) Add(ctx context.Context, a Added) (r *Repository, err error) {
	select {
	case s.adding <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.adding }()
	shown, err := s.admit(a)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if _, err := s.Get(a.Name); !errors.Is(err, ErrUnknown) {
		return nil, errors.Join(fmt.Errorf("%w: there is a repository %s; 'archy repository remove %s' first, which deletes nothing in it", ErrRefused, a.Name, a.Name), err)
	}
	new := filepath.Join(s.dir, a.Name+increment)
	key := a.Key
	if key == "" {
		key = s.kept(new, a.URL)
	}
	if key == "" {
		key = rand.Text()
	}
	if err := os.RemoveAll(new); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(new, 0o700); err != nil {
		return nil, err
	}
	rec, err := json.Marshal(record{format, shown, a.Settings})
	if err != nil {
		return nil, err
	}
	// How often it says how far it is.
	env := maps.Clone(a.Environment)
	if env == nil {
		env = map[string]string{}
	}
	env["RESTIC_PROGRESS_FPS"] = "0.2"
	for _, f := range []struct {
		name string
		data []byte
	}{{passwordFile, []byte(key + "\n")}, {locationFile, []byte(a.URL + "\n")}, {environmentFile, environment(env)}, {recordFile, rec}} {
		if err := atomicfile.Write(filepath.Join(new, f.name), f.data, 0o600); err != nil {
			return nil, err
		}
	}
	if err := atomicfile.SyncDir(s.dir); err != nil {
		return nil, err
	}
	public := ""
	if strings.HasPrefix(a.URL, "sftp:") {
		if public, err = s.identity(); err != nil {
			return nil, err
		}
	}
	if r, err = s.read(a.Name, new); err != nil {
		return nil, err
	}
	if err := r.begin(ctx, a.Key == ""); err != nil {
		if public != "" {
			err = fmt.Errorf("%w; this node's key for SFTP, which the other side must take (authorized_keys), is: %s", err, public)
		}
		return nil, err
	}
	if err := os.Rename(new, filepath.Join(s.dir, a.Name)); err != nil {
		return nil, err
	}
	if err := atomicfile.SyncDir(s.dir); err != nil {
		return nil, err
	}
	return s.Get(a.Name)
}

// kept is the key of an attempt at the same address that a cut ended: it may be the one that
// a repository there was made with.
func (s *Store) kept(dir, address string) string {
	at, err := os.ReadFile(filepath.Join(dir, locationFile))
	if err != nil || strings.TrimSpace(string(at)) != address {
		return ""
	}
	key, _ := os.ReadFile(filepath.Join(dir, passwordFile))
	return strings.TrimSpace(string(key))
}

// begin opens the repository, or makes it.
func (r *Repository) begin(ctx context.Context, make bool) error {
	err := r.Open(ctx)
	switch {
	case err == nil, !make:
		return err
	case errors.Is(err, ErrKey):
		return fmt.Errorf("%w: there is a repository already, which another key opens: give its recovery key to use it: %w", ErrRefused, err)
	case !errors.Is(err, ErrNone):
		return err
	}
	if err := r.run(ctx, "", nil, "init"); err != nil {
		return err
	}
	return r.Open(ctx)
}

// Remove forgets a repository, and gives its recovery key: without it, nobody reads what is
// there, which stays as it is. Since the answer can be lost, the key can be asked for (Key)
// until Sweep deletes it.
func (s *Store) Remove(name string, now time.Time) (key string, err error) {
	if !isName(name) {
		return "", fmt.Errorf("%w %q", ErrUnknown, name)
	}
	dir := filepath.Join(s.dir, name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w %q", ErrUnknown, name)
	}
	b, err := os.ReadFile(filepath.Join(dir, passwordFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(b) > 0 {
		keys := filepath.Join(s.dir, keysDir)
		if err := os.MkdirAll(keys, 0o700); err != nil {
			return "", err
		}
		if err := atomicfile.Write(filepath.Join(keys, name+"."+now.UTC().Format(keyTime)), b, 0o600); err != nil {
			return "", err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), atomicfile.SyncDir(s.dir)
}

// keyTime is when a repository was removed, in the name of its key; later ones sort behind.
const keyTime = "20060102T150405.000000000"

// Sweep deletes the keys of repositories that were removed 30 days ago, or earlier.
func (s *Store) Sweep(now time.Time) error {
	keys, err := os.ReadDir(filepath.Join(s.dir, keysDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, k := range keys {
		_, at, _ := strings.Cut(k.Name(), ".")
		if removed, bad := time.Parse(keyTime, at); bad == nil && now.Sub(removed) >= keyStays {
			err = errors.Join(err, os.Remove(filepath.Join(s.dir, keysDir, k.Name())))
		}
	}
	return err
}

// Set changes what the owner decides of a repository.
func (s *Store) Set(name string, settings Settings) error {
	r, err := s.Get(name)
	if err != nil {
		return err
	}
	b, err := json.Marshal(record{format, r.URL, settings})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(r.dir, recordFile), b, 0o600)
}

// admit says why something is no repository, and gives its address without what is secret.
func (s *Store) admit(a Added) (shown string, err error) {
	if !isName(a.Name) {
		return "", fmt.Errorf("%q is no name: lower-case letters, digits and hyphens, at most 63", a.Name)
	}
	for name, value := range a.Environment {
		if !slices.Contains(variables, name) {
			return "", fmt.Errorf("%q is not among the variables that reach a repository: %s", name, strings.Join(variables, ", "))
		}
		if strings.ContainsAny(value, "\n\r\x00") {
			return "", fmt.Errorf("%s: expected one line", name)
		}
	}
	if len(a.Key) > maxKey || strings.ContainsAny(a.Key, "\n\r\x00") {
		return "", errors.New("the recovery key: expected one line")
	}
	if strings.ContainsAny(a.URL, " \t\n\r\x00'\"\\") {
		return "", errors.New("the address of a repository has no spaces, quotes and backslashes")
	}
	kind, rest, _ := strings.Cut(a.URL, ":")
	switch {
	case filepath.IsAbs(a.URL):
		return a.URL, s.outside(a.URL)
	case kind == "sftp":
		_, _, _, err := parseSFTP(rest)
		return a.URL, err
	case kind == "rest":
		u, err := url.Parse(rest)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return "", errors.New("expected rest:https://HOST/PATH")
		}
		if u.User != nil {
			return "", errors.New("a password in an address is seen by many: give RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD instead")
		}
		return a.URL, nil
	case kind == "s3":
		u, err := url.Parse(rest)
		if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
			return "", errors.New("expected s3:https://HOST/BUCKET")
		}
		if a.Environment["AWS_ACCESS_KEY_ID"] == "" || a.Environment["AWS_SECRET_ACCESS_KEY"] == "" {
			return "", errors.New("S3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
		return a.URL, nil
	}
	// It is not repeated: there may be a password in it.
	return "", errors.New("that is no address of a repository: expected an absolute path on the node, sftp:USER@HOST:/PATH, s3:https://HOST/BUCKET or rest:https://HOST/PATH")
}

// outside refuses a directory within the data that backups are to outlive.
func (s *Store) outside(dir string) error {
	real := dir
	for up := dir; ; up = filepath.Dir(up) {
		if r, err := filepath.EvalSymlinks(up); err == nil {
			rest, err := filepath.Rel(up, dir)
			if err != nil {
				return err
			}
			real = filepath.Join(r, rest)
			break
		}
	}
	data, err := filepath.EvalSymlinks(s.dataDir)
	if err != nil {
		data = s.dataDir
	}
	if rel, err := filepath.Rel(data, real); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return fmt.Errorf("%s is within %s, whose loss a backup is to outlive: name a directory on another disk", dir, s.dataDir)
	}
	return nil
}

var sftpPart = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// parseSFTP takes apart what is after "sftp:", in restic's two forms: USER@HOST:PATH and
// //USER@HOST[:PORT]/PATH.
func parseSFTP(address string) (user, host, port string, err error) {
	wrong := errors.New("expected sftp:USER@HOST:/PATH or sftp://USER@HOST:PORT//PATH")
	var path string
	if strings.HasPrefix(address, "//") {
		u, err := url.Parse("sftp:" + address)
		if err != nil || u.User == nil {
			return "", "", "", wrong
		}
		if _, has := u.User.Password(); has {
			return "", "", "", errors.New("SFTP is entered by the node's key, not by a password")
		}
		user, host, port, path = u.User.Username(), u.Hostname(), u.Port(), u.Path
	} else {
		at, rest, _ := strings.Cut(address, ":")
		user, host, _ = strings.Cut(at, "@")
		path = rest
	}
	if !sftpPart.MatchString(user) || !sftpPart.MatchString(host) || path == "" {
		return "", "", "", wrong
	}
	return user, host, port, nil
}

// overSSH is the command that reaches a repository by SFTP. The ids of the user namespace
// would have ssh look for its files in root's home: all of them are named. A host is known by
// the key that it has shown first.
func (s *Store) overSSH(address string) string {
	user, host, port, err := parseSFTP(address)
	if err != nil {
		return "false"
	}
	return fmt.Sprintf("ssh -F /dev/null -i %s -o IdentitiesOnly=yes -o UserKnownHostsFile=%s -o StrictHostKeyChecking=accept-new -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=30 -p %s %s@%s -s sftp",
		filepath.Join(s.dir, sshKey), filepath.Join(s.dir, sshKnown), cmp.Or(port, "22"), user, host)
}

// identity is the public half of the node's key for SFTP, which is made once.
func (s *Store) identity() (public string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := filepath.Join(s.dir, sshKey)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return "", err
		}
		block, err := ssh.MarshalPrivateKey(key, "archipelago@"+s.host)
		if err != nil {
			return "", err
		}
		b = pem.EncodeToMemory(block)
		if err := atomicfile.Write(file, b, 0o600); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	key, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(key.PublicKey()))) + " archipelago@" + s.host, nil
}
