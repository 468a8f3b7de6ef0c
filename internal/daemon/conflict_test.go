package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pawl/internal/config"
	"pawl/internal/daemon"
	"pawl/ratchet"
	"pawl/signer"
	"pawl/tezos"
)

// conflictEnv names the keys.json that a child process of this test opens.
const conflictEnv = "PAWL_TEST_CONFLICT"

const conflicting = 10_000

// TestConflictingRequests: of ten thousand different payloads for one slot one
// gets a signature; every other is refused, or sent away by the full queue. The
// process is killed with that, and asked all of them again by the next one: the
// winner gets the same bytes, and nobody else gets any.
func TestConflictingRequests(t *testing.T) {
	if path := os.Getenv(conflictEnv); path != "" {
		conflictChild(t, path)
		return
	}
	t.Parallel()
	f := newFolder(t)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestConflictingRequests$")
	child.Env = append(os.Environ(), conflictEnv+"="+f.path)
	output, err := child.CombinedOutput()
	if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended with %v, not killed:\n%s", err, output)
	}
	var winner uint64
	var signature string
	if _, err := fmt.Sscanf(strings.TrimSpace(string(output)), "winner %d %s", &winner, &signature); err != nil {
		t.Fatalf("the child says %q: %v", output, err)
	}

	s, findings, err := f.open()
	if err != nil {
		t.Fatalf("Open after the kill: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	for i, got := range askAll(t, s.Signer, f.key) {
		if i != winner || got.String() != signature {
			t.Errorf("after the kill payload %d got %v; only %d may, and %s", i, got, winner, signature)
		}
	}
	res, err := s.Sign(t.Context(), f.key, vote(tezos.Attestation, 7, 1, winner))
	if err != nil || !res.Stored || res.Signature.String() != signature {
		t.Errorf("the winner after the kill: %v, stored %v, %v; want the stored %s", res.Signature, res.Stored, err, signature)
	}
}

// conflictChild asks for all payloads, tells who won, and is killed.
func conflictChild(t *testing.T, path string) {
	t.Helper()
	cfg, _, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := daemon.Open(t.Context(), cfg, daemon.Options{})
	if err != nil {
		t.Fatal(err)
	}
	winners := askAll(t, s.Signer, cfg.Keys[0].PublicKey.Hash())
	if len(winners) != 1 {
		t.Fatalf("%d of %d conflicting payloads got a signature, want 1: %v", len(winners), conflicting, winners)
	}
	for i, signature := range winners {
		fmt.Printf("winner %d %v\n", i, signature)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {} // until the signal arrives
}

// askAll asks for a signature of each payload of one slot at the same time and
// returns who got one.
func askAll(t *testing.T, s *signer.Signer, key tezos.PublicKeyHash) map[uint64]tezos.Signature {
	t.Helper()
	var mu sync.Mutex
	winners := make(map[uint64]tezos.Signature)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range uint64(conflicting) {
		all.Go(func() {
			<-start
			res, err := s.Sign(t.Context(), key, vote(tezos.Attestation, 7, 1, i))
			switch {
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				winners[i] = res.Signature
			case !errors.Is(err, ratchet.ErrRefused) && !errors.Is(err, ratchet.ErrQueueFull):
				t.Errorf("payload %d: %v; want a signature, ErrRefused or ErrQueueFull", i, err)
			}
		})
	}
	close(start)
	all.Wait()
	return winners
}
