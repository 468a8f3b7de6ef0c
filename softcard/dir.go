package softcard

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pawl/internal/durable"
)

// The files of a card's folder, all of mode 0600.
const (
	masterKeyFile = "master.key" // 32 bytes in hex
	caFile        = "ca.pem"
	caKeyFile     = "ca-key.pem" // absent from the folders of older cards
	serverFile    = "server.pem"
	serverKeyFile = "server-key.pem"
	clientFile    = "client.pem"
	clientKeyFile = "client-key.pem"
)

// dirFiles lists the files that a card must have, in the order in which Init links them.
var dirFiles = []string{caFile, serverFile, serverKeyFile, clientFile, clientKeyFile, masterKeyFile}

// Dir is the folder of a card. master.key wraps every key that the card makes. ca.pem,
// server.pem and server-key.pem are what the card serves with, client.pem and
// client-key.pem what a client connects with. ca-key.pem signs server.pem anew for the port that the
// card serves at.
type Dir string

// Init makes a card in the folder, and the folder with mode 0700 if it is absent. Files of
// other names may lie in it. Init reports whether it made a card: a whole card stays as it
// is, and an error names the files of a card that lacks some. It never writes to an
// existing file. When it returns without error, all files are on disk.
func (d Dir) Init() (created bool, err error) {
	missing, err := d.missing()
	if err != nil {
		return false, err
	}
	switch len(missing) {
	case 0:
		return false, nil
	case len(dirFiles):
		err := d.create()
		return err == nil, err
	}
	return false, d.incomplete(missing)
}

// whole returns an error unless every file is there.
func (d Dir) whole() error {
	missing, err := d.missing()
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return d.incomplete(missing)
	}
	return nil
}

func (d Dir) missing() (names []string, err error) {
	for _, name := range dirFiles {
		info, err := os.Stat(d.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			names = append(names, name)
		case err != nil:
			return nil, fmt.Errorf("looking for the card: %w", err)
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s in %s is not a regular file", name, d)
		}
	}
	return names, nil
}

// ErrNoCard means that a folder does not exist or has none of the files of a card.
var ErrNoCard = errors.New("there is no software card")

func (d Dir) incomplete(missing []string) error {
	if len(missing) == len(dirFiles) {
		return fmt.Errorf("%w in %s: %s and the other files of a card are missing", ErrNoCard, d, masterKeyFile)
	}
	return fmt.Errorf("the software card in %s lacks %s: restore it from a backup, or start anew in another folder",
		d, strings.Join(missing, ", "))
}

// create writes the files in a folder beside their places and links each to its name. A
// link fails if the name was taken meanwhile.
func (d Dir) create() error {
	contents, err := newContents()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("creating the card's folder: %w", err)
	}
	stage, err := os.MkdirTemp(string(d), ".new-card-*")
	if err != nil {
		return fmt.Errorf("creating the card: %w", err)
	}
	err = d.place(stage, contents)
	if err = errors.Join(err, os.RemoveAll(stage)); err != nil {
		return err
	}
	return d.sync()
}

// place writes the files in stage, then links them. If a name is taken it removes the links
// it has made: the card is made whole or not at all.
func (d Dir) place(stage string, contents map[string][]byte) error {
	names := append([]string{caKeyFile}, dirFiles...)
	for _, name := range names {
		if err := durable.WriteNew(filepath.Join(stage, name), contents[name], 0o600); err != nil {
			return fmt.Errorf("writing %s of the card: %w", name, err)
		}
	}
	for i, name := range names {
		if err := os.Link(filepath.Join(stage, name), d.path(name)); err != nil {
			err = fmt.Errorf("putting %s of the card in place: %w", name, err)
			for _, linked := range names[:i] {
				err = errors.Join(err, os.Remove(d.path(linked)))
			}
			return err
		}
	}
	return nil
}

// sync puts on disk the names in the folder, and the folder's own name.
func (d Dir) sync() error {
	for _, folder := range []string{string(d), filepath.Dir(filepath.Clean(string(d)))} {
		if err := durable.Sync(folder); err != nil {
			return fmt.Errorf("syncing the card's folder: %w", err)
		}
	}
	return nil
}

// newContents makes a master key and the certificates.
func newContents() (map[string][]byte, error) {
	key := make([]byte, masterKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("master key: %v", err)
	}
	contents, err := newCertificates()
	if err != nil {
		return nil, err
	}
	contents[masterKeyFile] = []byte(hex.EncodeToString(key) + "\n")
	return contents, nil
}

// masterKey reads master.key.
func (d Dir) masterKey() ([]byte, error) {
	text, err := d.readSecret(masterKeyFile)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != masterKeySize {
		return nil, fmt.Errorf("%s in %s is not %d bytes in hex: restore it from a backup", masterKeyFile, d, masterKeySize)
	}
	return key, nil
}

// maxFileSize bounds a file of the folder, in bytes. The largest has about 700.
const maxFileSize = 64 << 10

// readSecret reads a file that nobody but its owner may touch.
func (d Dir) readSecret(name string) ([]byte, error) {
	data, err := durable.ReadPrivate(d.path(name), maxFileSize)
	if err != nil {
		return nil, fmt.Errorf("reading %s of the card: %w", name, err)
	}
	return data, nil
}

// path is the path of a file of the folder.
func (d Dir) path(name string) string { return filepath.Join(string(d), name) }
