package model

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Start returns the command of the process that has the ratchet, not started. It reads
// commands from its input and says what happened, a line each. Keys, chains, bytes,
// signatures and requests are numbers:
//
//	create PATH                    created
//	open PATH MAXGAP               opened | failed WHY (missing, locked, suspect or other)
//	ask N KEY CHAIN KIND LEVEL ROUND BYTES
//	                               asked N, when it waits or has its answer, beside
//	                               called N, when the HSM is asked, and
//	                               answer N WHAT, now or later
//	hsm N ok SIGNATURE | N error | N hang ...
//	                               none: the HSM answers, or does not
//	leave N                        none: who asks leaves, if it only waits
//	register KEY CHAIN LEVEL       registered | refused WHY | error
//	new KEY                        registered | error
//	state                          state, and all registrations and marks
//	close                          closing, when no request is let in any more, and closed
//
// At the end of its input it ends, and leaves the ratchet as it is.
type Start func() *exec.Cmd

// patience is how long the other process may take for what it must say: more than the
// five seconds of an HSM that hangs.
const patience = 30 * time.Second

// process is the other one.
type process struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	lines chan string // closed at its end
}

func (s Start) run() (*process, error) {
	p := &process{cmd: s(), lines: make(chan string, 1000)}
	var err error
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.read(output)
	return p, nil
}

// read takes whole lines only: one that a kill has cut was not said.
func (p *process) read(output io.Reader) {
	defer close(p.lines)
	for from := bufio.NewReader(output); ; {
		line, err := from.ReadString('\n')
		if err != nil {
			return
		}
		p.lines <- strings.TrimSuffix(line, "\n")
	}
}

func (p *process) send(command string) error {
	_, err := io.WriteString(p.input, command+"\n")
	return err
}

// await reads what must be said, in any order, and nothing else.
func (p *process) await(want []string) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for want = slices.Clone(want); len(want) > 0; {
		select {
		case line, ok := <-p.lines:
			at := slices.Index(want, line)
			if !ok || at < 0 {
				return fmt.Errorf("the process said %q (%t), want %q", line, ok, want)
			}
			want = slices.Delete(want, at, at+1)
		case <-late.C:
			return fmt.Errorf("the process does not say %q", want)
		}
	}
	return nil
}

// kill ends the process and returns what it had said.
func (p *process) kill() (said []string) {
	_ = p.cmd.Process.Kill() // SIGKILL; it may have ended
	for line := range p.lines {
		said = append(said, line)
	}
	_ = p.cmd.Wait() // it was killed
	_ = p.input.Close()
	return said
}
