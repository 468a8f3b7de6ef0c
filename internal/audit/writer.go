package audit

import (
	"fmt"
	"slices"
	"time"
)

// run writes the events until the log is closed. Nobody else touches the files.
func (l *Log) run() {
	defer close(l.ended)
	defer l.timer.Stop()
	defer func() { _ = l.writer.trail.close() }() // which a Stop that was written has done
	for closed := false; !closed; {
		select {
		case <-l.timer.C:
		case <-l.urgent:
		}
		closed = l.writeWaiting()
	}
}

// writeWaiting writes all that waits, and reports whether the log is closed: then no more comes.
func (l *Log) writeWaiting() (closed bool) {
	events, lost, closed := l.take()
	done, told, err := l.writer.write(events, lost, closed)
	if told {
		lost = 0
	}
	if l.giveBack(events, done, lost); err != nil && !closed {
		l.timer.Reset(l.retry)
	}
	if closed {
		l.dropped.Add(uint64(len(events) - done)) //nolint:gosec // done is no more than that
	}
	l.result(err)
	return closed
}

// take takes all events that wait, and how many were lost since a line told of that.
func (l *Log) take() (events []Event, lost uint64, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, l.queue = l.queue, l.writer.spare
	lost, l.lost, l.taken = l.lost, 0, len(events)
	l.writer.spare = nil
	return events, lost, l.closed
}

// giveBack puts back, before those that came since, the events that were not written.
func (l *Log) giveBack(events []Event, done int, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost, l.taken = l.lost+lost, 0; done < len(events) {
		l.queue = append(slices.Clone(events[done:]), l.queue...)
		return
	}
	clear(events) // of its texts
	l.writer.spare = events[:0]
}

// result tells how the last write went.
func (l *Log) result(err error) {
	if err != nil {
		err = fmt.Errorf("audit trail %s: %s", l.path, inLine(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.head = err, l.writer.trail.last
}

// writer writes events, and what the trail tells of itself.
type writer struct {
	trail  trail
	opened bool
	tell   []Event // how the trail was found, as far as it is not written
	spare  []Event // the memory of the last events
}

// open opens the files.
func (w *writer) open() (err error) {
	w.tell, err = w.trail.open()
	for i := range w.tell {
		w.tell[i].Time = time.Now()
	}
	w.opened = err == nil
	return err
}

// write writes how the trail was found, the events, how many were lost after them, and Stop at the end. It
// returns how many of the events are done, and whether a line tells of those lost.
func (w *writer) write(events []Event, lost uint64, stop bool) (done int, told bool, err error) {
	if !w.opened {
		if err := w.open(); err != nil {
			return 0, false, err
		}
	}
	written, err := w.trail.write(w.tell)
	if w.tell = w.tell[written:]; err != nil {
		return 0, false, err
	}
	if done, err = w.trail.write(events); err != nil {
		return done, false, err
	}
	if lost > 0 {
		if _, err = w.trail.write([]Event{{Name: Dropped, Time: time.Now(), Count: lost}}); err != nil {
			return done, false, err
		}
	}
	if stop {
		err = w.stop()
	}
	return done, true, err
}

// stop writes the last line, and syncs and closes the file.
func (w *writer) stop() error {
	_, err := w.trail.write([]Event{{Name: Stop, Time: time.Now()}})
	if closed := w.trail.close(); err == nil {
		err = closed
	}
	return err
}
