package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pawl/softcard"
)

// bench is what all stands of one run share.
type bench struct {
	dir     string // on the disk that is measured
	pawl    string // the program
	library string // counts its fsyncs
	commit  func() error
	cards   map[time.Duration]*process // by delay
	echoes  map[bool]*process          // by TLS or not
	closers []func() error
}

// openBench makes a folder for the run below dir, with the files of a card in it, whose
// certificates all servers have.
func openBench(ctx context.Context, dir string) (*bench, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if dir, err = os.MkdirTemp(dir, "run-"); err != nil {
		return nil, err
	}
	b := &bench{dir: dir, cards: make(map[time.Duration]*process), echoes: make(map[bool]*process)}
	b.onClose(func() error { return os.RemoveAll(dir) })
	_, err = b.cardDir().Init()
	if err == nil {
		err = b.openCommit(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// use names the program that is measured.
func (b *bench) use(ctx context.Context, pawl string) (err error) {
	if b.pawl, err = filepath.Abs(pawl); err != nil {
		return err
	}
	if _, err := os.Stat(pawl); err != nil {
		return fmt.Errorf("%w: run make build, or name the program with --pawl", err)
	}
	b.library, err = buildSyncs(ctx, b.dir)
	return err
}

func (b *bench) onClose(do func() error) { b.closers = append(b.closers, do) }

// close undoes in the opposite order, whatever fails.
func (b *bench) close() error {
	var errs []error
	for len(b.closers) > 0 {
		last := len(b.closers) - 1
		errs = append(errs, b.closers[last]())
		b.closers = b.closers[:last]
	}
	return errors.Join(errs...)
}

func (b *bench) path(name string) string     { return filepath.Join(b.dir, name) }
func (b *bench) cardDir() softcard.Dir       { return softcard.Dir(b.path("card")) }
func (b *bench) cardFile(name string) string { return filepath.Join(string(b.cardDir()), name) }

// start runs a program and ends it with the bench.
func (b *bench) start(ctx context.Context, name string, env []string, program string, args ...string) (*process,
	error,
) {
	p, err := start(ctx, b.path(name+".log"), env, program, args...)
	if err != nil {
		return nil, err
	}
	b.onClose(p.stop)
	return p, p.listening(ctx)
}

// card runs a software card with a delay, one for all who want that delay.
func (b *bench) card(ctx context.Context, delay time.Duration) (*process, error) {
	if card, runs := b.cards[delay]; runs {
		return card, nil
	}
	card, err := b.start(ctx, "card-"+delay.String(), nil, b.pawl, "softcard",
		"--dir", string(b.cardDir()), "--listen", "127.0.0.1:0", "--delay", delay.String())
	b.cards[delay] = card
	return card, err
}

// echo returns the connections to a server that only echoes, one for all.
func (b *bench) echo(ctx context.Context, secure bool) (dialer, error) {
	if echo, runs := b.echoes[secure]; runs {
		return b.dialer(echo.Address, secure)
	}
	self, err := os.Executable()
	if err != nil {
		return dialer{}, err
	}
	args := []string{"echo"}
	if secure {
		args = append(args, "--cert", b.cardFile("server.pem"), "--key", b.cardFile("server-key.pem"), "--client-ca",
			b.cardFile("ca.pem"))
	}
	echo, err := b.start(ctx, fmt.Sprintf("echo-%v", secure), nil, self, args...)
	if err != nil {
		return dialer{}, err
	}
	b.echoes[secure] = echo
	return b.dialer(echo.Address, secure)
}
