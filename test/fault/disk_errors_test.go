package fault_test

import (
	"net/http"
	"syscall"
	"testing"
	"time"
)

// ioFaults are those of a daemon that runs. What it has to do stands in ioFault.definite.
var ioFaults = []ioFault{
	{"EIO on a write to the -wal", callWrite, fileWAL, syscall.EIO, false, 1},
	{"EIO on each write to the -wal", callWrite, fileWAL, syscall.EIO, false, always},
	{"EIO on a write to the -wal, half written", callWrite, fileWAL, syscall.EIO, true, 1},
	{"EIO on a sync of the -wal", callSync, fileWAL, syscall.EIO, false, 1},
	{"EIO on each sync of the -wal", callSync, fileWAL, syscall.EIO, false, always},
	{"ENOSPC on a sync of the -wal", callSync, fileWAL, syscall.ENOSPC, false, 1},
	{"EDQUOT on each write to the -wal", callWrite, fileWAL, syscall.EDQUOT, false, always},
	{"EROFS on each write to the -wal", callWrite, fileWAL, syscall.EROFS, false, always},
	{"EIO on a read of the -wal", callRead, fileWAL, syscall.EIO, false, 1},
	{"EIO on a write to the database", callWrite, fileDatabase, syscall.EIO, false, 1},
	{"EIO on each write to the database", callWrite, fileDatabase, syscall.EIO, true, always},
	{"EIO on a sync of the database", callSync, fileDatabase, syscall.EIO, false, 1},
	{"EIO on each sync of the database", callSync, fileDatabase, syscall.EIO, false, always},
	{"ENOSPC on a write to the -wal", callWrite, fileWAL, syscall.ENOSPC, false, 1},
	{"ENOSPC on each write to the -wal", callWrite, fileWAL, syscall.ENOSPC, false, always},
	{"ENOSPC on each write to the -wal, half written", callWrite, fileWAL, syscall.ENOSPC, true, always},
	{"ENOSPC on each write to the database", callWrite, fileDatabase, syscall.ENOSPC, false, always},
}

// definite reports whether the fault is a definite no: nothing was stored, and pawl stays
// up. A full disk is, when it is told by a write. After any other nobody knows what is
// on the disk.
func (f ioFault) definite() bool { return f.errno == syscall.ENOSPC && f.calls == callWrite }

// atRest reports whether only a rest, which copies the -wal into the database, meets it.
func (f ioFault) atRest() bool { return f.files == fileDatabase || f.calls == callRead }

// errors has SQLite's calls fail while a daemon signs.
func (s *diskStand) errors(t *testing.T) {
	defer s.shim.disarm()
	d := s.serve(t)
	for _, f := range ioFaults {
		for range 1 + s.random.IntN(2) {
			s.signs(t, d)
		}
		wal := read(t, s.ratchet()+"-wal")
		skip := s.random.IntN(4)
		step := s.strikeDisk(t, d, f, skip)
		if f.definite() {
			s.staysUp(t, d, f, step)
			continue
		}
		s.releasesNothing(t, d)
		d.ends(t, "ratchet failed")
		s.shim.disarm()
		outcome := "ended with an error; the next start served what was released"
		if f.calls == callSync && f.files == fileWAL && skip == 0 {
			// As the kernel may do it: what the first sync after the copy was for is gone.
			overwrite(t, s.ratchet()+"-wal", wal)
			outcome += ", without what was not synced"
		}
		d = s.serve(t)
		s.answersFor(t, d, step)
		s.counts(f.name, outcome)
	}
}

// strikeDisk arms a fault and asks until it has struck, and returns the answers of
// the step in which it did.
func (s *diskStand) strikeDisk(t *testing.T, d *diskDaemon, f ioFault, skip int) []answer {
	t.Helper()
	if f.atRest() {
		return s.strikeRest(t, d, f)
	}
	s.shim.arm(f, skip)
	for range 50 {
		step := s.ask(d, s.asks())
		if s.shim.hits() > 0 {
			return step
		}
		for _, a := range step {
			if a.status != http.StatusOK {
				t.Fatalf("%v before %s", a, f.name)
			}
		}
	}
	t.Fatalf("no call for %s in 50 steps", f.name)
	return nil
}

// strikeRest has so much signed that the ratchet rests, and the fault strike then.
func (s *diskStand) strikeRest(t *testing.T, d *diskDaemon, f ioFault) []answer {
	t.Helper()
	s.signs(t, d)
	step := s.signs(t, d) // 30 marks: over the 16 after which a ratchet rests
	s.shim.arm(f, 0)
	for end := time.Now().Add(20 * time.Second); s.shim.hits() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no rest met %s: %d calls", f.name, s.shim.seen())
		}
	}
	return step
}

