package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"pawl/internal/latelog"
)

const (
	// lastTime is how long the last lines of a daemon may take, and each text of its start.
	lastTime = time.Second
	// oneWish is the time within which two signals are one: make and timeout send theirs twice.
	oneWish = 250 * time.Millisecond
	// lastWordTime is how long a process that is told to end at once tries to say so.
	lastWordTime = 100 * time.Millisecond
)

// daemon runs a command that serves until it is stopped. Nothing that it writes may hold it up or
// end it: its streams never block and never fail, whoever reads them or does not. An error of run
// is reported before daemon returns.
func (s *streams) daemon(run func(late *streams, log *latelog.Log) error) error {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ) // sent when a reader has gone, and at the limit of a file's size
	log := latelog.New(s.err, &slog.HandlerOptions{ReplaceAttr: renameLevel})
	out := latelog.New(s.out, nil)
	err := run(&streams{printer{out}, printer{log}}, log)
	report(log, err)
	ctx, cancel := context.WithTimeout(context.Background(), lastTime)
	defer cancel()
	log.Close(ctx)
	out.Close(ctx)
	if err != nil {
		return &reportedError{err}
	}
	return nil
}

// printer has the texts of a daemon come in the order in which they were written to its streams: it
// waits for each, but not for a stream that is stuck.
type printer struct{ log *latelog.Log }

func (p printer) Write(text []byte) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lastTime)
	defer cancel()
	p.log.Print(ctx, text)
	return len(text), nil
}

// renameLevel keeps the key level for that of a block or vote; slog's own is called severity.
func renameLevel(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey && a.Value.Kind() == slog.KindAny { // a block's is an integer
		a.Key = "severity"
	}
	return a
}

// untilSignal returns a context that ends with the first SIGINT, SIGTERM or SIGHUP. A later SIGINT
// or SIGTERM calls exit, whatever the process waits for. Under nohup there is no SIGHUP.
func untilSignal(stderr io.Writer, exit func(code int)) context.Context {
	signals := make(chan os.Signal, 8) // more than come at once
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		<-signals
		stop()
		awaitSecond(signals)
		lastWord(stderr, "a second signal came: ended at once")
		exit(exitFailed)
	}()
	return ctx
}

// awaitSecond waits for a signal that tells to end at once.
func awaitSecond(signals <-chan os.Signal) {
	first := time.Now()
	for s := range signals {
		if s != syscall.SIGHUP && time.Since(first) > oneWish { // a closed terminal may send SIGHUP again
			return
		}
	}
}

// lastWord writes an error, unless stderr is stuck.
func lastWord(stderr io.Writer, text string) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = fmt.Fprintf(stderr, "pawl: error: %s\n", text)
	}()
	select {
	case <-written:
	case <-time.After(lastWordTime):
	}
}
