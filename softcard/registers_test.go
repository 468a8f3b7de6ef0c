package softcard_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// The folder of a running card loses its key and gets it back.
func TestACardWithoutMasterKey(t *testing.T) {
	t.Parallel()
	dir := cardtest.Folder(t)
	path := string(dir)
	card := cardtest.Open(t, dir)
	c := cardtest.Client(t, card)
	pair := testCurves[0].pair(t, over(c))
	sign := func() error {
		_, err := c.SignSingle(t.Context(), &pb.SignSingleRequest{Mech: mech(ep11.MechIBMEd25519SHA512), PrivKeyBytes: pair.GetPrivKeyBytes(), Data: []byte("data")})
		return err
	}
	key, away := filepath.Join(path, "master.key"), filepath.Join(path, "away")
	if err := os.Rename(key, away); err != nil {
		t.Fatal(err)
	}
	wantCode(t, sign(), ep11.CodeIBMWKNotInitialized)
	_, err := c.RewrapKeyBlob(t.Context(), &pb.RewrapKeyBlobRequest{WrappedKeyBytes: pair.GetPrivKeyBytes()})
	wantCode(t, err, ep11.CodeIBMWKNotInitialized)
	_, err = c.DigestInit(t.Context(), &pb.DigestInitRequest{Mech: mech(ep11.MechSHA256)})
	wantCode(t, err, ep11.CodeIBMWKNotInitialized)
	if _, err := c.GetMechanismList(t.Context(), &pb.GetMechanismListRequest{}); err != nil {
		t.Errorf("the list needs no master key: %v", err)
	}
	if err := os.Rename(away, key); err != nil {
		t.Fatal(err)
	}
	if err := sign(); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "next.key"), []byte("garbage"), 0o600); err != nil { // so that it looks again
		t.Fatal(err)
	}
	wantCode(t, sign(), ep11.CodeIBMWKNotInitialized)
}

func TestRegistersOfAFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "card")
	dir := softcard.Dir(path)
	if err := dir.LoadNext(); err == nil || !strings.Contains(err.Error(), "there is no software card") {
		t.Errorf("a folder without card: %v", err)
	}
	if _, err := dir.Init(); err != nil {
		t.Fatal(err)
	}
	was, err := dir.Registers()
	if err != nil || was.Full || was.Committed || !strings.HasSuffix(was.String(), "valid, new empty") {
		t.Errorf("%v, %v", was, err)
	}
	if err := dir.LoadNext(); err != nil {
		t.Fatal(err)
	}
	loaded, err := dir.Registers()
	if err != nil || !loaded.Full || loaded.Committed || loaded.Current != was.Current || !strings.HasSuffix(loaded.String(), "full uncommitted") {
		t.Errorf("%v, %v", loaded, err)
	}
	info, err := os.Stat(filepath.Join(path, "next.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("next.key: %v, %v", info, err)
	}
	if err := dir.CommitNext(); err != nil {
		t.Fatal(err)
	}
	committed, err := dir.Registers()
	if err != nil || !committed.Committed || committed.Next != loaded.Next || !strings.HasSuffix(committed.String(), "full committed") {
		t.Errorf("%v, %v", committed, err)
	}
	if err := dir.Finalise(); err != nil {
		t.Fatal(err)
	}
	now, err := dir.Registers()
	if err != nil || now.Full || now.Current != committed.Next {
		t.Errorf("%v, %v", now, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(softcard.DirFiles) + 1; len(entries) != want { // and ca-key.pem
		t.Errorf("%d files, want %d: %v", len(entries), want, entries)
	}
	info, err = os.Stat(filepath.Join(path, "master.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("master.key: %v, %v", info, err)
	}
}

// The new key is in place, and the new register is not empty yet.
func TestAnUnfinishedFinaliseIsFinished(t *testing.T) {
	t.Parallel()
	dir := cardtest.Folder(t)
	path := string(dir)
	key, err := os.ReadFile(filepath.Join(path, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "next.key"), append(bytes.TrimSpace(key), " committed\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := dir.Registers(); err != nil || r.Full {
		t.Errorf("%v, %v", r, err)
	}
	card := cardtest.Open(t, dir)
	pair := testCurves[0].pair(t, direct(card))
	_, err = softcard.Service(card).RewrapKeyBlob(t.Context(), &pb.RewrapKeyBlobRequest{WrappedKeyBytes: pair.GetPrivKeyBytes()})
	wantCode(t, err, ep11.CodeIBMWKNotInitialized)
	if err := dir.LoadNext(); err != nil {
		t.Errorf("a new key cannot be loaded: %v", err)
	}
}

func TestBrokenRegistersAreNamed(t *testing.T) {
	t.Parallel()
	dir := cardtest.Folder(t)
	path := string(dir)
	hexKey := strings.Repeat("07", 32)
	for name, text := range map[string]string{
		"empty": "", "no state": hexKey, "another state": hexKey + " half", "short": hexKey[2:] + " committed", "no hex": strings.Repeat("zz", 32) + " committed",
	} {
		if err := os.WriteFile(filepath.Join(path, "next.key"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		errs := map[string]error{"LoadNext": dir.LoadNext(), "CommitNext": dir.CommitNext(), "Finalise": dir.Finalise()}
		_, errs["Registers"] = dir.Registers()
		_, errs["Open"] = softcard.Open(dir)
		for call, err := range errs {
			if err == nil || !strings.Contains(err.Error(), "next.key") {
				t.Errorf("%s, %s: %v", name, call, err)
			}
			if err != nil && strings.Contains(err.Error(), "0707") {
				t.Errorf("%s, %s: the error tells the key: %v", name, call, err)
			}
		}
	}
}

func TestRegistersOfNew(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	if card.LoadNext(make([]byte, 31)) == nil {
		t.Error("a key of 31 bytes was loaded")
	}
	if card.LoadNext(bytes.Repeat([]byte{1}, 32)) == nil {
		t.Error("the current key was loaded")
	}
	dir := cardtest.Folder(t)
	ofFolder := cardtest.Open(t, dir)
	for name, err := range map[string]error{
		"LoadNext": ofFolder.LoadNext(bytes.Repeat([]byte{9}, 32)), "CommitNext": ofFolder.CommitNext(), "Finalise": ofFolder.Finalise(),
	} {
		if err == nil || !strings.Contains(err.Error(), string(dir)) {
			t.Errorf("%s of a folder's card: %v", name, err)
		}
	}
}

// While one process takes a step no other one does. Of many that load a key at once one
// succeeds.
func TestOneStepAtATime(t *testing.T) {
	t.Parallel()
	dir := cardtest.Folder(t)
	path := string(dir)
	folder, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := dir.LoadNext(); err == nil || !strings.Contains(err.Error(), "locking the card's folder") {
		t.Errorf("beside another process: %v", err)
	}
	if r, err := dir.Registers(); err != nil || r.Full {
		t.Errorf("beside another process a key was loaded: %v, %v", r, err)
	}
	if err := folder.Close(); err != nil {
		t.Fatal(err)
	}
	var loaded atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if dir.LoadNext() == nil {
				loaded.Add(1)
			}
		})
	}
	all.Wait()
	if n := loaded.Load(); n != 1 {
		t.Errorf("%d keys were loaded into one register", n)
	}
	if err := dir.CommitNext(); err != nil {
		t.Errorf("the lock was kept: %v", err)
	}
}
