package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what a process has used of all cores, in nanoseconds, not in the
// ticks of /proc/PID/stat (the clock of a process: clock_getcpuclockid(3), whose
// number the kernel makes in include/linux/posix-timers.h).
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil { //nolint:gosec // process ids have 22 bits
		return 0, fmt.Errorf("CPU clock of process %d: %v", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// resident is the memory of a process that is in RAM, in bytes (proc_pid_status(5)).
func resident(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has ended", pid)
}

// busyTime is what all cores together have worked since boot, whatever for
// (proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; in 1/100 s).
func busyTime() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	var total time.Duration
	for i, field := range strings.Fields(string(line))[1:9] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 {
			total += time.Duration(ticks) * (time.Second / 100)
		}
	}
	return total, nil
}
