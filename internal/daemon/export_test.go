package daemon

import (
	"sync"

	"pawl/internal/config"
)

// HangAtConfig has each read of keys.json wait for release, as at a file system that hangs. The
// channel that it returns is closed when one waits. It is called before the first look.
func (d *Daemon) HangAtConfig(release <-chan struct{}) (hangs <-chan struct{}) {
	waiting := make(chan struct{})
	var once sync.Once
	d.reload.load = func(path string) (*config.Config, []config.Finding, error) {
		once.Do(func() { close(waiting) })
		<-release
		return config.Load(path)
	}
	return waiting
}

// LookAtRights looks at the rights of all files, as is done each minute.
var LookAtRights = (*Daemon).lookAtRights

// WarnOfEnds warns of certificates that end soon, as is done each day.
var WarnOfEnds = (*Daemon).warnOfEnds
