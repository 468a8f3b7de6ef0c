package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/internal/logtest"
	"pawl/server"
)

// use makes name.pem and name-key.pem for 127.0.0.1, with that serial number, end and uses.
func (a *authority) use(t *testing.T, name string, serial int64, end time.Time, uses ...x509.ExtKeyUsage) (cert, key string) {
	t.Helper()
	a.issue(t, name, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: end.AddDate(-1, 0, 0), NotAfter: end, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: uses,
	})
	return a.file(name), a.file(name + "-key")
}

const (
	forServers = x509.ExtKeyUsageServerAuth
	forClients = x509.ExtKeyUsageClientAuth
)

// What no client could use is refused when it is opened, and by `pawl check`, with the name of the
// file.
func TestOpenHTTPSRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	later, earlier := time.Now().AddDate(0, 0, 100), time.Now().Add(-time.Minute)
	good, goodKey := ca.use(t, "good", 2, later, forServers)
	any, anyKey := ca.use(t, "any", 3, later)
	ended, endedKey := ca.use(t, "ended", 4, earlier, forServers)
	client, clientKey := ca.use(t, "client", 5, later, forClients)
	endedCA, _ := ca.use(t, "ended-ca", 6, earlier)
	serverCA, _ := ca.use(t, "server-ca", 7, later, forServers)
	both := filepath.Join(dir, "both.pem")
	write(t, both, append(readFile(t, endedCA), readFile(t, ca.file("ca"))...))
	neither := filepath.Join(dir, "neither.pem")
	write(t, neither, append(readFile(t, endedCA), readFile(t, serverCA)...))
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		cert, key, clientCA string
		want                []string // none: it is taken
	}{
		"good":                      {good, goodKey, ca.file("ca"), nil},
		"of any use":                {any, anyKey, "", nil},
		"ended":                     {ended, endedKey, "", []string{ended, "expired at"}},
		"for clients":               {client, clientKey, "", []string{client, "is not for servers"}},
		"a key of another":          {good, anyKey, "", []string{good, anyKey, "does not match"}},
		"an ended authority":        {good, goodKey, endedCA, []string{endedCA, "expired at"}},
		"an authority of servers":   {good, goodKey, serverCA, []string{serverCA, "is not for clients"}},
		"one of two authorities":    {good, goodKey, both, nil},
		"none of two authorities":   {good, goodKey, neither, []string{neither, "is not for clients"}},
		"a pipe for a certificate":  {pipe, goodKey, "", []string{pipe, "not a regular file"}},
		"a pipe for a key":          {good, pipe, "", []string{pipe, "not a regular file"}},
		"a pipe for an authority":   {good, goodKey, pipe, []string{pipe, "not a regular file"}},
		"an endless certificate":    {"/dev/zero", goodKey, "", []string{"/dev/zero", "not a regular file"}},
		"an endless authority":      {good, goodKey, "/dev/zero", []string{"/dev/zero", "not a regular file"}},
		"a folder for a client CA":  {good, goodKey, dir, []string{dir, "not a regular file"}},
		"a key for the certificate": {goodKey, goodKey, "", []string{goodKey}},
	}
	for name, test := range tests {
		files := server.HTTPSFiles{Cert: test.cert, Key: test.key, ClientCA: test.clientCA}
		https, err := server.OpenHTTPS(files)
		checked := files.Check()
		if test.want == nil {
			if err != nil || https.Config() == nil || checked != nil {
				t.Errorf("%s: %v, %v", name, err, checked)
			}
			continue
		}
		for _, err := range []error{err, checked} {
			if https != nil || err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, %v", name, https, err)
				continue
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v does not say %q", name, err, want)
				}
			}
		}
	}
	https, err := server.OpenHTTPS(server.HTTPSFiles{})
	if https != nil || err != nil || https.Config() != nil || https.Certificates() != nil || https.Files() != (server.HTTPSFiles{}) {
		t.Errorf("no files: %v, %v", https, err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// renewing is a server of HTTPS whose files change.
type renewing struct {
	*server.HTTPS
	ca    *authority
	files server.HTTPSFiles
	url   string
	log   *logtest.Buffer
	slog  *slog.Logger
	roots *x509.CertPool
}

func newRenewing(t *testing.T) *renewing {
	t.Helper()
	r := &renewing{ca: newAuthority(t, t.TempDir(), "ca"), log: new(logtest.Buffer), roots: x509.NewCertPool()}
	r.slog = slog.New(slog.NewTextHandler(r.log, nil))
	r.roots.AppendCertsFromPEM(readFile(t, r.ca.file("ca")))
	r.files.Cert, r.files.Key = r.ca.use(t, "server", 7, time.Now().AddDate(0, 0, 100), forServers)
	r.files.ClientCA = filepath.Join(r.ca.dir, "client-ca.pem")
	write(t, r.files.ClientCA, readFile(t, r.ca.file("ca")))
	var err error
	if r.HTTPS, err = server.OpenHTTPS(r.files); err != nil {
		t.Fatal(err)
	}
	rig := newRig(t, setup{})
	r.url = "https://" + serve(t, rig.server, rig.server.Handler(), r.Config())
	return r
}

// client returns one with a certificate of that authority, or without.
func (r *renewing) client(t *testing.T, of *authority) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: r.roots, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if of != nil {
		cert, key := of.use(t, "caller", 8, time.Now().Add(time.Hour), forClients)
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask returns the serial number of the server's certificate, and whether the session was resumed.
func (r *renewing) ask(client *http.Client) (serial int64, resumed bool, err error) {
	res, err := client.Get(r.url + "/authorized_keys")
	if err != nil {
		return 0, false, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.TLS.PeerCertificates[0].SerialNumber.Int64(), res.TLS.DidResume, nil
}

// A renewed certificate is shown to the next connection, and the connections that stand stay. What is
// broken changes nothing, and is told once.
func TestHTTPSCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	r := newRenewing(t)
	old := r.client(t, r.ca)
	wants := func(when string, client *http.Client, serial int64) {
		t.Helper()
		if got, _, err := r.ask(client); err != nil || got != serial {
			t.Errorf("%s: certificate %d, %v, want %d", when, got, err, serial)
		}
	}
	wants("at first", old, 7)
	r.Renew(r.slog)
	if text := r.log.String(); text != "" {
		t.Errorf("unchanged files: %s", text)
	}
	soon := time.Now().AddDate(0, 0, 20)
	cert, key := r.ca.use(t, "next", 9, soon, forServers)
	replace := func(from, to string) {
		t.Helper()
		write(t, to+".new", readFile(t, from))
		if err := os.Rename(to+".new", to); err != nil {
			t.Fatal(err)
		}
	}
	replace(cert, r.files.Cert) // its key comes a little later
	for range 3 {
		r.Renew(r.slog)
		wants("between the two files", r.client(t, r.ca), 7)
	}
	if n := strings.Count(r.log.String(), "HTTPS certificates not renewed"); n != 1 {
		t.Errorf("told %d times:\n%s", n, r.log)
	}
	if end := r.Certificates()[0].Cert.NotAfter; time.Until(end) < 90*24*time.Hour {
		t.Errorf("the end of %v is told, which is not in use", end)
	}
	replace(key, r.files.Key)
	r.Renew(r.slog)
	wants("renewed", r.client(t, r.ca), 9)
	wants("on the connection that stands", old, 7)
	if end := r.Certificates()[0].Cert.NotAfter; end.Sub(soon).Abs() > time.Minute {
		t.Errorf("the end is %v, want %v", end, soon)
	}
	if text := r.log.String(); !strings.Contains(text, "HTTPS certificates renewed") || !strings.Contains(text, "certificate ends soon") {
		t.Errorf("the log:\n%s", text)
	}
	for name, spoil := range map[string]func(){
		"ended": func() {
			c, k := r.ca.use(t, "e", 10, time.Now().Add(-time.Hour))
			replace(c, r.files.Cert)
			replace(k, r.files.Key)
		},
		"for clients": func() {
			c, k := r.ca.use(t, "c", 11, soon, forClients)
			replace(c, r.files.Cert)
			replace(k, r.files.Key)
		},
		"cut short": func() { write(t, r.files.Cert, readFile(t, cert)[:100]) },
		"gone":      func() { _ = os.Remove(r.files.Key) },
		"a pipe":    func() { _ = os.Remove(r.files.Cert); _ = unix.Mkfifo(r.files.Cert, 0o600) },
	} {
		spoil()
		r.Renew(r.slog)
		wants(name, r.client(t, r.ca), 9)
		_ = os.Remove(r.files.Cert)
		replace(cert, r.files.Cert)
		replace(key, r.files.Key)
		r.Renew(r.slog)
	}
}

// The authority of clients is renewed likewise: a client of the old one is refused, be it with a session
// that it resumes, and one of the new is served.
func TestHTTPSClientAuthorityIsRenewed(t *testing.T) {
	t.Parallel()
	r := newRenewing(t)
	other := newAuthority(t, t.TempDir(), "other")
	before := r.client(t, r.ca)
	if _, _, err := r.ask(before); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.ask(r.client(t, other)); err == nil {
		t.Error("a stranger is served")
	}
	before.CloseIdleConnections()
	if _, resumed, err := r.ask(before); err != nil || !resumed {
		t.Errorf("resumed %v, %v", resumed, err)
	}
	write(t, r.files.ClientCA, []byte("half"))
	r.Renew(r.slog)
	if _, _, err := r.ask(r.client(t, r.ca)); err != nil {
		t.Errorf("with a file half-written: %v", err)
	}
	write(t, r.files.ClientCA, readFile(t, other.file("other")))
	r.Renew(r.slog)
	if _, _, err := r.ask(r.client(t, other)); err != nil {
		t.Errorf("a client of the new authority: %v\n%s", err, r.log)
	}
	if _, _, err := r.ask(r.client(t, r.ca)); err == nil {
		t.Error("a client of the old authority is served")
	}
	before.CloseIdleConnections()
	if _, resumed, err := r.ask(before); err == nil {
		t.Errorf("a client of the old authority is served, its session resumed: %v", resumed)
	}
}
