package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	// oneWish is the time within which two signals are one: make and timeout send theirs twice.
	oneWish = 250 * time.Millisecond
	// lastWordTime is how long a process that is told to end at once tries to say so.
	lastWordTime = 100 * time.Millisecond
)

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
