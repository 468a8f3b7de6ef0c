package cardtest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
)

// Client serves card without TLS and returns a client of the bare protocol.
func Client(tb testing.TB, card *softcard.Card) pb.CryptoClient {
	tb.Helper()
	return pb.NewCryptoClient(Connect(tb, Serve(tb, card, "").Address))
}

// Connect connects to a server without TLS.
func Connect(tb testing.TB, address string) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Front serves a server of the test, which stands before a card and changes requests and
// answers. It serves on ln with mutual TLS and the certificates of dir, or without TLS if
// dir is "". It returns the configuration of a client.
func Front(tb testing.TB, server pb.CryptoServer, dir softcard.Dir, ln net.Listener) grep11.Config {
	tb.Helper()
	creds := insecure.NewCredentials()
	if dir != "" {
		creds = serverCredentials(tb, dir)
	}
	front := grpc.NewServer(grpc.Creds(creds))
	pb.RegisterCryptoServer(front, server)
	done := make(chan error, 1)
	go func() { done <- front.Serve(ln) }()
	tb.Cleanup(func() {
		front.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // a short test may stop it first
			tb.Errorf("server before the card: %v", err)
		}
	})
	return configOf(ln.Addr().String(), dir)
}

func serverCredentials(tb testing.TB, dir softcard.Dir) credentials.TransportCredentials {
	tb.Helper()
	file := func(name string) string { return filepath.Join(string(dir), name) }
	pair, err := tls.LoadX509KeyPair(file("server.pem"), file("server-key.pem"))
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := os.ReadFile(file("ca.pem"))
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	})
}
