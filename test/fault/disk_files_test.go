package fault_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pawl/ratchet/ratchettest"
)

// damage is something that befalls the files of a ratchet, with a part of the line in
// which pawl says so.
type damage struct {
	name   string
	befall befall
	want   string
}

// befall does a damage and returns what takes it back, nil if nothing can.
type befall func(t *testing.T, s *diskStand) (mend func())

// What befalls the files of a killed daemon, and what it says then.
var ofAKilled = []damage{
	{"database deleted", remove(""), "ratchet file missing"},
	{"database moved away", move(""), "ratchet file missing"},
	{"database replaced by an older copy", replace("", older), "another file than the one last used"},
	{"database replaced by a copy of itself", replace("", itself), "another file than the one last used"},
	{"database replaced by another ratchet", replace("", foreign), "another file than the one last used"},
	{"database replaced by text", replace("", text), "not a ratchet file"},
	{"database replaced by an empty file", replace("", nothing), "was interrupted"},
	{"database replaced by a symbolic link to it", symlink(""), "symbolic link"},
	{"database hard-linked", hardlink(""), "2 names"},
	{"-wal deleted", remove("-wal"), "its -wal is gone"},
	{"-wal moved away", move("-wal"), "its -wal is gone"},
	{"-wal replaced by an older copy", replace("-wal", older), "its -wal is another file"},
	{"-wal replaced by a copy of itself", replace("-wal", itself), "its -wal is another file"},
	{"-wal of another ratchet", replace("-wal", foreign), "its -wal is another file"},
	{"-wal replaced by a symbolic link to it", symlink("-wal"), "-wal is a link"},
	{"-wal hard-linked", hardlink("-wal"), "-wal has 2 names"},
	{"a -journal beside the database", appear("-journal", text), "unexpected -journal file"},
}

// What befalls the files after a clean stop.
var ofAStopped = []damage{
	{"database deleted after a clean stop", remove(""), "ratchet file missing"},
	{"database replaced by an older copy after a clean stop", replace("", older), "another file than the one last used"},
	{"-wal of another ratchet after a clean stop", appear("-wal", foreign), "was closed and yet has a -wal"},
	{"an older -wal after a clean stop", appear("-wal", older), "was closed and yet has a -wal"},
}

// What befalls the files of a daemon that runs.
var ofARunning = []damage{
	{"database deleted while it runs", remove(""), "was moved away while it was open"},
	{"database moved away while it runs", move(""), "was moved away while it was open"},
	{"database replaced by a copy while it runs", replace("", itself), "was replaced by another file"},
	{"database replaced by an older copy while it runs", replace("", older), "was replaced by another file"},
	{"database replaced by a symbolic link to it while it runs", symlink(""), "was replaced by another file"},
	{"database hard-linked while it runs", hardlink(""), "was given 2 names"},
	{"-wal deleted while it runs", remove("-wal"), "was moved away while it was open"},
	{"-wal moved away while it runs", move("-wal"), "was moved away while it was open"},
	{"-wal replaced by a copy while it runs", replace("-wal", itself), "was replaced by another file"},
	{"-wal of another ratchet while it runs", replace("-wal", foreign), "was replaced by another file"},
	{"-wal hard-linked while it runs", hardlink("-wal"), "was given 2 names"},
	{"-wal emptied while it runs", cutShort("-wal", true), "was cut short while it was open"},
	{"-wal cut short while it runs", cutShort("-wal", false), "was cut short while it was open"},
	{"database cut short while it runs", cutShort("", false), "was cut short while it was open"},
}

func remove(suffix string) befall {
	return func(t *testing.T, s *diskStand) func() {
		t.Helper()
		must(t, os.Remove(s.ratchet()+suffix))
		return nil
	}
}

func move(suffix string) befall {
	return func(t *testing.T, s *diskStand) func() {
		t.Helper()
		must(t, os.Rename(s.ratchet()+suffix, s.aside()))
		return func() { must(t, os.Rename(s.aside(), s.ratchet()+suffix)) }
	}
}

func symlink(suffix string) befall {
	return func(t *testing.T, s *diskStand) func() {
		t.Helper()
		back := move(suffix)(t, s)
		must(t, os.Symlink(s.aside(), s.ratchet()+suffix))
		return back
	}
}

func hardlink(suffix string) befall {
	return func(t *testing.T, s *diskStand) func() {
		t.Helper()
		must(t, os.Link(s.ratchet()+suffix, s.aside()))
		return func() { must(t, os.Remove(s.aside())) }
	}
}

// replace puts another file with some content on the path.
func replace(suffix string, content source) befall {
	return func(t *testing.T, s *diskStand) func() {
		t.Helper()
		made := content(t, s, suffix)
		back := move(suffix)(t, s)
		must(t, os.WriteFile(s.ratchet()+suffix, made, 0o600))
		return back
	}
}

// appear puts a file where none is.
func appear(suffix string, content source) befall {
	return func(t *testing.T, s *diskStand) func() {
		t.Helper()
		must(t, os.WriteFile(s.ratchet()+suffix, content(t, s, suffix), 0o600))
		return func() { must(t, os.Remove(s.ratchet()+suffix)) }
	}
}

func (s *diskStand) aside() string { return filepath.Join(s.dir, "aside") }

// source is the content that a file gets.
type source func(t *testing.T, s *diskStand, suffix string) []byte

func itself(t *testing.T, s *diskStand, suffix string) []byte {
	t.Helper()
	return read(t, s.ratchet()+suffix)
}

func older(t *testing.T, s *diskStand, suffix string) []byte {
	t.Helper()
	return read(t, s.older()+suffix)
}

func text(*testing.T, *diskStand, string) []byte { return bytes.Repeat([]byte("no database\n"), 1000) }

func nothing(*testing.T, *diskStand, string) []byte { return nil }

// foreign is a file of another ratchet with the same keys, as it is while it is open.
func foreign(t *testing.T, s *diskStand, suffix string) []byte {
	t.Helper()
	path := s.made(t)
	db, err := ratchettest.OpenDB(t.Context(), path, ratchettest.Options{})
	must(t, err)
	content := read(t, path+suffix)
	must(t, db.Close())
	return content
}

func (s *diskStand) older() string { return filepath.Join(s.dir, "older") }

// keepOlder keeps a copy of the files of a killed daemon, which later marks make old.
func (s *diskStand) keepOlder(t *testing.T) {
	t.Helper()
	d := s.serve(t)
	s.signs(t, d)
	d.kill()
	for _, suffix := range []string{"", "-wal"} {
		must(t, os.WriteFile(s.older()+suffix, read(t, s.ratchet()+suffix), 0o600))
	}
}

// wayOut does what pawl tells an operator whose ratchet is lost to do: a new file, and
// each key registered from a level above all that it signed. What lies there is put away.
func (s *diskStand) wayOut(t *testing.T) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-journal", "-opening"} {
		s.away++
		if err := os.Rename(s.ratchet()+suffix, filepath.Join(s.dir, fmt.Sprint("lost", s.away))); !os.IsNotExist(err) {
			must(t, err)
		}
	}
	s.run(t, "ratchet", "init", "--config", s.config())
	for _, key := range s.keys {
		for _, c := range slices.Concat(chains, s.more) {
			s.run(t, "ratchet", "register", key.Hash().String(), "--config", s.config(), "--chain", c.String(), "--from-level", fmt.Sprint(s.level+1))
		}
	}
	clear(s.last)
	clear(s.open)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return content
}

// overwrite changes the content of a file, which stays the same file.
func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteAt(content, 0)
	must(t, errors.Join(err, file.Truncate(int64(len(content))), file.Close()))
}
