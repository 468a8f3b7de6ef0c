package softcard_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// serveTLS serves the card of d and returns its address.
func serveTLS(t *testing.T, d softcard.Dir, listenOn string) string {
	t.Helper()
	ln, err := net.Listen("tcp", listenOn)
	if err != nil {
		t.Skipf("no %s here: %v", listenOn, err)
	}
	return cardtest.ServeOn(t, cardtest.Open(t, d), d, ln).Address
}

func authority(t *testing.T, d softcard.Dir) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(contents(t, d)["ca.pem"])) {
		t.Fatal("ca.pem holds no certificate")
	}
	return pool
}

func certificate(t *testing.T, d softcard.Dir, name string) []tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(string(d), name+".pem"), filepath.Join(string(d), name+"-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{pair}
}

// ping makes one call.
func ping(t *testing.T, address string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = pb.NewCryptoClient(conn).GetMechanismList(ctx, &pb.GetMechanismListRequest{})
	return err
}

// Each call takes so much longer, and a caller who leaves is let go.
func TestDelay(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	card.Delay = 100 * time.Millisecond
	crypto := cardtest.Client(t, card)
	start := time.Now()
	if _, err := crypto.GetMechanismList(t.Context(), &pb.GetMechanismListRequest{}); err != nil || time.Since(start) < card.Delay {
		t.Errorf("a call: %v after %v, want an answer after %v", err, time.Since(start), card.Delay)
	}
	ctx, cancel := context.WithTimeout(t.Context(), card.Delay/10)
	defer cancel()
	if _, err := crypto.GetMechanismList(ctx, &pb.GetMechanismListRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a caller who leaves: %v, want %v", err, codes.DeadlineExceeded)
	}
}

func TestOnlyClientsOfTheCardsAuthorityAreServed(t *testing.T) {
	t.Parallel()
	d, other := cardtest.Folder(t), cardtest.Folder(t)
	address := serveTLS(t, d, "127.0.0.1:0")
	for _, test := range []struct {
		name  string
		creds credentials.TransportCredentials
		ok    bool
	}{
		{"client.pem", credentials.NewTLS(&tls.Config{RootCAs: authority(t, d), Certificates: certificate(t, d, "client")}), true},
		{"no certificate", credentials.NewTLS(&tls.Config{RootCAs: authority(t, d)}), false},
		{"another card's client", credentials.NewTLS(&tls.Config{RootCAs: authority(t, d), Certificates: certificate(t, other, "client")}), false},
		{"a certificate of servers", credentials.NewTLS(&tls.Config{RootCAs: authority(t, d), Certificates: certificate(t, d, "server")}), false},
		{"another authority expected", credentials.NewTLS(&tls.Config{RootCAs: authority(t, other), Certificates: certificate(t, d, "client")}), false},
		{"TLS 1.2", credentials.NewTLS(&tls.Config{RootCAs: authority(t, d), Certificates: certificate(t, d, "client"), MaxVersion: tls.VersionTLS12}), false},
		{"no TLS", insecure.NewCredentials(), false},
	} {
		err := ping(t, address, test.creds)
		if test.ok != (err == nil) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && status.Code(err) != codes.Unavailable {
			t.Errorf("%s: refused by %v, want a failed handshake", test.name, err)
		}
	}
}

func TestServerIsNamedForLoopback(t *testing.T) {
	t.Parallel()
	d := cardtest.Folder(t)
	creds := credentials.NewTLS(&tls.Config{RootCAs: authority(t, d), Certificates: certificate(t, d, "client")})
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		t.Run(host, func(t *testing.T) {
			address := serveTLS(t, d, net.JoinHostPort(host, "0"))
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatal(err)
			}
			if err := ping(t, net.JoinHostPort(host, port), creds); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPlaintextOnlyOnLoopback(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel() // a call that is not refused returns at once without error
	for _, address := range []string{"0.0.0.0:0", ":0"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		err = card.Serve(ended, ln, "", true)
		if err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", address, err)
		}
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: still listens: %v", address, err)
		}
	}
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := card.Serve(ended, ln, "", true); err == nil {
		t.Error("a Unix socket is served without TLS")
	}
}

func TestServeRefusesABrokenFolder(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(d string) error{
		"server.pem missing":      func(d string) error { return os.Remove(filepath.Join(d, "server.pem")) },
		"server-key.pem missing":  func(d string) error { return os.Remove(filepath.Join(d, "server-key.pem")) },
		"ca.pem holds no":         func(d string) error { return os.WriteFile(filepath.Join(d, "ca.pem"), []byte("x"), 0o600) },
		"server-key.pem garbage":  func(d string) error { return os.WriteFile(filepath.Join(d, "server-key.pem"), []byte("x"), 0o600) },
		"server-key.pem too open": func(d string) error { return os.Chmod(filepath.Join(d, "server-key.pem"), 0o644) },
	} {
		d := cardtest.Folder(t)
		card := cardtest.Open(t, d)
		if err := broken(string(d)); err != nil {
			t.Fatal(err)
		}
		file, _, _ := strings.Cut(name, " ")
		if err := card.Serve(t.Context(), cardtest.Listen(t, "127.0.0.1:0"), d, false); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// inFlight is a card that serves, with a signature made and not yet sent.
type inFlight struct {
	ln       net.Listener
	stop     context.CancelFunc
	release  chan struct{} // lets the signature go when closed
	answered chan error    // of the client's call
	served   chan error    // of Serve
}

func hold(t *testing.T) inFlight {
	t.Helper()
	card := cardtest.New(t, 1)
	in := inFlight{ln: cardtest.Listen(t, "127.0.0.1:0"), release: make(chan struct{}), answered: make(chan error, 1), served: make(chan error, 1)}
	entered := make(chan struct{})
	card.OnSign = func([]byte, []byte) {
		close(entered)
		<-in.release
	}
	var ctx context.Context
	ctx, in.stop = context.WithCancel(t.Context())
	go func() { in.served <- card.Serve(ctx, in.ln, "", true) }()
	conn, err := grpc.NewClient(in.ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c, curve := pb.NewCryptoClient(conn), testCurves[0]
	pair := curve.pair(t, over(c))
	go func() {
		_, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), [][]byte{[]byte("x")})
		in.answered <- err
	}()
	<-entered
	return in
}

func TestServeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	in := hold(t)
	in.stop()
	close(in.release)
	if err := <-in.answered; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-in.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := in.ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("still listens: %v", err)
	}
}

func TestServeWithAnEndedContextReturns(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cardtest.New(t, 1).Serve(ended, cardtest.Listen(t, "127.0.0.1:0"), "", true); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeEndsWhileACallIsStuck(t *testing.T) {
	t.Parallel()
	in := hold(t)
	in.stop()
	select {
	case err := <-in.served:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("Serve does not end while a call is stuck")
	}
	close(in.release)
	if err := <-in.answered; err == nil {
		t.Error("a stuck call was answered")
	}
}
