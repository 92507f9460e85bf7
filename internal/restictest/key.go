package restictest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/poly1305" //lint:ignore SA1019 restic's format stands on it, and what tests keep is no secret
	"golang.org/x/crypto/scrypt"
)

// key is a key of a repository, as restic's design says ("Keys, Encryption and MAC"): it
// holds the repository's master key, encrypted with what is derived from a password.
type key struct {
	Created  string `json:"created"`
	Username string `json:"username"`
	Hostname string `json:"hostname"`
	KDF      string `json:"kdf"`
	N        int
	R        int    `json:"r"`
	P        int    `json:"p"`
	Salt     []byte `json:"salt"`
	Data     []byte `json:"data"` // IV (16 bytes), master key, MAC (16 bytes)
}

// cheapen makes the keys of a repository in a directory cheap to derive. As restic makes
// them, each command takes half a second of CPU for it, which protects what tests do not have.
func cheapen(dir, password string) error {
	files, err := filepath.Glob(filepath.Join(dir, "keys", "*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := cheapenKey(file, password); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func cheapenKey(file, password string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var k key
	if err := json.Unmarshal(b, &k); err != nil {
		return err
	}
	if len(k.Data) < aes.BlockSize+poly1305.TagSize {
		return fmt.Errorf("%d bytes of data are none that restic makes", len(k.Data))
	}
	derived, err := k.derive(password)
	if err != nil {
		return err
	}
	iv := k.Data[:aes.BlockSize]
	master, err := derived.crypt(iv, k.Data[aes.BlockSize:len(k.Data)-poly1305.TagSize])
	if err != nil {
		return err
	}
	k.N, k.R, k.P = 2, 1, 1
	if derived, err = k.derive(password); err != nil {
		return err
	}
	iv = make([]byte, aes.BlockSize)
	rand.Read(iv)
	sealed, err := derived.crypt(iv, master)
	if err != nil {
		return err
	}
	mac, err := derived.mac(iv, sealed)
	if err != nil {
		return err
	}
	k.Data = append(append(iv, sealed...), mac...)
	if b, err = json.Marshal(k); err != nil {
		return err
	}
	// A file of a repository has its content's digest for a name.
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), fmt.Sprintf("%x", sha256.Sum256(b))), b, 0o600); err != nil {
		return err
	}
	return os.Remove(file)
}

// derived is what is derived from a password: 32 bytes that encrypt (AES-256 in counter mode),
// and two of 16 that authenticate (Poly1305-AES).
type derived []byte

func (k key) derive(password string) (derived, error) {
	return scrypt.Key([]byte(password), k.Salt, k.N, k.R, k.P, 64)
}

// crypt encrypts, or decrypts.
func (d derived) crypt(iv, data []byte) ([]byte, error) {
	block, err := aes.NewCipher(d[:32])
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(data))
	cipher.NewCTR(block, iv).XORKeyStream(out, data)
	return out, nil
}

func (d derived) mac(iv, sealed []byte) ([]byte, error) {
	block, err := aes.NewCipher(d[32:48])
	if err != nil {
		return nil, err
	}
	var once [32]byte
	copy(once[:], d[48:64])
	block.Encrypt(once[16:], iv)
	var mac [poly1305.TagSize]byte
	poly1305.Sum(&mac, sealed, &once)
	return mac[:], nil
}
