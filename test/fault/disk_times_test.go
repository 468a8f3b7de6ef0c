package fault_test

import (
	"database/sql"
	"net/http"
	"os"
	"slices"
	"testing"

	_ "github.com/mattn/go-sqlite3" // the database shell

	"pawl/ratchet"
	"pawl/tezos"
)

// ofTwoTimes makes a ratchet whose content is not of one time: an older copy is written
// over it while it is open, or the disk loses a page without a word. What was released
// must be there at the next start that is allowed.
func (s *diskStand) ofTwoTimes(t *testing.T) {
	defer s.shim.disarm()
	for n := range byte(5) { // the marks of one key fill more than a page then
		s.more = append(s.more, tezos.ChainID{n, 2, 3, 4})
	}
	defer func() { s.more = nil }()
	s.wayOut(t)
	d := s.serve(t)
	for range 4 * repetitions() {
		d = s.overwrittenWhileRunning(t, d)
		d = s.losesPage(t, d)
	}
	d = s.readByAShell(t, d)
	d.end(t, true)
}

// overwrittenWhileRunning writes older content into the database of a daemon that runs.
// Then one key signs, so that the last mark is right, or all do, or none.
func (s *diskStand) overwrittenWhileRunning(t *testing.T, d *diskDaemon) *diskDaemon {
	t.Helper()
	s.signsMore(t, d)
	d.end(t, true)
	older := read(t, s.ratchet())
	d = s.serve(t)
	s.signsMore(t, d)
	step := s.signs(t, d)
	if s.random.IntN(2) == 0 {
		d.rests(t, s.ratchet()+"-wal")
	}
	if s.random.IntN(2) == 0 { // what was signed is in the file, and in no -wal
		d.end(t, true)
		d = s.serve(t)
	}
	s.spoil(t, rotting{suffix: "", change: func(_ *diskStand, was []byte) []byte {
		return append(slices.Clone(older), was[min(len(older), len(was)):]...)[:len(was)]
	}})
	who := "all keys signing after it"
	switch asks := s.asks(); s.random.IntN(3) {
	case 0:
		who = "one key signing after it"
		step = s.ask(d, asks[:1+s.random.IntN(2)])
	case 1:
		who = "no key signing after it"
	default:
		step = s.ask(d, asks)
	}
	if s.random.IntN(2) == 0 {
		d.rests(t, s.ratchet()+"-wal")
	}
	s.endsAnyhow(t, d)
	return s.startsRotten(t, "older content written into the database while it runs, "+who, step, nil)
}

// signsMore has the keys sign on all chains that they are registered for.
func (s *diskStand) signsMore(t *testing.T, d *diskDaemon) {
	t.Helper()
	s.patiently(t, d, s.asksMore(), http.StatusOK)
}

// asksMore is a slot of each key and kind on each of these chains.
func (s *diskStand) asksMore() (asks []ask) {
	s.level++
	for _, key := range s.keys {
		for _, kind := range kinds {
			for _, c := range s.more {
				mark := ratchet.Mark{Key: key.Hash(), ChainID: c, Kind: kind, Level: s.level}
				if policies[key.Kind()].allows(mark) {
					asks = append(asks, ask{mark, s.random.IntN(2)})
				}
			}
		}
	}
	return asks
}

// endsAnyhow stops or kills a daemon, unless it has ended by itself. A stop may fail.
func (s *diskStand) endsAnyhow(t *testing.T, d *diskDaemon) {
	t.Helper()
	select {
	case <-d.exited:
		d.saysWhy(t, "ratchet")
		return
	default:
	}
	if s.random.IntN(3) == 0 {
		d.kill()
	} else if code := d.stop(t); code != 0 {
		d.saysWhy(t, "ratchet")
	}
}

// losesPage has the disk lose one page of those that a rest writes into the database. It
// says that it has written it.
func (s *diskStand) losesPage(t *testing.T, d *diskDaemon) *diskDaemon {
	t.Helper()
	s.signsMore(t, d)
	step := s.signs(t, d)
	s.shim.arm(ioFault{calls: callWrite, files: fileDatabase, times: 1}, s.random.IntN(4))
	if s.random.IntN(2) == 0 {
		d.rests(t, s.ratchet()+"-wal")
		if s.random.IntN(2) == 0 {
			step = s.ask(d, s.asks()[:1])
		}
	}
	s.endsAnyhow(t, d)
	lost := s.shim.hits() > 0
	s.shim.disarm()
	name := "a page of the database that the disk has lost silently"
	if !lost {
		name = "a disk that would lose a page, and had none to write"
	}
	return s.startsRotten(t, name, step, nil)
}

// readByAShell has a database shell read the file of a killed daemon. It copies the -wal
// into the file and removes it; nothing is lost, and the next start says so.
func (s *diskStand) readByAShell(t *testing.T, d *diskDaemon) *diskDaemon {
	t.Helper()
	for _, query := range []string{"SELECT count(*) FROM marks", "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM INTO '" + s.aside() + "'"} {
		step := s.signs(t, d)
		d.kill()
		shell, err := sql.Open("sqlite3", "file:"+s.ratchet()+"?mode=rw")
		must(t, err)
		_, err = shell.ExecContext(t.Context(), query)
		must(t, err)
		must(t, shell.Close())
		if _, err := os.Stat(s.ratchet() + "-wal"); !os.IsNotExist(err) {
			t.Errorf("the shell left the -wal: %v", err)
		}
		d = s.serve(t)
		s.answersFor(t, d, step)
		s.counts("read by a database shell after a kill", "served, every mark as it was released")
	}
	must(t, os.Remove(s.aside()))
	return d
}

// cutShort cuts a file of the ratchet short, to no bytes or at random.
func cutShort(suffix string, whole bool) befall {
	return func(t *testing.T, s *diskStand) func() {
		t.Helper()
		size := 0
		if !whole {
			size = s.random.IntN(len(read(t, s.ratchet()+suffix)))
		}
		must(t, os.Truncate(s.ratchet()+suffix, int64(size)))
		return nil
	}
}
