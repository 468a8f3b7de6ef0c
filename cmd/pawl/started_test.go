package main

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A start that a file system holds ends when it is told to, with an error that says so. One that ends
// by itself meanwhile closes what it has opened, and is no failure.
func TestStartReactsToASignal(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	release := make(chan struct{})
	giveUp := time.AfterFunc(startGrace+patience, func() { close(release) })
	defer func() {
		if giveUp.Stop() {
			close(release)
		}
	}()
	began := time.Now()
	_, err := started(ctx, func() (*service, error) { <-release; return nil, nil })
	if took := time.Since(began); !errors.Is(err, errStartHangs) || took < startGrace || took >= startGrace+patience {
		t.Errorf("a start that hangs: %v after %v", err, took)
	}
	if err := startError(ctx, err); !errors.Is(err, errStartHangs) {
		t.Errorf("it is told as %v", err)
	}

	late := errors.New("late")
	ctx, stop = context.WithCancel(t.Context())
	_, err = started(ctx, func() (*service, error) { stop(); return nil, late })
	if !errors.Is(err, late) || startError(ctx, err) != nil {
		t.Errorf("a start that ends by itself: %v", err)
	}
	opened := new(service)
	if got, err := started(t.Context(), func() (*service, error) { return opened, nil }); got != opened || err != nil {
		t.Errorf("a start: %v, %v", got, err)
	}
}
