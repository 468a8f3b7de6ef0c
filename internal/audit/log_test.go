package audit_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pawl/internal/audit"
)

// TestTrail: what is added is there in order, chained, from one opening to the next.
func TestTrail(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	session(t, path, audit.Options{}, 3)
	session(t, path, audit.Options{}, 0)
	l := open(t, path, audit.Options{})
	l.Add(signed(7))
	closeLog(t, l)
	result := fits(t, path, 3+2+2+3)
	all := events(t, audit.Path(path))
	if got := names(all); got != " start signed signed signed stop start stop start signed stop" || all[8].Level != 7 {
		t.Errorf("the trail has%s", got)
	}
	seq, hash := l.Head()
	if seq != 10 || seq != result.Last || hash != result.Hash || result.First != 1 || result.Notes != nil {
		t.Errorf("the head is %d %s, Verify tells %+v", seq, hash, result)
	}
	if info, err := os.Stat(audit.Path(path)); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info.Mode(), err)
	}
}

// TestWrittenByItself: nobody needs to close the log.
func TestWrittenByItself(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	l := open(t, path, audit.Options{})
	defer closeLog(t, l)
	for i := range 3 {
		l.Add(signed(i))
		await(t, "written", func() bool { seq, _ := l.Head(); return seq == uint64(i)+2 })
	}
	if result := fits(t, path, 4); len(result.Notes) != 1 || !strings.Contains(result.Notes[0].Text, "in use") {
		t.Errorf("notes %+v, want that it is in use", result.Notes)
	}
}

// TestAddedWhileOthersAreWritten: such an event does not wait for the next one.
func TestAddedWhileOthersAreWritten(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	add := make(chan func(), 1)
	l, err := audit.OpenRenaming(path, audit.Options{MaxSize: 300}, func(from, to string) error {
		select {
		case meanwhile := <-add:
			meanwhile()
		default:
		}
		return os.Rename(from, to)
	})
	if err != nil {
		t.Fatal(err)
	}
	add <- func() { l.Add(signed(2)) }
	l.Add(signed(1))
	await(t, "written", func() bool { seq, _ := l.Head(); return seq == 3 })
	closeLog(t, l)
	fits(t, path, 4)
}

// TestFullQueue: what does not fit is dropped and counted, and a line says so.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	l, err := audit.OpenLate(path, audit.Options{}, audit.Never)
	if err != nil {
		t.Fatal(err)
	}
	const more = 10
	for i := range audit.MaxEvents + more {
		l.Add(signed(i))
	}
	if got := l.Dropped(); got != more {
		t.Errorf("%d dropped, want %d", got, more)
	}
	l.Write()
	await(t, "written", func() bool { return l.Waiting() == 0 })
	l.Add(signed(1))
	closeLog(t, l)
	l.Add(signed(2)) // too late
	if got := l.Dropped(); got != more+1 {
		t.Errorf("%d dropped after Close, want %d", got, more+1)
	}
	fits(t, path, 1+audit.MaxEvents+3)
	all := events(t, audit.Path(path))
	rest := all[1+audit.MaxEvents:]
	if got := names(rest); got != " dropped signed stop" || rest[0].Count != more {
		t.Errorf("after the queue was full:%s, want that %d were dropped", got, more)
	}
}

// TestNotClosed: the next start tells that lines may be missing.
func TestNotClosed(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	l := open(t, path, audit.Options{})
	await(t, "written", func() bool { seq, _ := l.Head(); return seq == 1 })
	killed := copied(t, path)
	closeLog(t, l)
	session(t, killed, audit.Options{}, 0)
	if got := names(events(t, audit.Path(killed))); got != " start start(not closed) stop" {
		t.Errorf("the trail has%s", got)
	}
	if notes := fits(t, killed, 3).Notes; len(notes) != 1 || notes[0].Line != 2 || !strings.Contains(notes[0].Text, "missing") {
		t.Errorf("notes %+v, want that lines may be missing", notes)
	}
}

// TestHangingDisk: Close does not wait for it for ever, and Add not at all.
func TestHangingDisk(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	hang := make(chan struct{})
	l, err := audit.OpenRenaming(path, audit.Options{MaxSize: 300}, func(from, to string) error {
		<-hang
		return os.Rename(from, to)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		l.Add(signed(i))
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "not written within 1s") {
		t.Errorf("Close: %v, want that all is not written", err)
	}
	close(hang)
	closeLog(t, l)
}

// TestManyWriters: each event has its line.
func TestManyWriters(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	l := open(t, path, audit.Options{MaxSize: 20_000, Keep: 100})
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 100 {
				l.Add(signed(w*1000 + i))
			}
		})
	}
	all.Wait()
	closeLog(t, l)
	fits(t, path, 802)
}

// TestReadersBesideTheWriter: two read the trail while it is written and rotated.
func TestReadersBesideTheWriter(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	l := open(t, path, audit.Options{MaxSize: 2000, Keep: 1000})
	await(t, "written", func() bool { seq, _ := l.Head(); return seq == 1 })
	var readers sync.WaitGroup
	failures := make(chan error, 2)
	for range 2 {
		readers.Go(func() {
			for last := uint64(0); last < 300; {
				result, err := audit.Verify(path, "")
				if err != nil || result.Damage != nil || result.Last < last {
					failures <- fmt.Errorf("%+v, %v, want the trail to fit", result.Damage, err)
					return
				}
				last = result.Last
			}
		})
	}
	for i := range 400 {
		l.Add(signed(i))
		await(t, "written", func() bool { return l.Waiting() < 5 })
	}
	readers.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	closeLog(t, l)
	fits(t, path, 402)
}

// BenchmarkAdd is what a signature waits for.
func BenchmarkAdd(b *testing.B) {
	path := b.TempDir() + "/ratchet.db"
	l, err := audit.Open(path, audit.Options{})
	if err != nil {
		b.Fatal(err)
	}
	e := signed(1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Add(e)
		if i%1000 == 0 { // so that none is dropped
			b.StopTimer()
			for l.Waiting() > 0 {
				time.Sleep(time.Millisecond)
			}
			b.StartTimer()
		}
	}
	if l.Dropped() > 0 {
		b.Errorf("%d were dropped", l.Dropped())
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
