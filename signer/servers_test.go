package signer_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/tezos"
)

// TestServersInTurn: good servers share the signatures evenly.
func TestServersInTurn(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.Twin(t, nil)
	p := newPool(t, a, 1, tezos.Ed25519, a.Dial(t), b.Dial(t))
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

// TestFullServerIsPassed: max_in_flight counts for each server, and who would wait at
// one goes to another that has room.
func TestFullServerIsPassed(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.Twin(t, nil)
	var clients []*grep11.Client
	for _, c := range []*card{a, b} {
		cfg := c.Config()
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
	a.Card.SetFaults(slow)
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

// narrow is a server whose list has only CKM_ECDSA, and which signs with everything.
type narrow struct {
	pb.UnimplementedCryptoServer
	card  pb.CryptoClient
	mu    sync.Mutex
	asked int
}

func (*narrow) GetMechanismList(context.Context, *pb.GetMechanismListRequest) (*pb.GetMechanismListResponse, error) {
	return &pb.GetMechanismListResponse{Mechs: []uint64{ep11.MechRSAPKCS, ep11.MechECDSA}}, nil
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
	go func() { _ = c.Card.Serve(ctx, behind, c.Dir, true) }()
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
		p := newPool(t, a, 2, kind, a.Dial(t), client)
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

// TestWatchTakesUpCertificates: a connection moves to certificates that were renewed,
// and goes on with the old ones while the files are bad, which is logged once.
func TestWatchTakesUpCertificates(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	var log record
	connection := a.Config()
	connection.Log = slog.New(slog.NewJSONHandler(&log, nil))
	client, err := grep11.Dial(connection)
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, a, 1, tezos.Ed25519, client)
	p.watched(t)
	p.await(t, true)
	path := filepath.Join(string(a.Dir), "client.pem")
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
			if got := log.lines(t); len(got) > 0 && got[len(got)-1] == want+" "+a.Address {
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
	if got := log.lines(t); len(got) != 2 {
		t.Errorf("log %q, want two lines", got)
	}
	if _, err := p.sign(t, 0, block(2, 0, 0)); err != nil {
		t.Errorf("with renewed certificates: %v", err)
	}
}

// TestServerThatIsNotConnectedIsNamed, even when no signature has met it yet.
func TestServerThatIsNotConnectedIsNamed(t *testing.T) {
	t.Parallel()
	_, b, p := twoServers(t)
	b.Stop()
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

// TestHungCertificateHidesNoLostServer: a certificate file on a file system that hangs keeps nobody
// from learning that the server is gone.
func TestHungCertificateHidesNoLostServer(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	p := newPool(t, a, 1, tezos.P256, a.Dial(t))
	p.watched(t)
	p.await(t, true)
	cert := filepath.Join(string(a.Dir), "client.pem")
	content, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(cert, 0o600); err != nil { // whose reader waits for a writer
		t.Fatal(err)
	}
	t.Cleanup(func() { // the reader goes on
		if pipe, err := os.OpenFile(cert, os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			_, _ = pipe.Write(content)
			time.Sleep(100 * time.Millisecond)
			_ = pipe.Close()
		}
	})
	time.Sleep(2500 * time.Millisecond) // the watch looks at it every second
	a.Stop()
	hash := p.keys[0].PublicKey().Hash()
	for deadline := time.Now().Add(30 * time.Second); p.Readiness()[hash] == nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the only server is gone, and its key is said to be ready")
		}
	}
}

// TestProbesLogNoBadSignatures: each second's probe of a key with bad signatures is not an error for
// somebody to act on; readiness tells of it.
func TestProbesLogNoBadSignatures(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	p := newPool(t, a, 2, tezos.P256, a.Dial(t))
	fault := &softcard.Fault{Call: "SignSingle", OtherMessage: true}
	a.Card.SetFaults(fault)
	p.watched(t)
	for deadline := time.Now().Add(30 * time.Second); fault.Hits() < 4; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d probes, want 4", fault.Hits())
		}
	}
	for _, line := range p.log.lines(t) {
		if strings.HasPrefix(line, "bad signature") {
			t.Errorf("nobody has asked for a signature, and the log says: %s", line)
		}
	}
}