// releasesNothing asks for more after an error of the disk: for no key may there be a
// signature any more.
func (s *diskStand) releasesNothing(t *testing.T, d *diskDaemon) {
	t.Helper()
	asks := s.asks()
	s.level-- // they were not for anybody
	for _, a := range s.postAll(d.daemon, asks, nil) {
		if a.status == http.StatusOK {
			t.Errorf("after an error of the disk: %v, want nothing released", a)
		}
	}
}

// staysUp is what comes of a full disk: refusals that burn nothing, the truth at
// /readyz, and no restart when there is room again.
func (s *diskStand) staysUp(t *testing.T, d *diskDaemon, f ioFault, step []answer) {
	t.Helper()
	refused := 0
	for _, a := range step {
		switch {
		case a.notStored():
			refused++
		case a.status != http.StatusOK && !a.hsmFailed():
			t.Errorf("%s: %v, want a signature or 500 and that nothing was signed", f.name, a)
		}
	}
	if f.times == always && !f.atRest() { // after a rest that failed the -wal still takes marks
		d.becomes(t, http.StatusServiceUnavailable)
		if got := d.readiness("/healthz"); got != http.StatusOK {
			t.Errorf("/healthz is %d on a full disk, want 200: a restart mends nothing", got)
		}
		for _, a := range s.ask(d, s.asks()) {
			if a.status == http.StatusOK {
				t.Errorf("%s: %v, want nothing signed", f.name, a)
			}
		}
	}
	s.shim.disarm()
	d.becomes(t, http.StatusOK)
	if refused > 0 || f.atRest() {
		s.counts(f.name, "refused and not ready, then ready again without a restart")
	} else {
		s.counts(f.name, "met a write that was no mark's; not ready, then ready again without a restart")
	}
	s.answersFor(t, d, step)
	s.signs(t, d)
}

// openingAndClosing has calls fail while a daemon starts and while it stops: the next
// start serves what was released.
func (s *diskStand) openingAndClosing(t *testing.T) {
	defer s.shim.disarm()
	f := ioFault{calls: anyCall, files: anyFile}
	s.shim.arm(f, 0) // no call fails, all are counted
	d := s.serve(t)
	calls := s.shim.seen()
	s.shim.disarm()
	for range 8 {
		f.errno = []syscall.Errno{syscall.EIO, syscall.EIO, syscall.ENOSPC}[s.random.IntN(3)]
		f.times, f.torn = 1+s.random.Int64N(2)*always, s.random.IntN(2) == 0
		step := s.signs(t, d)
		d.end(t, s.random.IntN(2) == 0)
		d = s.opensBadly(t, f, s.random.IntN(calls), step)
		d = s.closesBadly(t, d, f, s.random.IntN(20), s.signs(t, d))
	}
}

// opensBadly starts a daemon on a disk that fails, and returns the next one.
func (s *diskStand) opensBadly(t *testing.T, f ioFault, skip int, step []answer) *diskDaemon {
	t.Helper()
	s.shim.arm(f, skip)
	d, serves := s.launch(t, s.config())
	struck := s.shim.hits() > 0
	s.shim.disarm()
	outcome := "refused to start; the next start served what was released"
	switch {
	case serves:
		outcome = "started all the same, and so did the next"
		d.kill()
	case struck:
		d.saysWhy(t, s.ratchet())
	default:
		t.Fatalf("no start, and no fault either:\n%s", d.said)
	}
	next := s.serve(t)
	s.answersFor(t, next, step)
	if struck {
		s.counts(f.errno.Error()+" while it starts", outcome)
	}
	return next
}

// closesBadly stops the daemon on a disk that fails, and returns the next one.
func (s *diskStand) closesBadly(t *testing.T, d *diskDaemon, f ioFault, skip int, step []answer) *diskDaemon {
	t.Helper()
	s.shim.arm(f, skip)
	code, said := d.stop(t), d.said
	struck := s.shim.hits() > 0
	s.shim.disarm()
	if !struck && code != 0 {
		t.Errorf("exit code %d, and no fault:\n%s", code, said)
	}
	next := s.serve(t)
	s.answersFor(t, next, step)
	if struck && code != 0 {
		s.counts(f.errno.Error()+" while it stops", "said so; the next start served what was released")
	} else if struck {
		s.counts(f.errno.Error()+" while it stops", "stopped all the same; the next start served what was released")
	}
	return next
}

// end stops the daemon, or kills it.
func (d *diskDaemon) end(t *testing.T, clean bool) {
	t.Helper()
	if !clean {
		d.kill()
	} else if code := d.stop(t); code != 0 {
		t.Errorf("exit code %d of a clean stop:\n%s", code, d.said)
	}
}
