package main

import (
	"context"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"pawl/internal/latelog"
)

// lastTime is how long the last lines of a daemon may take, and each text of its start.
const lastTime = time.Second

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
