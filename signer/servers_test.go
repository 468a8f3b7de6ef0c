package signer_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"pawl/ratchet"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/signer/grep11/softcard"
	"pawl/tezos"
)

// twin starts another server with c's certificates, and with its master key unless
// another card is given.
func (c *card) twin(t *testing.T, other *softcard.Card) *card {
	t.Helper()
	second := &card{dir: c.dir, card: other, address: "127.0.0.1:0"}
	if other == nil {
		var err error
		if second.card, err = softcard.Open(c.dir); err != nil {
			t.Fatal(err)
		}
	}
	second.start(t)
	return second
}

// foreign is a card of another master key.
func foreign(t *testing.T) *softcard.Card {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	c, err := softcard.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// record is a log that tests read.
type record struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

// lines are the messages of the log with their server.
func (r *record) lines(t *testing.T) (lines []string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.buf.String()) {
		var entry struct{ Msg, Server string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, entry.Msg+" "+entry.Server)
	}
	return lines
}

// pool is a signer whose keys are at several servers.
type pool struct {
	*signer.Signer
	keys []*grep11.Key
	log  *record
}

// newPool makes keys at the first of the clients.
func newPool(t *testing.T, maker *card, n int, kind tezos.KeyKind, clients ...*grep11.Client) *pool {
	t.Helper()
	p := &pool{log: &record{}}
	var entries []signer.Entry
	first := maker.dial(t)
	for range n {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		made, err := first.Generate(ctx, kind, false)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		entry := signer.Entry{Policy: allowAll}
		for i, client := range clients {
			key, err := client.Key(made.PublicKey, made.Blob)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				entry.Key, entry.Server = key, client
				p.keys = append(p.keys, key)
			} else {
				entry.Others = append(entry.Others, signer.Place{Key: key, Server: client})
			}
		}
		entries = append(entries, entry)
	}
	var all []signer.Key
	for _, e := range entries {
		all = append(all, e.Key)
	}
	db, _ := newRatchet(t, all...)
	for i := range entries {
		entries[i].Ratchet = db
	}
	var err error
	if p.Signer, err = signer.New(entries, signer.Options{Log: slog.New(slog.NewJSONHandler(p.log, nil))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// watched runs Watch until the function that it returns is called.
func (p *pool) watched(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Watch(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

// await waits until the servers are good, or not, as wanted.
func (p *pool) await(t *testing.T, wants ...bool) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		states, right := p.Servers(), true
		for i, want := range wants {
			right = right && (states[i].Err == nil) == want
		}
		if right {
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("servers are %v, want good %v", states, wants)
		}
	}
}

// prove watches until all servers are good, and no longer.
func (p *pool) prove(t *testing.T, servers int) {
	t.Helper()
	stop := p.watched(t)
	wants := make([]bool, servers)
	for i := range wants {
		wants[i] = true
	}
	p.await(t, wants...)
	stop()
}

func (p *pool) sign(t *testing.T, key int, payload []byte) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	_, err := p.Sign(t.Context(), p.keys[key].PublicKey().Hash(), payload)
	return time.Since(start), err
}

// TestServersInTurn: good servers share the signatures evenly.
func TestServersInTurn(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, nil)
	p := newPool(t, a, 1, tezos.Ed25519, a.dial(t), b.dial(t))
	p.prove(t, 2)
	for level := range uint32(20) {
		if _, err := p.sign(t, 0, block(level+1, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, state := range p.Servers() {
		if state.Signed != 10 || state.Failed != 0 {
			t.Errorf("server %s signed %d and failed %d of 20, want 10 and 0", state.Address, state.Signed, state.Failed)
		}
	}
}

// TestRetryOnAnotherServer: transport and card trouble at a server costs no request
// and no pause, for the try is made again at another server, with the same digest. What
// is fatal to the key is not tried again.
func TestRetryOnAnotherServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault *softcard.Fault
		lost  int           // requests of four that fail
		least time.Duration // of the slowest
	}{
		"unavailable":        {fault: &softcard.Fault{Err: softcard.Unavailable()}},
		"cut":                {fault: &softcard.Fault{Cut: true}},
		"hang":               {fault: &softcard.Fault{Hang: true}, least: 1900 * time.Millisecond},
		"bad signature":      {fault: &softcard.Fault{Spoil: softcard.FlipBits(9)}},
		"device error":       {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeDeviceError)}},
		"internal error":     {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeIBMInternalError)}},
		"transport error":    {fault: &softcard.Fault{Err: softcard.Refusal(0x80010003)}},
		"request timeout":    {fault: &softcard.Fault{Err: softcard.Refusal(0x8001000b)}},
		"target invalid":     {fault: &softcard.Fault{Err: softcard.Refusal(0x80010030)}},
		"error state":        {fault: &softcard.Fault{Err: softcard.Refusal(0x80010101)}},
		"blobkey conflict":   {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeIBMBlobkeyConflict)}},
		"no master key":      {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeIBMWKNotInitialized)}},
		"other master key":   {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeIBMWKIDMismatch)}},
		"mechanism off":      {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeMechanismInvalid)}},
		"blob error":         {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeIBMBlobError)}, lost: 1},
		"not permitted":      {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeKeyFunctionNotPermitted)}, lost: 1},
		"curve":              {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeCurveNotSupported)}, lost: 1},
		"mechanism param":    {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeMechanismParamInvalid)}, lost: 1},
		"unauthenticated":    {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeIBMNotAuthenticated)}, lost: 1},
		"function cancelled": {fault: &softcard.Fault{Err: softcard.Refusal(grep11.CodeFunctionCanceled)}, lost: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newCard(t)
			b := a.twin(t, nil)
			p := newPool(t, a, 1, tezos.P256, a.dial(t), b.dial(t))
			p.prove(t, 2)
			fault := test.fault
			fault.Call = "SignSingle"
			a.card.SetFaults(fault)
			var lost int
			var slowest time.Duration
			for level := range uint32(4) {
				took, err := p.sign(t, 0, block(level+1, 0, 0))
				slowest = max(slowest, took)
				if err != nil {
					t.Logf("level %d: %v", level+1, err)
					lost++
				}
			}
			if hits := fault.Hits(); hits != 1 || lost != test.lost {
				t.Errorf("the server was asked %d times and %d requests were lost, want 1 and %d: the next go to the other server", hits, lost, test.lost)
			}
			if slowest < test.least || slowest > test.least+900*time.Millisecond {
				t.Errorf("the slowest took %v, want about %v: no pause before another server", slowest, test.least)
			}
			if got := p.Servers()[1]; got.Signed != 4-uint64(test.lost) || got.Failed != 0 {
				t.Errorf("the other server signed %d and failed %d", got.Signed, got.Failed)
			}
		})
	}
}

