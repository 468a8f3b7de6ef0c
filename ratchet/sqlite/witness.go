package sqlite

// The witness: what was committed last, in a place that nobody puts back together with the file.

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pawl/internal/durable"
	"pawl/ratchet"
	"pawl/tezos"
)

// A file cannot tell that it was set back together with all that lies beside it: by a copy in place, a
// snapshot of its volume, or an image of the whole machine. The witness can, if it is not part of what was
// set back. It is a file in another folder that has the marks and the registrations of the store: all of
// them at its beginning, and then each one that rises, written between COMMIT and the release and never
// synced. It is never ahead of the store, and while the host runs never behind. After a start of the host
// it may be: then it shows what is missing, and does not show that nothing is.

const (
	witnessHead  = "pawl-witness 1"
	maxWitness   = 64 << 20 // bytes that are read: some 400,000 marks
	witnessLines = 4096     // that are added before the file is written anew
)

// witness is the file and what it holds. Only the leader of the writer touches it.
type witness struct {
	folder       string // "" for none
	ratchet      string // which one it is
	lost         func(error)
	head         string
	path         string
	owner, group int      // of the database
	file         *os.File // nil when there is none
	held         witnessed
	added        int // lines
}

// witnessed is what a witness knows.
type witnessed struct {
	marks         map[ratchet.SlotKey]ratchet.Mark
	registrations map[ratchet.SlotKey]ratchet.Registration
	there, now    bool // there is a witness; it is whole and of this start of the host
}

func newWitnessed() witnessed {
	return witnessed{
		marks: make(map[ratchet.SlotKey]ratchet.Mark), registrations: make(map[ratchet.SlotKey]ratchet.Registration),
	}
}

func (w *witnessed) add(m ratchet.Mark) {
	if old, there := w.marks[m.SlotKey()]; !there || m.Above(old) {
		w.marks[m.SlotKey()] = m
	}
}

func (w *witnessed) register(r ratchet.Registration) { w.registrations[r.Row()] = r }

// Snapshot returns the rows that a store must have. The marks have neither digest nor signature.
func (w *witnessed) Snapshot() (all ratchet.Snapshot) {
	for _, m := range w.marks {
		all.Marks = append(all.Marks, ratchet.StoredMark{Mark: m})
	}
	all.Registrations = slices.Collect(maps.Values(w.registrations))
	all.Sort()
	return all
}

// missingIn returns what brings the rows to what the witness knows: its marks at least, if its
// registrations do not fit.
func (w *witnessed) missingIn(held ratchet.Snapshot) ratchet.Changes {
	all, err := held.Recover(w.Snapshot())
	if err != nil {
		all, _ = held.Recover(ratchet.Snapshot{Marks: w.Snapshot().Marks})
	}
	return all
}

// check finds out whether rows are missing that the witness knows.
func (w *witnessed) check(path string, held ratchet.Snapshot) Finding {
	for _, m := range w.Snapshot().Marks {
		if f := missing(path, m.Mark, held); f.Verdict != InPlace {
			return f
		}
	}
	switch lost, err := held.Recover(w.Snapshot()); {
	case err != nil || !lost.Empty():
		return Finding{RolledBack, path + " has lost a registration that its witness knows: its content is older"}
	case !w.there:
		return Finding{Unwitnessed, "nothing witnesses that the marks of " + path + " are the last ones"}
	case !w.now:
		return Finding{Unwitnessed, "the host was started since the witness of " + path + " was written"}
	}
	return Finding{}
}

// fileName is the name of the witness of a file. Where there are no birth times, files of two file systems may
// have one identity.
func (w *witness) fileName(database identity) string {
	return filepath.Join(w.folder, strings.ReplaceAll(database.String(), "/", "-")+"-"+w.ratchet+".witness")
}

// read returns what the witness of a file knows. One that cannot be read knows nothing.
func (w *witness) read(database identity) witnessed {
	known := newWitnessed()
	if w.folder == "" {
		return known
	}
	text, info, err := durable.ReadFile(w.fileName(database), maxWitness)
	if err != nil || durable.CheckInfo(w.fileName(database), info, durable.OthersWrite) != nil {
		return known
	}
	head, rest, _ := bytes.Cut(text, []byte("\n"))
	was, boot, _ := strings.Cut(strings.TrimPrefix(string(head), witnessHead+" "), " ")
	known.there = was == database.String()
	known.now = known.there && boot != "" && boot == bootID()
	for line := range bytes.Lines(rest) {
		if known.there && !known.parse(line) {
			known.now = false // some of what it knew is lost
		}
	}
	return known
}

// parse takes a line of mark or registration, and reports whether it is whole.
func (w *witnessed) parse(line []byte) bool {
	text, sum, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("\t"))
	if !ok || len(text) < 2 || string(sum) != checksum(text) {
		return false
	}
	if text[0] == 'r' {
		var r ratchet.Registration
		err := json.Unmarshal(text[2:], &r)
		w.register(r)
		return err == nil
	}
	var key, chain string
	var m ratchet.Mark
	_, err := fmt.Sscanf(string(text), "m %s %s %d %d %d", &key, &chain, &m.Kind, &m.Level, &m.Round)
	k, errKey := hex.DecodeString(key)
	c, errChain := hex.DecodeString(chain)
	if errors.Join(err, errKey, errChain) != nil || len(k) != len(m.Key) || len(c) != len(m.ChainID) {
		return false
	}
	m.Key, m.ChainID = tezos.PublicKeyHash(k), tezos.ChainID(c)
	w.add(m)
	return true
}

