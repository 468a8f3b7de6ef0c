package daemon

import (
	"fmt"
	"os"
	"syscall"

	"pawl/internal/config"
	"pawl/server"
)

// What a daemon may have open beside its connections, in descriptors. TestDescriptorsSuffice
// measures what it has.
const (
	// filesOfAll are the two listeners, a connection at each that waits for room, the runtime's epoll,
	// eventfd and cgroup files, and files that are opened for a moment: keys.json, certificates.
	filesOfAll = 24
	// filesOfKey is its lock.
	filesOfKey = 2
	// filesOfServer are its connection, a renewed one beside it, one that ends, two attempts at
	// connecting and two questions for its name.
	filesOfServer = 7
	// filesOfRatchet are the lock, the database, its -wal, and -last with its folder.
	filesOfRatchet = 6
)

// minConnections is how many connections a daemon must have room for.
const minConnections = 64

// Connections says how many connections each listener may have at once.
type Connections struct {
	Public, Admin int
	OpenFiles     uint64 // the limit that they follow from
}

// CountConnections returns how many connections the limit of open files leaves to a daemon of
// cfg: what is neither open already nor needed by its keys, servers and ratchets. An eighth goes
// to the admin listener, at least 16 and at most 256, the rest to the other one, at most
// server.DefaultConnections. It refuses a limit that leaves fewer than 64.
//
// Go raises the limit of the process (the soft one) to the hard one at its start.
func CountConnections(cfg *config.Config) (Connections, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return Connections{}, fmt.Errorf("reading the limit of open files: %v", err)
	}
	return connections(limit.Cur, openFiles()+files(cfg), cfg)
}

// openFiles returns how many descriptors are open, those that the parent left to us among them.
func openFiles() int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 3 // no /proc: the standard ones
	}
	return len(open)
}

// files returns how many descriptors a daemon of cfg needs without connections.
func files(cfg *config.Config) int {
	ratchets := make(map[string]bool)
	for _, key := range cfg.Keys {
		ratchets[key.DB] = true
	}
	return filesOfAll + len(cfg.Keys)*filesOfKey + len(cfg.Servers())*filesOfServer + len(ratchets)*filesOfRatchet
}

// connections divides what used files leave of a limit.
func connections(limit uint64, used int, cfg *config.Config) (Connections, error) {
	need := uint64(used + minConnections) //nolint:gosec // both are small and positive
	if limit < need {
		return Connections{}, fmt.Errorf("%d open files are allowed, and pawl needs %d (keys: %d, servers: %d, "+
			"connections: %d): run `ulimit -n %d` before it, or set LimitNOFILE=%d in its systemd unit", limit, need,
			len(cfg.Keys), len(cfg.Servers()), minConnections, need, need)
	}
	room := int(min(limit, 1<<20)) - used
	admin := min(max(room/8, 16), 256)
	return Connections{Public: min(room-admin, server.DefaultConnections), Admin: admin, OpenFiles: limit}, nil
}
