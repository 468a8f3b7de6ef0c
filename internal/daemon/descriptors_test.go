package daemon

import (
	"strings"
	"testing"

	"pawl/internal/config"
)

// TestConnectionsFollowTheLimit: the descriptors that are left are divided, and too few of them
// refuse the start with the number that would do.
func TestConnectionsFollowTheLimit(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{Keys: make([]config.KeySpec, 3)}
	const used = 100
	for limit, want := range map[uint64]Connections{
		164:       {48, 16, 164},
		292:       {168, 24, 292},
		1024:      {809, 115, 1024},
		4096:      {3740, 256, 4096},
		4452:      {4096, 256, 4452},
		1 << 20:   {4096, 256, 1 << 20},
		1<<64 - 1: {4096, 256, 1<<64 - 1},
	} {
		got, err := connections(limit, used, cfg)
		if got != want || err != nil {
			t.Errorf("%d files: %+v %v, want %+v", limit, got, err, want)
		}
		if uint64(got.Public+got.Admin+used) > limit {
			t.Errorf("%d files: %+v and %d files are more", limit, got, used)
		}
	}
	for _, limit := range []uint64{0, 20, 64, 163} {
		_, err := connections(limit, used, cfg)
		if err == nil || !strings.Contains(err.Error(), "keys: 3") || !strings.Contains(err.Error(), "ulimit -n 164") ||
			!strings.Contains(err.Error(), "LimitNOFILE=164") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d files: %v, want one line with the number and the remedy", limit, err)
		}
	}
}
