package fault_test

import (
	"math/rand/v2"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// trigger decides when the daemon dies.
type trigger string

// The triggers by the moment that they aim at from outside; the others are the points.
const (
	atSignature trigger = "about a signature of the card" // before or after its answer
	atCommit    trigger = "about a write to the -wal"
	atReply     trigger = "about the first answer"
)

// drawTrigger gives half of the deaths to the points.
func drawTrigger(random *rand.Rand) trigger {
	if random.IntN(2) == 0 {
		return trigger(points[random.IntN(len(points))])
	}
	return []trigger{atSignature, atCommit, atReply}[random.IntN(3)]
}

// arm makes the daemon die at the trigger's moment while it is asked, or soon
// after. Each answer goes to onAnswer; disarm ends what arm began.
func (r *rig) arm(t *testing.T, g trigger, random *rand.Rand, d *daemon, asks []ask) (onAnswer func(answer), disarm func()) {
	t.Helper()
	none := func(answer) {}
	switch g {
	case atSignature:
		nth, delay := 1+random.IntN(4), upTo(random, 2*time.Millisecond)
		r.card.watch(asks, func(n int) {
			if n == nth {
				d.strikeAfter(delay)
			}
		})
		return none, func() { r.card.watch(nil, nil) }
	case atCommit:
		return none, strikeOnWrite(t, r.ratchet()+"-wal", d, upTo(random, time.Millisecond))
	case atReply:
		return func(a answer) {
			if a.status == http.StatusOK {
				d.strike()
			}
		}, func() {}
	}
	return none, r.order(t, point(g), 1+random.IntN(4), syscall.SIGKILL)
}

func upTo(random *rand.Rand, limit time.Duration) time.Duration {
	if random.IntN(3) == 0 {
		return 0
	}
	return time.Duration(random.Int64N(int64(limit)))
}

// strikeAfter does not sleep: a timer is late by more than the delay is long.
func (d *daemon) strikeAfter(delay time.Duration) {
	for start := time.Now(); time.Since(start) < delay; {
	}
	d.strike()
}

// strikeOnWrite watches a file from outside the daemon: inotify opens no
// descriptor of the file itself.
func strikeOnWrite(t *testing.T, path string, d *daemon, delay time.Duration) (disarm func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := watch.Read(make([]byte, 256)); err == nil {
			d.strikeAfter(delay)
		}
	}()
	return func() {
		_ = watch.Close() // ends the read
		<-done
	}
}
