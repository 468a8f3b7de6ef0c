package softcard

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The files of a card's folder, all of mode 0600.
const (
	masterKeyFile = "master.key" // 32 bytes in hex
	caFile        = "ca.pem"
	serverFile    = "server.pem"
	serverKeyFile = "server-key.pem"
	clientFile    = "client.pem"
	clientKeyFile = "client-key.pem"
)

// dirFiles lists them in the order in which Init puts them in place.
var dirFiles = []string{caFile, serverFile, serverKeyFile, clientFile, clientKeyFile, masterKeyFile}

// Dir is the folder of a card: master.key, which wraps every key the card makes;
// ca.pem, server.pem and server-key.pem, with which it serves; client.pem and
// client-key.pem, with which a client comes. The key that signed the certificates
// is not kept: a card with other certificates needs a new authority.
type Dir string

// Init makes a card in the folder, which it creates with mode 0700 when there is
// none; files of other names may lie in it. It reports whether it made one: a card
// that is already whole stays as it is, and of a card that lacks files the error
// names them. No existing file is ever written to, and when Init returns without
// error all files are on disk.
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

// whole is an error unless every file is there.
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
		info, err := os.Stat(filepath.Join(string(d), name))
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

func (d Dir) incomplete(missing []string) error {
	if len(missing) == len(dirFiles) {
		return fmt.Errorf("there is no software card in %s: %s and the other files of a card are missing", d, masterKeyFile)
	}
	return fmt.Errorf("the software card in %s lacks %s: restore it from a backup, or start anew in another folder",
		d, strings.Join(missing, ", "))
}

// create writes every file into a folder beside them, then links each to its
// name, which fails if one has appeared meanwhile.
func (d Dir) create() error {
	contents, err := newContents()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("creating the card's folder: %w", err)
	}
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return fmt.Errorf("opening the card's folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	stage := ".new-card-" + rand.Text()
	if err := root.Mkdir(stage, 0o700); err != nil {
		return fmt.Errorf("creating the card: %w", err)
	}
	err = place(root, stage, contents)
	if removed := root.RemoveAll(stage); err == nil && removed != nil {
		err = fmt.Errorf("removing %s: %w", stage, removed)
	}
	if err != nil {
		return err
	}
	return d.sync()
}

// place writes the files in stage, then links them. When a name is taken it takes
// back those it has linked: the card is made whole or not at all.
func place(root *os.Root, stage string, contents map[string][]byte) error {
	for _, name := range dirFiles {
		if err := writeSynced(root, filepath.Join(stage, name), contents[name]); err != nil {
			return fmt.Errorf("writing %s of the card: %w", name, err)
		}
	}
	for i, name := range dirFiles {
		if err := root.Link(filepath.Join(stage, name), name); err != nil {
			err = fmt.Errorf("putting %s of the card in place: %w", name, err)
			for _, linked := range dirFiles[:i] {
				err = errors.Join(err, root.Remove(linked))
			}
			return err
		}
	}
	return nil
}

// sync makes the names last: the folder's, and its own in the folder above.
func (d Dir) sync() error {
	for _, folder := range []string{string(d), filepath.Dir(filepath.Clean(string(d)))} {
		if err := syncFolder(folder); err != nil {
			return fmt.Errorf("syncing the card's folder: %w", err)
		}
	}
	return nil
}

func syncFolder(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	return folder.Sync()
}

func writeSynced(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
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

// readSecret reads a file that nobody but its owner may touch.
func (d Dir) readSecret(name string) ([]byte, error) {
	f, err := os.DirFS(string(d)).Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s of the card: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading %s of the card: %w", name, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s in %s is open to other users (mode %04o): chmod 600 it", name, d, mode)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s of the card: %w", name, err)
	}
	return data, nil
}
