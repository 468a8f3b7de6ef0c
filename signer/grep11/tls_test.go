package grep11_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"pawl/signer/grep11"
)

// authority is a CA with a folder for what it issues.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := newTLSKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{dir: t.TempDir(), cert: cert, key: key}
	writePEM(t, a.path("ca.pem"), "CERTIFICATE", der)
	return a
}

func newTLSKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// issue writes <name>.pem and <name>-key.pem, valid until end, for the given hosts.
func (a *authority) issue(t *testing.T, name string, serial int64, end time.Time, hosts ...string) {
	t.Helper()
	key := newTLSKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.path(name+".pem"), "CERTIFICATE", der)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.path(name+"-key.pem"), "PRIVATE KEY", raw)
}

// serveTLS serves with the certificate "server" of a, for clients of a only. The serial
// number of the client certificate last seen is in seen.
func (a *authority) serveTLS(t *testing.T, address string, seen *atomic.Int64, maxVersion uint16, server *scripted) (bound string, stop func()) {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(a.path("server.pem"), a.path("server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	config := &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MaxVersion: maxVersion, MinVersion: tls.VersionTLS10,
		VerifyConnection: func(state tls.ConnectionState) error {
			seen.Store(state.PeerCertificates[0].SerialNumber.Int64())
			return nil
		},
	}
	return serve(t, address, server.register, grpc.Creds(credentials.NewTLS(config)))
}

// standing is a server of an authority with a client, whose certificate is no. 7 and whose
// connection stands.
type standing struct {
	*authority
	address string
	stop    func()
	seen    atomic.Int64 // the client certificate that the server saw last
	client  *grep11.Client
	soon    time.Time // when certificates end
}

func newStanding(t *testing.T) *standing {
	t.Helper()
	s := &standing{authority: newAuthority(t), soon: time.Now().Add(time.Hour)}
	s.issue(t, "server", 2, s.soon, "127.0.0.1")
	s.issue(t, "client", 7, s.soon)
	s.address, s.stop = s.serveTLS(t, "127.0.0.1:0", &s.seen, 0, &scripted{})
	s.client = dialTLS(t, s.config(s.address))
	eventually(t, "connecting", func() error { return s.client.Ping(t.Context()) })
	return s
}

func (a *authority) config(address string) grep11.Config {
	return grep11.Config{
		Address: address, CertPath: a.path("client.pem"), KeyPath: a.path("client-key.pem"), CACertPath: a.path("ca.pem"),
	}
}

func dialTLS(t *testing.T, cfg grep11.Config) *grep11.Client {
	t.Helper()
	client, err := grep11.Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// withHost replaces the host of address.
func withHost(t *testing.T, address, host string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, port)
}

// named changes server_name.
func named(name string) func(*grep11.Config) {
	return func(c *grep11.Config) { c.ServerName = name }
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	a, other := newAuthority(t), newAuthority(t)
	a.issue(t, "client", 7, soon)
	other.issue(t, "client", 8, soon)
	tests := map[string]struct {
		server string // host in the server's certificate
		host   string // host dialled
		end    time.Time
		max    uint16
		change func(*grep11.Config)
		want   []string // nil: it works
	}{
		"address":            {server: "127.0.0.1", host: "127.0.0.1"},
		"name":               {server: "localhost", host: "localhost"},
		"server name given":  {server: "hsm.example", host: "127.0.0.1", change: named("hsm.example")},
		"TLS 1.2":            {server: "127.0.0.1", host: "127.0.0.1", max: tls.VersionTLS12},
		"TLS 1.1":            {server: "127.0.0.1", host: "127.0.0.1", max: tls.VersionTLS11, want: []string{"protocol version not supported"}},
		"name of another":    {server: "hsm.example", host: "localhost", want: []string{"certificate is valid for hsm.example, not localhost"}},
		"other name given":   {server: "localhost", host: "localhost", change: named("hsm.example"), want: []string{"valid for localhost, not hsm.example"}},
		"name with a port":   {server: "localhost:9876", host: "127.0.0.1", change: named("localhost:9876")},
		"port not certified": {server: "localhost", host: "localhost", change: named("localhost:9876"), want: []string{"valid for localhost, not localhost:9876"}},
		"port certified":     {server: "localhost:9876", host: "localhost", want: []string{"valid for localhost:9876, not localhost"}},
		"another port":       {server: "localhost:9876", host: "localhost", change: named("localhost:9877"), want: []string{"valid for localhost:9876, not localhost:9877"}},
		"expired server":     {server: "127.0.0.1", host: "127.0.0.1", end: time.Now().Add(-time.Minute), want: []string{"certificate has expired"}},
		"server of other CA": {server: "127.0.0.1", host: "127.0.0.1", change: func(c *grep11.Config) { c.CACertPath = other.path("ca.pem") }, want: []string{"certificate signed by unknown authority"}},
		"client of other CA": {server: "127.0.0.1", host: "127.0.0.1", change: func(c *grep11.Config) {
			c.CertPath, c.KeyPath = other.path("client.pem"), other.path("client-key.pem")
		}, want: []string{"Unavailable: remote error: tls: ", ": the server refuses the client certificate, see cert_path"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.end.IsZero() {
				test.end = soon
			}
			a.issue(t, "server", 2, test.end, test.server)
			var seen atomic.Int64
			address, _ := a.serveTLS(t, "127.0.0.1:0", &seen, test.max, &scripted{})
			cfg := a.config(withHost(t, address, test.host))
			if test.change != nil {
				test.change(&cfg)
			}
			// pawl check finds what the client finds. Only the server knows that it refuses a certificate.
			_, shaken := grep11.Handshake(t.Context(), cfg)
			if good := test.want == nil || name == "client of other CA"; (shaken == nil) != good ||
				!good && !strings.Contains(shaken.Error(), test.want[0]) {
				t.Errorf("Handshake: %v, want %q", shaken, test.want)
			}
			client := dialTLS(t, cfg)
			if test.want == nil {
				eventually(t, "connecting", func() error { return client.Ping(t.Context()) })
				if seen.Load() != 7 {
					t.Errorf("the server saw client certificate no. %d", seen.Load())
				}
				return
			}
			err := client.Ping(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(test.want, "GetMechanismList: Unavailable: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") || !grep11.Transient(err) {
				t.Errorf("got %q", err)
			}
		})
	}
}

// IPv6 addresses, with the zone that link-local ones need too.
func TestMutualTLSOverIPv6(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	_ = free.Close()
	a := newAuthority(t)
	a.issue(t, "server", 2, time.Now().Add(time.Hour), "::1")
	a.issue(t, "client", 7, time.Now().Add(time.Hour))
	var seen atomic.Int64
	address, _ := a.serveTLS(t, "[::1]:0", &seen, 0, &scripted{})
	for _, host := range []string{"::1", "::1%lo"} {
		cfg := a.config(withHost(t, address, host))
		client := dialTLS(t, cfg)
		eventually(t, "connecting to "+cfg.Address, func() error { return client.Ping(t.Context()) })
		if _, err := grep11.Handshake(t.Context(), cfg); err != nil {
			t.Errorf("%s: %v", cfg.Address, err)
		}
	}
}

func TestDialNamesTheBadCertificateFile(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "client", 7, time.Now().Add(time.Hour))
	a.issue(t, "other", 8, time.Now().Add(time.Hour))
	a.issue(t, "expired", 9, time.Now().Add(-time.Minute))
	writePEM(t, a.path("empty.pem"), "NOTHING", nil)
	tests := map[string]struct {
		change func(*grep11.Config)
		want   []string
	}{
		"no certificate":      {func(c *grep11.Config) { c.CertPath = "" }, []string{"cert_path"}},
		"no key":              {func(c *grep11.Config) { c.KeyPath = "" }, []string{"key_path"}},
		"no CA":               {func(c *grep11.Config) { c.CACertPath = "" }, []string{"cacert_path"}},
		"absent certificate":  {func(c *grep11.Config) { c.CertPath = a.path("x.pem") }, []string{"client certificate", a.path("x.pem"), "no such file"}},
		"absent key":          {func(c *grep11.Config) { c.KeyPath = a.path("x.pem") }, []string{"client certificate", a.path("x.pem"), "no such file"}},
		"absent CA":           {func(c *grep11.Config) { c.CACertPath = a.path("x.pem") }, []string{"CA certificate", a.path("x.pem"), "no such file"}},
		"empty CA":            {func(c *grep11.Config) { c.CACertPath = a.path("empty.pem") }, []string{"CA certificate", a.path("empty.pem"), "no certificate in PEM form"}},
		"key of another":      {func(c *grep11.Config) { c.KeyPath = a.path("other-key.pem") }, []string{a.path("other-key.pem"), "does not match"}},
		"expired certificate": {func(c *grep11.Config) { c.CertPath, c.KeyPath = a.path("expired.pem"), a.path("expired-key.pem") }, []string{a.path("expired.pem"), "expired at"}},
	}
	for name, test := range tests {
		cfg := a.config("127.0.0.1:9876")
		test.change(&cfg)
		client, err := grep11.Dial(cfg)
		if client != nil || err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
}

func TestRenewedCertificatesAreUsed(t *testing.T) {
	t.Parallel()
	a := newStanding(t)
	if a.seen.Load() != 7 {
		t.Fatalf("the server saw certificate no. %d", a.seen.Load())
	}
	a.stop()

	// Both sides move to another CA while the client runs.
	renewed := newAuthority(t)
	renewed.dir = a.dir
	writePEM(t, a.path("ca.pem"), "CERTIFICATE", renewed.cert.Raw)
	renewed.issue(t, "server", 3, a.soon, "127.0.0.1")
	renewed.issue(t, "client", 9, a.soon)
	renewed.serveTLS(t, a.address, &a.seen, 0, &scripted{})
	eventually(t, "connecting again", func() error { return a.client.Ping(t.Context()) })
	if a.seen.Load() != 9 {
		t.Errorf("the server saw certificate no. %d, want 9", a.seen.Load())
	}
}

// A server that is lost while a file is spoilt is connected to again with what the files
// were before. Reload names the file, and mending it is enough.
func TestCertificateSpoiltLater(t *testing.T) {
	t.Parallel()
	a := newStanding(t)
	a.stop()
	a.seen.Store(0)
	writePEM(t, a.path("client.pem"), "NOTHING", nil)
	_, stop := a.serveTLS(t, a.address, &a.seen, 0, &scripted{})
	eventually(t, "connecting again", func() error { return a.client.Ping(t.Context()) })
	if a.seen.Load() != 7 {
		t.Errorf("the server saw certificate no. %d, want 7", a.seen.Load())
	}
	named := "grep11 client certificate: " + a.path("client.pem")
	if _, err := a.client.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), named) {
		t.Errorf("Reload: %v; want the file named", err)
	}

	// A server that is not taken with them: the file is what is wrong.
	stop()
	stranger := newAuthority(t)
	stranger.issue(t, "server", 3, a.soon, "127.0.0.1")
	_, stop = stranger.serveTLS(t, a.address, &a.seen, 0, &scripted{})
	eventually(t, "error that names the file", func() error {
		if err := a.client.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), named) {
			return fmt.Errorf("ping gave %v", err)
		}
		return nil
	})
	stop()
	a.serveTLS(t, a.address, &a.seen, 0, &scripted{})
	a.issue(t, "client", 11, a.soon)
	eventually(t, "connecting again", func() error { return a.client.Ping(t.Context()) })
	if a.seen.Load() != 11 {
		t.Errorf("the server saw certificate no. %d, want 11", a.seen.Load())
	}
}

// In TLS 1.3 the client learns after its handshake that it was refused.
func TestRefusalByTheServerIsReadWhenAWriteFails(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	a.issue(t, "server", 2, time.Now().Add(time.Hour), "127.0.0.1")
	other.issue(t, "client", 8, time.Now().Add(time.Hour))
	var seen atomic.Int64
	address, _ := a.serveTLS(t, "127.0.0.1:0", &seen, 0, &scripted{})
	cert, err := tls.LoadX509KeyPair(other.path("client.pem"), other.path("client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	raw, err := tls.Dial("tcp", address, &tls.Config{
		RootCAs: pool, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	conn := grep11.Explain(raw)
	eventually(t, "a write that fails", func() error {
		if _, err = conn.Write([]byte("x")); err == nil {
			return errors.New("it passed")
		}
		return nil
	})
	if !strings.Contains(err.Error(), "remote error: tls: ") {
		t.Errorf("got %v, want the server's alert", err)
	}
}