// TestFaultOfBothServers: there are two tries, one at each.
func TestFaultOfBothServers(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, nil)
	p := newPool(t, a, 1, tezos.P256, a.dial(t), b.dial(t))
	p.prove(t, 2)
	faults := []*softcard.Fault{
		{Call: "SignSingle", Err: softcard.Unavailable()}, {Call: "SignSingle", Err: softcard.Refusal(grep11.CodeDeviceError)},
	}
	a.card.SetFaults(faults[0])
	b.card.SetFaults(faults[1])
	if _, err := p.sign(t, 0, block(1, 0, 0)); !errors.Is(err, signer.ErrHSM) {
		t.Errorf("both in trouble: %v, want ErrHSM", err)
	}
	if faults[0].Hits() != 1 || faults[1].Hits() != 1 {
		t.Errorf("asked %d and %d times, want once each", faults[0].Hits(), faults[1].Hits())
	}
	hash := p.keys[0].PublicKey().Hash()
	err := p.Readiness()[hash]
	if err == nil || !strings.Contains(err.Error(), a.address+": ") || !strings.Contains(err.Error(), b.address+": ") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("readiness %q: want the fault of each server on one line", err)
	}
}

// TestReturnedServerIsUsedAtOnce: with all servers known to be down, a request that
// comes while one is back is signed, before the watch knows of it.
func TestReturnedServerIsUsedAtOnce(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, nil)
	p := newPool(t, a, 1, tezos.P256, a.dial(t), b.dial(t))
	p.prove(t, 2)
	a.stop()
	b.stop()
	if _, err := p.sign(t, 0, block(1, 0, 0)); !errors.Is(err, signer.ErrHSM) {
		t.Fatalf("both down: %v, want ErrHSM", err)
	}
	for round, back := range []*card{b, a} {
		flying := ask(t.Context(), p.Signer, p.keys[0], block(uint32(round)+2, 0, 0))
		back.start(t)
		if got := <-flying; got.err != nil {
			t.Errorf("%s is back: %v, want a signature", back.address, got.err)
		}
		back.stop()
	}
}

