package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pawl/server"
)

func TestCheckListen(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{
		"127.0.0.1:6732", "127.1.2.3:1", "[::1]:6732", "localhost:6732", "[::ffff:127.0.0.1]:6732",
	} {
		if err := server.CheckListen(addr, false, false); err != nil {
			t.Errorf("%s: %v, want no error on loopback", addr, err)
		}
	}
	for _, addr := range []string{
		"0.0.0.0:6732", ":6732", "[::]:6732", "192.168.0.1:6732", "10.0.0.1:6732", "[fe80::1%eth0]:6732",
		"baker.example:6732", "localhost.example:1", "127.1:6732",
	} {
		err := server.CheckListen(addr, false, false)
		if err == nil || !strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line that names the address", addr, err)
		}
		if err := server.CheckListen(addr, true, false); err != nil {
			t.Errorf("%s guarded: %v", addr, err)
		}
		if err := server.CheckListen(addr, false, true); err != nil {
			t.Errorf("%s behind a tunnel: %v", addr, err)
		}
	}
	for _, addr := range []string{"", "6732", "127.0.0.1", "http://127.0.0.1:6732", "::1:6732"} {
		if err := server.CheckListen(addr, true, true); err == nil {
			t.Errorf("%q: no error, want host:port", addr)
		}
	}
}

// authority is a CA with a folder for the certificates that it issues.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes name.pem in dir.
func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{dir: dir, cert: template}
	a.key = a.issue(t, name, template)
	return a
}

// leaf makes name.pem and name-key.pem for 127.0.0.1.
func (a *authority) leaf(t *testing.T, name string) (cert, key string) {
	t.Helper()
	a.issue(t, name, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return a.file(name), a.file(name + "-key")
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signing := a.key
	if signing == nil { // the authority itself
		signing = key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, signing)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.file(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	write(t, a.file(name+"-key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return key
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLSConfigRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	cert, key := ca.leaf(t, "server")
	_, otherKey := ca.leaf(t, "other")
	_, openKey := ca.leaf(t, "open")
	if err := os.Chmod(openKey, 0o640); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.pem")
	write(t, empty, nil)
	missing := filepath.Join(dir, "missing.pem")
	tests := map[string]struct{ cert, key, clientCA, names string }{
		"no key":                  {cert, "", "", "--tls-key"},
		"no certificate":          {"", key, "", "--tls-cert"},
		"only a client authority": {"", "", ca.file("ca"), "--tls-cert"},
		"missing certificate":     {missing, key, "", missing},
		"missing key":             {cert, missing, "", missing},
		"missing authority":       {cert, key, missing, missing},
		"readable key":            {cert, openKey, "", "chmod 600 " + openKey},
		"another key":             {cert, otherKey, "", otherKey},
		"empty certificate":       {empty, key, "", empty},
		"empty key":               {cert, empty, "", empty},
		"empty authority":         {cert, key, empty, empty},
	}
	for name, tt := range tests {
		cfg, err := server.TLSConfig(tt.cert, tt.key, tt.clientCA)
		if err == nil || cfg != nil || !strings.Contains(err.Error(), tt.names) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want an error of one line with %q", name, err, tt.names)
		}
	}
	if cfg, err := server.TLSConfig("", "", ""); cfg != nil || err != nil {
		t.Errorf("without files: %v %v, want no TLS and no error", cfg, err)
	}
}

func TestTLSConfigDemandsClientCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "ca")
	cert, key := ca.leaf(t, "server")
	open, err := server.TLSConfig(cert, key, "")
	if err != nil || open.ClientAuth != tls.NoClientCert || open.MinVersion != tls.VersionTLS12 ||
		open.SessionTicketsDisabled {
		t.Errorf("without authority: %+v %v", open, err)
	}
	guarded, err := server.TLSConfig(cert, key, ca.file("ca"))
	if err != nil || guarded.ClientAuth != tls.RequireAndVerifyClientCert || guarded.ClientCAs == nil {
		t.Errorf("with authority: %+v %v", guarded, err)
	}
}
