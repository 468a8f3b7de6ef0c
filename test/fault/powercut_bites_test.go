//go:build amd64

package fault_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// wrongEnv says which of its wrong lines a program shall follow.
const wrongEnv = "PAWL_FAULT_WRONG"

// wrongPatches are lines that each break the promise of a disk in one point.
var wrongPatches = []patch{
	{"ratchet/sqlite/wrong.go", "", `package sqlite

import (
	"os"

	"pawl/internal/durable"
)

func wrong(what string) bool { return os.Getenv("` + wrongEnv + `") == what }

func synchronous(name, normal, full string) string {
	if wrong(name) {
		return normal
	}
	return full
}

func syncNote(path string) error {
	if wrong("` + noteUnsynced + `") {
		return nil
	}
	return durable.Sync(path)
}
`},
	{"ratchet/sqlite/sqlite.go", `"&_synchronous=FULL"+`, `"&_synchronous="+synchronous("` + syncNormal + `", "NORMAL", "FULL")+`},
	{"ratchet/sqlite/sqlite.go", `{"synchronous", "2"},`, `{"synchronous", synchronous("` + syncNormal + `", "1", "2")},`},
	{"ratchet/sqlite/transact.go", `	_, err := db.beginStmt.ExecContext(ctx)`, `	if wrong("` + answerEarly + `") { // so what was answered is committed now
		_, _ = db.commitStmt.ExecContext(ctx)
	}
	_, err := db.beginStmt.ExecContext(ctx)`},
	{"ratchet/sqlite/transact.go", `	_, err := db.commitStmt.ExecContext(ctx)`, `	if wrong("` + answerEarly + `") {
		return nil
	}
	_, err := db.commitStmt.ExecContext(ctx)`},
	{"ratchet/sqlite/create.go", `	return durable.Sync(filepath.Dir(path))`, `	if wrong("` + noFolderMade + `") {
		return nil
	}
	return durable.Sync(filepath.Dir(path))`},
	{"ratchet/sqlite/provenance.go", `durable.Sync(note)`, `syncNote(note)`},
}

// What such a program does wrongly.
const (
	syncNormal   = "synchronous NORMAL"
	answerEarly  = "an answer before COMMIT"
	noFolderMade = "no sync of the folder of a new ratchet"
	noteUnsynced = "no sync of the note that names a new -wal"
)

// TestPowerCutBites records programs that are wrong in one point: a replay that finds
// nothing in them proves nothing of the right one.
func TestPowerCutBites(t *testing.T) {
	t.Parallel()
	r := newRig(t, wrongPatches...)
	folder, remove := scratchFolder(t.TempDir())
	defer remove()
	for _, wrong := range []string{syncNormal, answerEarly, noFolderMade, noteUnsynced} {
		t.Run(wrong, func(t *testing.T) {
			replay := newReplay(recordWrong(t, r, wrong), partPowerCut.random(), 300, folder)
			if err := replay.run(); err != nil {
				t.Fatal(err)
			}
			if replay.bad == 0 {
				t.Fatalf("%d states, and all keep every promise: %v", replay.states, replay.outcomes)
			}
			t.Logf("%d of %d states break a promise, as they should: %v", replay.bad, replay.states, replay.broken[0])
			total.happened(partPowerCut, "program made wrong: "+wrong, "found")
		})
	}
}

// recordWrong records a program that is wrong. With its COMMIT too late it can only
// serve.
func recordWrong(t *testing.T, r *rig, wrong string) *recording {
	t.Helper()
	s := newScene(t, r, partPowerCut.random())
	if wrong != answerEarly {
		s.wrong = wrong
	}
	s.found(t)
	s.wrong = wrong
	d, p := s.serve(t)
	s.alone(t, d, 3)
	s.together(t, d, 0)
	s.end(t, d, p, unix.SIGKILL)
	return s.recording(t)
}
