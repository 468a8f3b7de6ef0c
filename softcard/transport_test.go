package softcard_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// shown connects to a server with the certificates of d and the name of a server, and returns the DNS names of
// the certificate that it shows.
func shown(t *testing.T, d softcard.Dir, address, name string) ([]string, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{
		RootCAs: authority(t, d), Certificates: certificate(t, d, "client"), ServerName: name,
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].DNSNames, nil
}

// The certificate bears the host with the port of the server, whatever port that is. Other names are as
// they were.
func TestServerBearsItsPort(t *testing.T) {
	t.Parallel()
	d := cardtest.Folder(t)
	for range 2 {
		address := serveTLS(t, d, "127.0.0.1:0")
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"localhost", "localhost:" + port, "127.0.0.1:" + port}
		for name, good := range map[string]bool{
			"localhost": true, "localhost:" + port: true, "127.0.0.1": true, "127.0.0.1:" + port: true, "::1": true,
			"localhost:1": false, "localhost:": false, "hsm.example": false, "hsm.example:" + port: false, "10.0.0.1": false,
		} {
			names, err := shown(t, d, address, name)
			if good != (err == nil) || good && !slices.Equal(names, want) {
				t.Errorf("%s: names %q, %v", name, names, err)
			}
			cfg := (&cardtest.Server{Address: address, Dir: d}).Config()
			cfg.ServerName = name
			if _, err := grep11.Handshake(t.Context(), cfg); good != (err == nil) {
				t.Errorf("pawl's client, %s: %v", name, err)
			}
		}
	}
}

// A folder without ca-key.pem, and a certificate of another authority, are served as they are.
func TestCertificateThatIsNotTheAuthoritys(t *testing.T) {
	t.Parallel()
	older, foreign, other := cardtest.Folder(t), cardtest.Folder(t), cardtest.Folder(t)
	err := os.Remove(filepath.Join(string(older), "ca-key.pem"))
	for _, name := range []string{"server.pem", "server-key.pem"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(string(foreign), name), []byte(contents(t, other)[name]), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]struct{ d, ca softcard.Dir }{"older": {older, older}, "foreign": {foreign, other}} {
		address := serveTLS(t, of.d, "127.0.0.1:0")
		conn, err := tls.Dial("tcp", address, &tls.Config{
			RootCAs: authority(t, of.ca), Certificates: certificate(t, of.d, "client"), ServerName: "localhost",
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if names := conn.ConnectionState().PeerCertificates[0].DNSNames; !slices.Equal(names, []string{"localhost"}) {
			t.Errorf("%s: names %q", name, names)
		}
		_ = conn.Close()
	}
}

func TestBrokenAuthorityIsNamed(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(path string) error{
		"garbage": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"open":    func(path string) error { return os.Chmod(path, 0o644) },
		"of another": func(path string) error {
			return os.WriteFile(path, []byte(contents(t, cardtest.Folder(t))["ca-key.pem"]), 0o600)
		},
	} {
		d := cardtest.Folder(t)
		card := cardtest.Open(t, d)
		if err := broken(filepath.Join(string(d), "ca-key.pem")); err != nil {
			t.Fatal(err)
		}
		err := card.Serve(t.Context(), cardtest.Listen(t, "127.0.0.1:0"), d, false)
		if err == nil || !strings.Contains(err.Error(), "ca-key.pem") || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
		const remedy = "if ca.pem is your own, remove ca-key.pem"
		if name == "of another" && !strings.Contains(err.Error(), remedy) {
			t.Errorf("%v, want it to say %q", err, remedy)
		}
	}
}

// A card as at IBM Cloud: no client certificate, and a token with each call.
func TestClientsWithoutCertificate(t *testing.T) {
	t.Parallel()
	d := cardtest.Folder(t)
	none := credentials.NewTLS(&tls.Config{RootCAs: authority(t, d), ServerName: "localhost"})
	for _, token := range []string{"", "token-1"} {
		card := cardtest.Open(t, d)
		card.AnyClient, card.BearerToken = true, token
		s := cardtest.ServeOn(t, card, d, cardtest.Listen(t, "127.0.0.1:0"))
		err := ping(t, s.Address, none)
		if token == "" && err != nil {
			t.Errorf("without a token: %v", err)
		}
		if token != "" {
			wantCode(t, err, ep11.CodeIBMNotAuthenticated)
		}
		ln, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := card.Serve(ended, ln, d, false); (err == nil) != (token != "") {
			t.Errorf("on all addresses, token %q: %v", token, err)
		}
	}
}

func TestBearerToken(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	card.BearerToken = "token-1"
	c := cardtest.Client(t, card)
	for _, test := range []struct {
		headers []string
		good    bool
	}{
		{nil, false},
		{[]string{"Bearer token-1"}, true},
		{[]string{"bearer token-1"}, true},
		{[]string{"Basic x", "Bearer token-1"}, true},
		{[]string{"Bearer token-2"}, false},
		{[]string{"Bearer token-11"}, false},
		{[]string{"Bearer  token-1"}, false},
		{[]string{"token-1"}, false},
		{[]string{"Basic token-1"}, false},
		{[]string{"Bearer "}, false},
		{[]string{""}, false},
	} {
		ctx := t.Context()
		for _, value := range test.headers {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
		}
		_, list := c.GetMechanismList(ctx, &pb.GetMechanismListRequest{})
		_, random := c.GenerateRandom(ctx, &pb.GenerateRandomRequest{Len: 1})
		for call, err := range map[string]error{"GetMechanismList": list, "GenerateRandom": random} {
			switch {
			case test.good && err != nil:
				t.Errorf("%q, %s: %v", test.headers, call, err)
			case !test.good:
				wantCode(t, err, ep11.CodeIBMNotAuthenticated)
				if status.Code(err) != codes.Unauthenticated || strings.Contains(fmt.Sprint(err), "token-") {
					t.Errorf("%q, %s: %v", test.headers, call, err)
				}
			}
		}
	}
}
