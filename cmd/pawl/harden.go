package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps the memory of a process that serves keys off the disk and away from other
// processes of its user: no core dump, no ptrace.
func harden() error {
	err := errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	if err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	return nil
}
