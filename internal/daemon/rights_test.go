package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pawl/internal/certfile"
	"pawl/internal/config"
	"pawl/internal/daemon"
)

// A file that decides what is signed and is in the hands of others forbids the start.
func TestOpenRefusesFilesOfOthers(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]os.FileMode{
		"ratchet.db": 0o666, "ratchet.db-last": 0o660, "k.hex": 0o602, "client.pem": 0o666, "ca.pem": 0o664, "client-key.pem": 0o604, "": 0o777,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			f.overwrite("k.hex", f.made.Blob.Hex())
			f.keyFile("k.hex")
			path := filepath.Join(string(f.card.Dir), name)
			chmod(t, path, mode)
			s, findings, err := f.open()
			if err == nil {
				t.Fatalf("Open accepts it: %v", s.Close())
			}
			if all := fmt.Sprint(findings); !strings.Contains(all, fmt.Sprintf("mode %04o is too open: chmod ", mode)) ||
				!strings.Contains(all, path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Open: %v, %s", err, all)
			}
			chmod(t, path, 0o700)
			if s, findings, err = f.open(); err != nil {
				t.Fatalf("closed to others: %v %v", err, findings)
			}
			closeSigner(t, s)
		})
	}
}

// Rights that change while it runs stop no signature. The log tells, once, what the next start would
// say.
func TestRightsThatChangeLater(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s, log := f.openLogged()
	daemon.LookAtRights(s, nil)
	if log.count("file rights changed") != 0 {
		t.Errorf("unchanged: %s", log)
	}
	dir := string(f.card.Dir)
	for i, name := range []string{"ratchet.db", "client-key.pem", "ca.pem", ""} {
		chmod(t, filepath.Join(dir, name), 0o777)
		for range 2 {
			daemon.LookAtRights(s, nil)
		}
		if n := log.count("file rights changed"); n != i+1 {
			t.Errorf("%q: told %d times, want %d:\n%s", name, n, i+1, log)
		}
		if _, err := s.Sign(t.Context(), f.key, block(uint32(5+i), 0, 0)); err != nil {
			t.Errorf("%q open to others: %v", name, err)
		}
	}
	if n := log.count("next_start_refused=true"); n != 4 {
		t.Errorf("%d lines say that the next start is refused:\n%s", n, log)
	}
}

// A daemon that runs for longer than its certificates last warns of their ends.
func TestWarnOfEnds(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s, log := f.openLogged()
	f.overwrite("soon.pem", certificateUntil(t, time.Now().AddDate(0, 0, 20)))
	f.overwrite("late.pem", certificateUntil(t, time.Now().AddDate(0, 0, 40)))
	var files []certfile.File
	for _, name := range []string{"soon.pem", "late.pem", "none.pem"} {
		files = append(files, certfile.Leaf(name, filepath.Join(string(f.card.Dir), name)))
	}
	daemon.WarnOfEnds(s, files)
	if log.count("certificate ends soon") != 1 || log.count("name=soon.pem") != 1 {
		t.Errorf("%s", log)
	}
	if _, findings, err := f.open(); err == nil || len(findings) != 0 { // it is open already
		t.Errorf("%v %v", findings, err)
	}
	if cfg, _, err := config.Load(f.path); err != nil || cfg.HSM.Certificates()[0].EndsSoon() != "" {
		t.Errorf("the card's own: %v", err)
	}
}
