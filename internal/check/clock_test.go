package check

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckOfTheClock(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		result int
		state  unix.Timex
		err    error
		status Status
		text   string
	}{
		{0, unix.Timex{Maxerror: 20_000}, nil, OK, "is synchronised, off by 20ms at most"},
		{0, unix.Timex{Maxerror: 1_500_000}, nil, Warning, "may be off by 1.5s"},
		{timeError, unix.Timex{}, nil, Warning, "is not synchronised"},
		{0, unix.Timex{Status: unsynced}, nil, Warning, "is not synchronised"},
		{-1, unix.Timex{}, unix.EPERM, Warning, "does not tell its state: operation not permitted"},
	} {
		var r Report
		r.clockFinding(test.result, test.state, test.err)
		r.wants(t, test.status, "clock", test.text)
	}
}
