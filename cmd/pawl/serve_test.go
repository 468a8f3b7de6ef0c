package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pawl/signer/grep11/pb"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// served is a `pawl serve` within the test.
type served struct {
	address string
	stop    context.CancelFunc
	done    chan error
}

// startServe runs `pawl serve` and waits until it listens.
func startServe(t *testing.T, config string) served {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(stop)
	read, write := io.Pipe()
	s := served{stop: stop, done: make(chan error, 1)}
	go func() {
		err := run(ctx, []string{"pawl", "serve", "--config", config, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, io.Discard, write)
		_ = write.CloseWithError(io.EOF)
		s.done <- err
	}()
	lines := bufio.NewScanner(read)
	for s.address == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "listening" {
			s.address = line.Address
		}
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	if s.address == "" {
		t.Fatalf("serve ended: %v", <-s.done)
	}
	return s
}

// addKey makes a ratchet and a key in the keys.json.
func addKey(t *testing.T, config string) (hash string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`{`), []byte(`{"db": "ratchet.db", "policy": {"baking": true, "operations": []}, `), 1)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	for _, args := range [][]string{
		{"pawl", "ratchet", "init", "--config", config},
		{"pawl", "createtezoskey", "tz2", "--add", "--config", config, "--dir", filepath.Dir(config)},
	} {
		if err := run(t.Context(), args, &stdout, io.Discard); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	lines := strings.Split(stdout.String(), "\n")
	return lines[len(lines)-2]
}

// A stop answers what is in flight: here a request that the HSM holds.
func TestStopAnswersRequestsInFlight(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 16), make(chan struct{})
	card := &faultyCard{}
	config := card.serve(t)
	hash := addKey(t, config)
	payload := tezostest.Block(7, 0, 0)
	digest := tezos.DigestOf(payload)
	card.hold = func(req *pb.SignSingleRequest) {
		if bytes.Equal(req.GetData(), digest[:]) { // and no probe
			asked <- struct{}{}
			<-release
		}
	}
	daemon := startServe(t, config)
	answered := make(chan string, 1)
	go func() {
		answered <- post(t.Context(), "http://"+daemon.address+"/keys/"+hash, payload)
	}()
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("the HSM was not asked")
	}
	daemon.stop()
	select {
	case err := <-daemon.done:
		t.Errorf("stopped before the answer: %v", err)
	case <-time.After(50 * time.Millisecond): // may be too short to notice, never wrong
	}
	close(release)
	if got := <-answered; !strings.HasPrefix(got, `200 {"signature":"spsig1`) {
		t.Errorf("the request in flight got %s", got)
	}
	if err := <-daemon.done; err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(config), "ratchet.db-wal")); err == nil {
		t.Error("the ratchet was not closed cleanly")
	}
}

// post returns the status and the body, or the error.
func post(ctx context.Context, url string, payload []byte) string {
	body := strings.NewReader(`"` + hex.EncodeToString(payload) + `"`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return res.Status[:4] + string(answer)
}

// A first run that is interrupted is no failure and leaves nothing.
func TestInterruptedDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	parent := t.TempDir()
	args := []string{"pawl", "demo", "--dir", filepath.Join(parent, "d"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--card", "127.0.0.1:0"}
	var stdout bytes.Buffer
	if err := run(ctx, args, &stdout, io.Discard); err != nil || stdout.Len() != 0 {
		t.Errorf("error %v, stdout %q", err, stdout.String())
	}
	if err := makeFolder(ctx, filepath.Join(parent, "d"), "127.0.0.1:1"); err == nil {
		t.Error("the folder was made all the same")
	}
	if names := namesIn(t, parent); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

// Two first runs at once: one makes the folder, the other says so.
func TestDemoFolderIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	claim, err := claimFolder(dir + ".new")
	if err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(t.Context(), dir, "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "another pawl demo") {
		t.Errorf("while another makes it: %v", err)
	}
	if _, err := os.Stat(dir + ".new"); err != nil {
		t.Errorf("the other's folder: %v", err)
	}
	if err := claim.Close(); err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(t.Context(), dir, "127.0.0.1:1"); err != nil {
		t.Errorf("after the other has gone: %v", err)
	}
	if err := makeFolder(t.Context(), dir, "127.0.0.1:1"); err == nil {
		t.Error("a folder that is there was made again")
	}
}