// TestFullServerIsPassed: max_in_flight counts for each server, and who would wait at
// one goes to another that has room.
func TestFullServerIsPassed(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, nil)
	var clients []*grep11.Client
	for _, c := range []*card{a, b} {
		cfg := c.config()
		cfg.MaxInFlight = 1
		client, err := grep11.Dial(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
	}
	p := newPool(t, a, 6, tezos.Ed25519, clients...)
	p.prove(t, 2)
	slow := &softcard.Fault{Call: "SignSingle", Delay: 1500 * time.Millisecond}
	a.card.SetFaults(slow)
	began := time.Now()
	var flying []<-chan answer
	for i := range p.keys {
		flying = append(flying, ask(t.Context(), p.Signer, p.keys[i], block(1, 0, 0)))
		time.Sleep(50 * time.Millisecond) // the one before has its place
	}
	for _, f := range flying {
		if got := <-f; got.err != nil {
			t.Error(got.err)
		}
	}
	if took := time.Since(began); slow.Hits() != 1 || took > 2500*time.Millisecond {
		t.Errorf("the slow server was asked %d times, and all took %v; want once: it is full", slow.Hits(), took)
	}
}

// TestServerOfAnotherMasterKey is left out and named, in readiness and by one line of
// the log; its keys sign elsewhere. One key of five is probed there. Once it has the
// right master key it is in use again.
func TestServerOfAnotherMasterKey(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, foreign(t))
	p := newPool(t, a, 5, tezos.P256, a.dial(t), b.dial(t))
	p.watched(t)
	p.await(t, true, false)
	for start := time.Now(); p.Servers()[1].Err == nil || !strings.Contains(p.Servers()[1].Err.Error(), "5 of 5 keys"); time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the other server: %v, want 5 of 5 keys", p.Servers()[1].Err)
		}
	}
	probes := &softcard.Fault{Call: "SignSingle", Delay: time.Nanosecond}
	b.card.SetFaults(probes)
	began := time.Now()
	for level := uint32(1); time.Since(began) < 3*time.Second; level++ {
		for i := range p.keys {
			if _, err := p.sign(t, i, block(level, 0, 0)); err != nil {
				t.Fatalf("level %d: %v", level, err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := probes.Hits(); n < 1 || n > 5 {
		t.Errorf("the server of another master key was asked %d times in three seconds, want one key a second", n)
	}
	if got := p.Servers()[1]; got.Signed != 0 || got.Failed != 0 {
		t.Errorf("the server of another master key had %d signatures and %d failures, want no try", got.Signed, got.Failed)
	}
	text := p.Servers()[1].Err.Error()
	for _, want := range []string{"another master key", "CKR_IBM_WKID_MISMATCH (0x80010001)"} {
		if !strings.Contains(text, want) {
			t.Errorf("readiness %q does not say %q", text, want)
		}
	}
	for hash, err := range p.Readiness() {
		if err != nil {
			t.Errorf("key %v: %v; it signs at the other server", hash, err)
		}
	}
	left, back := "HSM server left out "+b.address, "HSM server in use "+b.address
	if got := p.log.lines(t); len(got) != 1 || got[0] != left {
		t.Errorf("log %q, want one line %q", got, left)
	}
	b.stop()
	right, err := softcard.Open(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	b.card = right
	b.start(t)
	p.await(t, true, true)
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if got := p.log.lines(t); got[len(got)-1] == back {
			break
		} else if time.Since(start) > 5*time.Second {
			t.Fatalf("log %q, want %q at last", got, back)
		}
	}
}

// narrow is a server whose list has only CKM_ECDSA, and which signs with everything.
type narrow struct {
	pb.UnimplementedCryptoServer
	card  pb.CryptoClient
	mu    sync.Mutex
	asked int
}

func (*narrow) GetMechanismList(context.Context, *pb.GetMechanismListRequest) (*pb.GetMechanismListResponse, error) {
	return &pb.GetMechanismListResponse{Mechs: []uint64{grep11.MechRSAPKCS, grep11.MechECDSA}}, nil
}

func (n *narrow) SignSingle(ctx context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	n.mu.Lock()
	n.asked++
	n.mu.Unlock()
	return n.card.SignSingle(ctx, r)
}

// serveNarrow serves the card of c as narrow does.
func serveNarrow(t *testing.T, c *card) (*narrow, *grep11.Client) {
	t.Helper()
	behind, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = c.card.Serve(ctx, behind, c.dir, true) }()
	conn, err := grpc.NewClient(behind.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	n := &narrow{card: pb.NewCryptoClient(conn)}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterCryptoServer(server, n)
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(server.Stop)
	client, err := grep11.Dial(grep11.Config{Address: ln.Addr().String(), Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return n, client
}

// TestServerWithoutMechanism: a server whose list lacks what the keys sign with is left
// out and named. A key of another kind uses it.
func TestServerWithoutMechanism(t *testing.T) {
	t.Parallel()
	for kind, lacks := range map[tezos.KeyKind]bool{tezos.Ed25519: true, tezos.P256: false} {
		a := newCard(t)
		n, client := serveNarrow(t, a)
		p := newPool(t, a, 2, kind, a.dial(t), client)
		stop := p.watched(t)
		p.await(t, true, !lacks)
		time.Sleep(1200 * time.Millisecond) // one more round of the watch
		n.mu.Lock()
		n.asked = 0
		n.mu.Unlock()
		for level := range uint32(10) {
			if _, err := p.sign(t, 0, block(level+1, 0, 0)); err != nil {
				t.Errorf("%v, level %d: %v", kind, level+1, err)
			}
		}
		time.Sleep(1200 * time.Millisecond) // and one more
		stop()
		if err := p.Servers()[1].Err; lacks && (err == nil || !strings.Contains(err.Error(), "lacks CKM_IBM_ED25519_SHA512 (0x8001001c), with which tz1 keys sign")) {
			t.Errorf("%v: %v; want what the list lacks", kind, err)
		}
		if lacks != (n.asked == 0) {
			t.Errorf("%v: the server was asked %d times, want none: %v", kind, n.asked, lacks)
		}
		left := "HSM server left out " + client.Address()
		if got := strings.Join(p.log.lines(t), "; "); lacks && got != left || !lacks && got != "" {
			t.Errorf("%v: log %q", kind, got)
		}
	}
}

// TestOpenSeveralServers: url as a list leads to a signer with all of them.
func TestOpenSeveralServers(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	b := f.card.twin(t, nil)
	f.write(map[string]any{"url": []string{f.card.address, b.address}})
	s, findings, err := f.open()
	if err != nil {
		t.Fatalf("Open: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	states := s.Servers()
	if len(states) != 2 || states[0].Address != f.card.address || states[1].Address != b.address {
		t.Fatalf("servers %v", states)
	}
	watch(t, s, f.key)(true)
	f.card.stop()
	for level := range uint32(3) {
		if _, err := s.Sign(t.Context(), f.key, block(level+1, 0, 0)); err != nil {
			t.Errorf("with one of two servers: %v", err)
		}
	}
}

// TestWatchTakesUpCertificates: a connection moves to certificates that were renewed,
// and goes on with the old ones while the files are bad, which is logged once.
func TestWatchTakesUpCertificates(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	p := newPool(t, a, 1, tezos.Ed25519, a.dial(t))
	p.watched(t)
	p.await(t, true)
	path := filepath.Join(string(a.dir), "client.pem")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	logged := func(want string) {
		t.Helper()
		for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			if got := p.log.lines(t); len(got) > 0 && got[len(got)-1] == want+" "+a.address {
				return
			} else if time.Since(start) > 20*time.Second {
				t.Fatalf("log %q, want %q", got, want)
			}
		}
	}
	write(whole[:len(whole)/2])
	logged("certificates not renewed, the old connection goes on")
	time.Sleep(2200 * time.Millisecond) // two more rounds
	if _, err := p.sign(t, 0, block(1, 0, 0)); err != nil {
		t.Errorf("with a bad file: %v", err)
	}
	write(whole)
	logged("certificates renewed")
	if got := p.log.lines(t); len(got) != 2 {
		t.Errorf("log %q, want two lines", got)
	}
	if _, err := p.sign(t, 0, block(2, 0, 0)); err != nil {
		t.Errorf("with renewed certificates: %v", err)
	}
}

// TestOneTryMarksAllKeysOfAMasterKey: what one key learns of a server's master key holds
// for all that it wraps.
func TestOneTryMarksAllKeysOfAMasterKey(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	second, err := f.card.dial(t).Generate(t.Context(), tezos.Ed25519, false)
	if err != nil {
		t.Fatal(err)
	}
	f.inRatchet(func(db *ratchet.DB) error { return db.RegisterNew(t.Context(), second.PublicKey.Hash()) })
	b := f.card.twin(t, nil)
	entry := func(made grep11.Generated) map[string]any {
		return map[string]any{"public_key": made.PublicKey.String(), "secret_key": made.Blob.Hex()}
	}
	f.write(map[string]any{
		"url":  []string{f.card.address, b.address},
		"keys": map[string]any{f.key.String(): entry(f.made), second.PublicKey.Hash().String(): entry(second)},
	})
	s, findings, err := f.open()
	if err != nil {
		t.Fatalf("Open: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	p := &pool{Signer: s}
	p.prove(t, 2)
	b.card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(grep11.CodeIBMWKIDMismatch), Times: 1})
	for level := range uint32(2) { // one of them goes there
		if _, err := s.Sign(t.Context(), f.key, block(level+1, 0, 0)); err != nil {
			t.Error(err)
		}
	}
	if got := s.Servers()[1]; got.Err == nil || !strings.Contains(got.Err.Error(), "2 of 2 keys") {
		t.Errorf("after one refusal: %v, want both keys", got.Err)
	}
}

// TestServersChangeTheirMasterKeyOneByOne: each server is asked with the blob that it
// takes, whether the next one was there at the start or taken up, and no try fails. A key
// that was not rewrapped is left out there alone.
func TestServersChangeTheirMasterKeyOneByOne(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	before, after := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	var cards [2]*card
	for i := range cards {
		made, err := softcard.New(before)
		if err != nil {
			t.Fatal(err)
		}
		cards[i] = f.card.twin(t, made)
	}
	client := cards[0].dial(t)
	keys := make(map[string]any)
	var made [2]grep11.Generated // the second is not rewrapped
	for i := range made {
		var err error
		if made[i], err = client.Generate(t.Context(), tezos.P256, false); err != nil {
			t.Fatal(err)
		}
		hash := made[i].PublicKey.Hash()
		keys[hash.String()] = map[string]any{"public_key": made[i].PublicKey.String(), "secret_key": made[i].Blob.Hex()}
		f.inRatchet(func(db *ratchet.DB) error { return db.RegisterNew(t.Context(), hash) })
	}
	f.write(map[string]any{"url": []string{cards[0].address, cards[1].address}, "keys": keys})
	level := uint32(0)
	open := func() *pool {
		t.Helper()
		s, findings, err := f.open()
		if err != nil {
			t.Fatalf("Open: %v %v", err, findings)
		}
		return &pool{Signer: s}
	}
	signs := func(p *pool, when string) {
		t.Helper()
		for range 4 {
			level++
			if _, err := p.Sign(t.Context(), made[0].PublicKey.Hash(), block(level, 0, 0)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		for _, state := range p.Servers() {
			if state.Failed != 0 || state.Signed == 0 {
				t.Errorf("%s: %s signed %d times and failed %d times", when, state.Address, state.Signed, state.Failed)
			}
		}
	}
	p := open()
	p.prove(t, 2)
	for _, c := range cards {
		if err := errors.Join(c.card.LoadNext(after), c.card.CommitNext()); err != nil {
			t.Fatal(err)
		}
	}
	next, err := client.Rewrap(t.Context(), made[0].Blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.AddNextBlobs(f.path, []signer.Rotation{{Key: made[0].PublicKey.Hash(), Blob: made[0].Blob, Next: next}}); err != nil {
		t.Fatal(err)
	}
	p.TakeUpBlobs()
	if err := cards[1].card.Finalise(); err != nil {
		t.Fatal(err)
	}
	signs(p, "taken up, and finalised at one")
	for l := range uint32(2) { // one of them goes there
		if _, err := p.Sign(t.Context(), made[1].PublicKey.Hash(), block(l+1, 0, 0)); err != nil {
			t.Error(err)
		}
	}
	if err := p.Servers()[1].Err; err == nil || !strings.Contains(err.Error(), "1 of 2 keys") {
		t.Errorf("the server that has finalised: %v, want the key without a next blob left out", err)
	}
	closeSigner(t, p.Signer)
	p = open()
	defer closeSigner(t, p.Signer)
	stop := p.watched(t)
	for start := time.Now(); p.Servers()[0].Err != nil || p.Servers()[1].Err == nil || !strings.Contains(p.Servers()[1].Err.Error(), "1 of 2 keys"); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("servers %v", p.Servers())
		}
	}
	stop()
	signs(p, "opened with both blobs")
	if err := cards[0].card.Finalise(); err != nil {
		t.Fatal(err)
	}
	signs(p, "finalised at both")
}

// TestServerThatIsNotConnectedIsNamed, even when no signature has met it yet.
func TestServerThatIsNotConnectedIsNamed(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, nil)
	p := newPool(t, a, 1, tezos.P256, a.dial(t), b.dial(t))
	p.prove(t, 2)
	b.stop()
	p.await(t, true, false)
	if err := p.Servers()[1].Err; err.Error() != "not connected" {
		t.Errorf("servers: %v, want not connected", err)
	}
	for level := range uint32(4) {
		if _, err := p.sign(t, 0, block(level+1, 0, 0)); err != nil {
			t.Error(err)
		}
	}
	if got := p.Servers()[1]; got.Failed != 0 {
		t.Errorf("%d tries went to a server that is not connected", got.Failed)
	}
}

// TestCallersDeadlineIsNoFaultOfAnother: without time left there is no second try, which
// would only make a good server look bad.
func TestCallersDeadlineIsNoFaultOfAnother(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, nil)
	p := newPool(t, a, 1, tezos.P256, a.dial(t), b.dial(t))
	p.prove(t, 2)
	for _, c := range []*card{a, b} {
		c.card.SetFaults(&softcard.Fault{Call: "SignSingle", Hang: true})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := p.Sign(ctx, p.keys[0].PublicKey().Hash(), michelson(1)); err == nil {
		t.Error("a card that hangs has signed")
	}
	if states := p.Servers(); states[0].Failed+states[1].Failed != 1 {
		t.Errorf("%d and %d tries failed, want one in all", states[0].Failed, states[1].Failed)
	}
}

// TestSecondTryIsElsewhere: of two good servers, of two bad ones, and while others sign
// where the first try failed.
func TestSecondTryIsElsewhere(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, nil)
	p := newPool(t, a, 1, tezos.P256, a.dial(t), b.dial(t))
	hash := p.keys[0].PublicKey().Hash()
	check := func(what string, want [2]int) {
		t.Helper()
		for range 4 {
			for before := range 2 {
				if got := p.ChooseAfter(hash, before); got != want[before] {
					t.Errorf("%s, tried at %d: then at %d, want %d", what, before, got, want[before])
				}
			}
		}
	}
	p.prove(t, 2)
	check("both good", [2]int{1, 0})
	b.card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(grep11.CodeIBMBlobError)})
	stop := p.watched(t)
	for level := uint32(1); p.Servers()[1].Err == nil; level++ {
		_, _ = p.sign(t, 0, block(level, 0, 0))
	}
	stop()
	check("one refuses the key", [2]int{0, 0})
	trouble := func(on *card, at int) {
		t.Helper()
		on.card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Unavailable()})
		stop := p.watched(t)
		defer stop()
		for start := time.Now(); p.Servers()[at].Err == nil || !strings.Contains(p.Servers()[at].Err.Error(), "Unavailable"); {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("servers %v", p.Servers())
			}
			_, _ = p.sign(t, 0, michelson(1))
		}
	}
	trouble(a, 0)
	check("one in trouble, one refuses the key", [2]int{0, 0})
	a.card.SetFaults()
	b.card.SetFaults()
	p.prove(t, 2)
	trouble(b, 1)
	check("one in trouble", [2]int{1, 0})
	trouble(a, 0)
	check("both in trouble", [2]int{1, 0})
}

// TestFailedTryWakesTheConnection: a server that was away for long is looked for at once
// and often while a request waits for its second try.
func TestFailedTryWakesTheConnection(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	p := newPool(t, a, 1, tezos.P256, a.dial(t))
	p.prove(t, 1)
	a.stop()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // of a test
	var attempts atomic.Int64
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			attempts.Add(1)
			_ = conn.Close()
		}
	}()
	_, _ = p.sign(t, 0, block(1, 0, 0)) // which begins to connect
	time.Sleep(4 * time.Second)         // until it tries once a second
	before := attempts.Load()
	if _, err := p.sign(t, 0, block(1, 0, 0)); !errors.Is(err, signer.ErrHSM) {
		t.Errorf("no server: %v", err)
	}
	if n := attempts.Load() - before; n < 3 {
		t.Errorf("%d attempts to connect while a request waited, want three or more", n)
	}
}
