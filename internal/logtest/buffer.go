// Package logtest has the log of a program that a test reads while it is written.
package logtest

import (
	"bytes"
	"strings"
	"sync"
)

// Buffer keeps what is written to it, by several goroutines at once.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Lines are the lines written so far, without their ends.
func (b *Buffer) Lines() []string {
	text := strings.TrimSuffix(b.String(), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// Block has every Write and String wait until release is called.
func (b *Buffer) Block() (release func()) {
	b.mu.Lock()
	return sync.OnceFunc(b.mu.Unlock)
}
