package hostlock_test

import (
	"testing"

	"pawl/internal/hostlock"
)

func TestPeerInWords(t *testing.T) {
	t.Parallel()
	for peer, want := range map[hostlock.Peer]string{
		{PID: 42, UID: 0}:       "process 42 of user root",
		{PID: 42, UID: 1999999}: "process 42 of the user 1999999",
		{PID: 0, UID: 0}:        "a process of user root",
		{PID: 42, UID: -1}:      "process 42 of an unknown user",
	} {
		if got := peer.String(); got != want {
			t.Errorf("%+v is %q, want %q", struct{ PID, UID int }(peer), got, want)
		}
	}
}
