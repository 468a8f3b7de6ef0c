package hostlock

import (
	"bufio"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"pawl/tezos"
)

// lookAround finds out who listens at sockets that are not of this lock: another holder, or strangers.
// One that takes no connection is waited for, and then the kernel says who made it: a stranger can fill the
// queue of a daemon that stands still.
func (l *KeyLock) lookAround(sockets map[string]tezos.PublicKeyHash) error {
	maps.DeleteFunc(sockets, func(name string, _ tezos.PublicKeyHash) bool { return l.own[name] })
	owners := sync.OnceValue(socketOwners)
	for end := time.Now().Add(lockPatience); len(sockets) > 0; time.Sleep(lockPause / 10) {
		patient := time.Now().Before(end)
		for name, key := range sockets {
			peer, state := peerAt(name)
			if state == isBusy && patient {
				continue
			}
			if uid, known := owners()[name]; state == isBusy && known {
				peer.UID = uid
			}
			if ours(peer.UID) {
				return &HeldError{key, peer}
			}
			if state != isGone {
				l.strangers = append(l.strangers, Stranger{key, peer})
			}
			delete(sockets, name)
		}
	}
	return nil
}

// socketsNamed returns the abstract sockets of this network namespace whose names begin with one of
// names (proc(5), /proc/net/unix), or names if that cannot be read. Names have one length.
func socketsNamed(names map[string]tezos.PublicKeyHash) map[string]tezos.PublicKeyHash {
	list, err := os.Open("/proc/self/net/unix")
	if err != nil {
		return names
	}
	defer func() { _ = list.Close() }()
	sockets := make(map[string]tezos.PublicKeyHash)
	for lines := bufio.NewScanner(list); lines.Scan(); {
		// 0000000000000000: 00000002 00000000 00010000 0001 01 31415 @pawl-key-tz3…
		_, name, _ := strings.Cut(lines.Text(), " @")
		name = "@" + name
		if key, ok := names[name[:min(len(name), lockNameSize)]]; ok {
			sockets[name] = key
		}
	}
	return sockets
}