func checksum(text []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) }

func markLine(m ratchet.Mark) []byte {
	text := fmt.Appendf(nil, "m %x %x %d %d %d", m.Key[:], m.ChainID[:], m.Kind, m.Level, m.Round)
	return append(fmt.Appendf(text, "\t%s", checksum(text)), '\n')
}

func registrationLine(r ratchet.Registration) []byte {
	text, err := json.Marshal(r)
	if err != nil {
		return nil // it cannot happen, and the next opening finds the row missing here, which is no loss
	}
	text = append([]byte("r "), text...)
	return append(fmt.Appendf(text, "\t%s", checksum(text)), '\n')
}

// begin writes all that the store holds, of which nothing is missing or the keys are fenced.
func (w *witness) begin(database file, all ratchet.Snapshot) error {
	if w.folder == "" {
		return nil
	}
	w.owner, w.group = int(database.owner), int(database.group)
	w.path = w.fileName(database.identity)
	w.head = fmt.Sprintf("%s %v %s\n", witnessHead, database, bootID())
	w.held = newWitnessed()
	for _, m := range all.Marks {
		w.held.add(m.Mark)
	}
	for _, r := range all.Registrations {
		w.held.register(r)
	}
	return w.rewrite()
}

// rewrite writes the file anew, in the place of the one that is there.
func (w *witness) rewrite() error {
	text := []byte(w.head)
	all := w.held.Snapshot()
	for _, r := range all.Registrations {
		text = append(text, registrationLine(r)...)
	}
	for _, m := range all.Marks {
		text = append(text, markLine(m.Mark)...)
	}
	next := w.path + ".next"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600) //nolint:gosec // ours
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		_ = file.Chown(w.owner, w.group) // as the files beside the database
	}
	if _, err = file.Write(text); err == nil {
		err = os.Rename(next, w.path)
	}
	if err != nil {
		return errors.Join(err, file.Close(), os.Remove(next))
	}
	w.close()
	w.file, w.added = file, 0
	return nil
}

// note adds what a batch has committed. A witness that cannot be written is removed: one that lags would
// say at the next start that nothing is missing.
func (w *witness) note(batch []*job) {
	if w.file == nil {
		return
	}
	var lines []byte
	for _, j := range batch {
		lines = append(lines, w.linesOf(j)...)
	}
	if len(lines) == 0 {
		return
	}
	_, err := w.file.Write(lines)
	if err == nil && w.added > witnessLines {
		err = w.rewrite()
	}
	if err != nil {
		w.lose(err)
	}
}

func (w *witness) linesOf(j *job) (lines []byte) {
	marks := []ratchet.Mark{}
	if j.stored != nil {
		marks = append(marks, *j.stored)
	}
	if j.changed != nil {
		for _, c := range j.changed.Marks {
			marks = append(marks, c.After.Mark)
		}
		for _, c := range j.changed.Registrations {
			w.held.register(c.After)
			lines = append(lines, registrationLine(c.After)...)
			w.added++
		}
	}
	for _, m := range marks {
		w.held.add(m)
		lines = append(lines, markLine(m)...)
		w.added++
	}
	return lines
}

// lose gives the witness up.
func (w *witness) lose(cause error) {
	w.close()
	if err := os.Remove(w.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		cause = errors.Join(cause, err)
	}
	if w.lost != nil {
		w.lost(fmt.Errorf("the witness %s: %w", w.path, cause))
	}
}

func (w *witness) close() {
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
}

// WitnessFolder returns the folder of witnesses, which it makes if it is not there: the one named, or where
// none is, $RUNTIME_DIRECTORY (of systemd), /run/pawl, or pawl in $XDG_RUNTIME_DIR, the first that there can
// be. It must belong to this user, unless that is root, and nobody else may write to it.
func WitnessFolder(named string) (string, error) {
	return chooseFolder(named, func(path string) error {
		err := os.Mkdir(path, 0o700) //nolint:gosec // the operator names it
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("witness folder %w", err)
		}
		return ownFolder(path)
	})
}

// LookupWitnessFolder is WitnessFolder, and makes nothing.
func LookupWitnessFolder(named string) (string, error) {
	return chooseFolder(named, func(path string) error {
		err := ownFolder(path)
		if errors.Is(err, os.ErrNotExist) && unix.Access(filepath.Dir(path), unix.W_OK) == nil {
			return nil // it can be made
		}
		return err
	})
}

func chooseFolder(named string, fit func(path string) error) (string, error) {
	runtime, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	if only := cmp.Or(named, runtime); only != "" {
		return only, fit(only)
	}
	const common = "/run/pawl"
	err := fit(common)
	if user := os.Getenv("XDG_RUNTIME_DIR"); err != nil && user != "" {
		folder := filepath.Join(user, "pawl")
		return folder, fit(folder)
	}
	return common, err
}

// ownFolder refuses what is not a folder of ours alone.
func ownFolder(path string) error {
	f, err := lookup(path)
	switch {
	case err != nil:
		return fmt.Errorf("witness folder %w", err)
	case f.mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("witness folder %s is not a folder", path)
	case int(f.owner) != os.Geteuid() && os.Geteuid() != 0: // root's commands write for the service
		return fmt.Errorf("witness folder %s belongs to user %d: chown it to the user who runs pawl", path, f.owner)
	case f.mode&0o022 != 0:
		return fmt.Errorf("witness folder %s can be written by others: chmod 700 %s", path, path)
	}
	return nil
}
