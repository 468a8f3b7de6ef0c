package fault_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pawl/ratchet"
)

// What a program of hostPatches reads to find out on which host it runs.
const (
	hostEnv    = "PAWL_FAULT_HOST"    // three letters
	machineEnv = "PAWL_FAULT_MACHINE" // file with the machine's id
)

// hostPatches let one machine be several: daemons of different hosts do not see each other's key locks, and
// have machine ids of their own.
var hostPatches = []patch{
	{"internal/hostlock/keylock.go", `"@pawl-key-" + key.String()`, `"@pawl-" + os.Getenv("` + hostEnv + `") + "-" + key.String()`},
	{"ratchet/sqlite/machine.go", `os.ReadFile("/etc/machine-id")`, `os.ReadFile(os.Getenv("` + machineEnv + `"))`},
}

// host is a machine with a folder for its ratchet, a witness, and the keys of the rig.
type host struct {
	*rig
	name   string
	folder string // of the ratchet and what lies beside it
}

// newHost makes a host without a ratchet. Its folder is dir, or a new one.
func (r *rig) newHost(t *testing.T, name, dir string) *host {
	t.Helper()
	base := t.TempDir()
	h := &host{rig: r, name: name, folder: dir}
	if dir == "" {
		h.folder = filepath.Join(base, "ratchet")
		must(t, os.Mkdir(h.folder, 0o700))
	}
	must(t, os.WriteFile(filepath.Join(r.dir, name+".id"), fmt.Appendf(nil, "%032x\n", []byte(name)), 0o600))
	must(t, os.MkdirAll(h.witness(), 0o700))
	h.configure(t)
	return h
}

func (h *host) witness() string  { return filepath.Join(h.dir, h.name+"-run") }
func (h *host) keysJSON() string { return filepath.Join(h.dir, h.name+".json") }
func (h *host) db() string       { return filepath.Join(h.folder, "ratchet.db") }

// configure writes the keys.json of the host: that of the rig, with another ratchet.
func (h *host) configure(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(h.config())
	must(t, err)
	var config map[string]any
	must(t, json.Unmarshal(text, &config))
	config["db"], config["witness"] = h.db(), h.witness()
	text, err = json.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(h.keysJSON(), text, 0o600))
}

// nodeAt names a node in the keys.json of the host.
func (h *host) nodeAt(t *testing.T, url string) {
	t.Helper()
	var config map[string]any
	must(t, json.Unmarshal(read(t, h.keysJSON()), &config))
	config["node_url"] = url
	text, err := json.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(h.keysJSON(), text, 0o600))
}

func (h *host) environment() []string {
	return []string{hostEnv + "=" + h.name, machineEnv + "=" + filepath.Join(h.dir, h.name+".id")}
}

// start runs a daemon on the host.
func (h *host) start(t *testing.T) *daemon {
	t.Helper()
	return h.serve(t, h.keysJSON(), h.environment()...)
}

// command runs pawl on the host.
func (h *host) command(args ...string) (string, error) {
	cmd := exec.Command(h.pawl, append(args, "--config", h.keysJSON())...)
	cmd.Env = append(os.Environ(), h.environment()...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// do is command, which must succeed.
func (h *host) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.command(args...)
	if err != nil {
		t.Fatalf("host %s: pawl %s: %v\n%s", h.name, strings.Join(args, " "), err, out)
	}
	return out
}

// found makes a ratchet in which the keys may sign on the first chain from a level on.
func (h *host) found(t *testing.T, from int32) {
	t.Helper()
	h.do(t, "ratchet", "init")
	for _, key := range h.keys {
		h.do(t, "ratchet", "register", key.Hash().String(), "--chain", chain.String(), "--from-level", fmt.Sprint(from))
	}
}

// files are what lies in the folder of the ratchet.
func (h *host) files(t *testing.T) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(h.folder)
	must(t, err)
	files := make(map[string][]byte)
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			files[entry.Name()] = read(t, filepath.Join(h.folder, entry.Name()))
		}
	}
	return files
}

// putBack has the folder hold these files and no others. Those that are there are written over, as cp does.
func (h *host) putBack(t *testing.T, files map[string][]byte) {
	t.Helper()
	for name := range h.files(t) {
		if _, there := files[name]; !there {
			must(t, os.Remove(filepath.Join(h.folder, name)))
		}
	}
	for name, content := range files {
		must(t, os.WriteFile(filepath.Join(h.folder, name), content, 0o600))
	}
}

// caller asks what a baker asks at a level: a block, a preattestation and an attestation of each key, each time
// of other bytes than before.
type caller struct {
	rig    *rig
	asked  map[ratchet.Mark]int
	missed map[int32]bool // levels at which a slot was not signed by any
}

func newCaller(r *rig) *caller {
	return &caller{r, make(map[ratchet.Mark]int), make(map[int32]bool)}
}

// level asks daemons for all slots of a level, and returns how many were signed by each.
func (b *caller) level(level int32, daemons ...*daemon) (signed []int) {
	signed = make([]int, len(daemons))
	for _, key := range b.rig.keys {
		for _, kind := range kinds {
			mark := ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: kind, Level: level}
			done := false
			for i, d := range daemons {
				if d == nil {
					continue
				}
				a := ask{mark, b.asked[mark] % 2}
				b.asked[mark]++
				if b.rig.post(d, a).status == http.StatusOK {
					signed[i]++
					done = true
				}
			}
			if !done {
				b.missed[level] = true
			}
		}
	}
	return signed
}

// missedFrom counts the levels that were missed, from one on.
func (b *caller) missedFrom(level int32) (n int) {
	for at := range maps.Keys(b.missed) {
		if at >= level {
			n++
		}
	}
	return n
}

// slotsOfALevel is how many a baker asks for at a level.
func (b *caller) slotsOfALevel() int { return len(b.rig.keys) * len(kinds) }

// judged wants no conflict among all that was ever released.
func (r *rig) judged(t *testing.T) {
	t.Helper()
	if err := r.oracle.verdict(); err != nil {
		t.Errorf("seed %d: %v", *campaignSeed, err)
	}
}
