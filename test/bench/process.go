package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a server that runs beside the load and says in its log where it listens.
type process struct {
	cmd            *exec.Cmd
	log            *os.File
	exited         chan struct{}
	failure        error // of the exit; read after exited
	Address, Admin string
}

const (
	startTimeout = time.Minute
	pollInterval = 500 * time.Microsecond
)

// start runs a program with its log in a file, as a service manager does: a pipe
// would have this process do work for each line.
func start(ctx context.Context, logPath string, env []string, name string, args ...string) (*process, error) {
	log, err := os.Create(logPath) //nolint:gosec // in the folder of this run
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // programs of this project
	p := &process{cmd: cmd, log: log, exited: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr, p.cmd.Stdout = env, log, log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 20 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		p.failure = errors.Join(p.cmd.Wait(), log.Close())
		close(p.exited)
	}()
	return p, nil
}

// listening waits until the log says where the process listens.
func (p *process) listening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		log, err := os.ReadFile(p.log.Name())
		if err != nil {
			return err
		}
		if p.findAddress(log) {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%v ended before it listened: %s", p.cmd, log)
		case <-ctx.Done():
			return fmt.Errorf("%v does not listen: %w", p.cmd, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

func (p *process) findAddress(log []byte) bool {
	for line := range bytes.Lines(log) {
		var entry struct{ Msg, Address, Admin string }
		if json.Unmarshal(line, &entry) == nil && entry.Address != "" {
			p.Address, p.Admin = entry.Address, entry.Admin
			return true
		}
	}
	return false
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process as an operator does, and says when that failed.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // has ended: exited tells
	<-p.exited
	return p.failure
}
