package hostlock

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// Peer is a process that holds a lock.
type Peer struct {
	PID int // 0 if it is of another pid namespace
	UID int // -1 if it cannot be told
}

// String names the process and its user.
func (p Peer) String() string {
	process := "a process"
	if p.PID > 0 {
		process = fmt.Sprintf("process %d", p.PID)
	}
	if p.UID < 0 {
		return process + " of an unknown user"
	}
	if owner, err := user.LookupId(strconv.Itoa(p.UID)); err == nil {
		return fmt.Sprintf("%s of user %s", process, owner.Username)
	}
	return fmt.Sprintf("%s of the user %d", process, p.UID)
}

// A socketState is what became of a connection to a socket.
type socketState int

const (
	isGone  socketState = iota // nobody listens there
	isBusy                     // its queue is full
	listens                    // and the kernel tells who
)

// peerAt returns who listens at an abstract socket.
func peerAt(name string) (Peer, socketState) {
	unknown := Peer{UID: -1}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return unknown, isBusy
	}
	defer func() { _ = unix.Close(fd) }()
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); {
	case errors.Is(err, unix.ECONNREFUSED):
		return unknown, isGone
	case err != nil:
		return unknown, isBusy
	}
	credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return unknown, listens
	}
	return Peer{int(credentials.Pid), int(credentials.Uid)}, listens
}
