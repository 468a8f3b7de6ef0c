package certfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/internal/certfile"
	"pawl/internal/durable"
)

// issue returns a certificate of that name and end in PEM, and its key.
func issue(t *testing.T, name string, end time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: end.AddDate(-1, 0, 0), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// put writes a file and returns its path.
func put(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Of one's own file the first certificate counts, of one with authorities that which ends last. Keys
// and notes between them do not matter.
func TestWhichCertificateCounts(t *testing.T) {
	t.Parallel()
	var all [3][]byte
	for i, days := range []int{100, -1, 200} {
		all[i], _ = issue(t, []string{"a", "b", "c"}[i], time.Now().AddDate(0, 0, days))
	}
	_, key := issue(t, "key", time.Now())
	for order, want := range map[[3]int][2]string{{0, 1, 2}: {"a", "c"}, {1, 2, 0}: {"b", "c"}, {2, 0, 1}: {"c", "c"}} {
		path := put(t, t.TempDir(), "all.pem", slices.Concat(all[order[0]], key, []byte("a note\n"), all[order[1]], all[order[2]]))
		leaf, latest := certfile.Leaf("cert_path", path), certfile.Authorities("cacert_path", path)
		if leaf.Err != nil || leaf.Cert.Subject.CommonName != want[0] || leaf.Name != "cert_path" || leaf.Path != path {
			t.Errorf("%v: %+v", order, leaf)
		}
		if latest.Err != nil || latest.Cert.Subject.CommonName != want[1] {
			t.Errorf("%v: %+v", order, latest)
		}
		if list, err := certfile.Read(path); err != nil || len(list) != 3 || len(certfile.Pool(list).Subjects()) != 3 { //nolint:staticcheck // not of the system
			t.Errorf("%v: %d certificates, %v", order, len(list), err)
		}
	}
}

// A pipe, a device and a folder are not waited for and not read without end.
func TestOddFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := issue(t, "a", time.Now().Add(time.Hour))
	_, other := issue(t, "b", time.Now().Add(time.Hour))
	good, goodKey, otherKey := put(t, dir, "a.pem", cert), put(t, dir, "a-key.pem", key), put(t, dir, "b-key.pem", other)
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if pair, err := certfile.Pair(good, goodKey); err != nil || pair.Leaf.Subject.CommonName != "a" {
		t.Errorf("%v", err)
	}
	if _, err := certfile.Pair(good, otherKey); err == nil || !strings.Contains(err.Error(), good) ||
		!strings.Contains(err.Error(), otherKey) || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("a key of another certificate: %v", err)
	}
	for odd, want := range map[string]error{
		pipe: durable.ErrNotRegular, "/dev/zero": durable.ErrNotRegular, dir: durable.ErrNotRegular,
		filepath.Join(dir, "none"): fs.ErrNotExist, put(t, dir, "empty", nil): nil, put(t, dir, "text", []byte("text")): nil,
	} {
		began := time.Now()
		_, readErr := certfile.Read(odd)
		_, certErr := certfile.Pair(odd, goodKey)
		_, keyErr := certfile.Pair(good, odd)
		for _, err := range []error{readErr, certErr, keyErr, certfile.Leaf("", odd).Err} {
			if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), odd) {
				t.Errorf("%s: %v, want %v and the name", odd, err, want)
			}
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%s took %v", odd, took)
		}
	}
}

// Files as Windows writes them are read, or named as what they are. An encrypted key is called that.
func TestFormsOfFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := issue(t, "a", time.Now().Add(time.Hour))
	windows := func(text []byte) []byte {
		return append([]byte("\xef\xbb\xbf"), bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))...)
	}
	path, keyPath := put(t, dir, "a.pem", windows(cert)), put(t, dir, "a-key.pem", windows(key))
	if _, err := certfile.Pair(path, keyPath); err != nil {
		t.Error(err)
	}
	if list, err := certfile.Read(path); err != nil || len(list) != 1 {
		t.Errorf("%d certificates, %v", len(list), err)
	}
	unicode := put(t, dir, "unicode.pem", []byte("\xff\xfe-\x00-\x00"))
	_, readErr := certfile.Read(unicode)
	_, certErr := certfile.Pair(unicode, keyPath)
	_, keyErr := certfile.Pair(path, unicode)
	for _, err := range []error{readErr, certErr, keyErr} {
		if !errors.Is(err, durable.ErrUTF16) || !strings.Contains(err.Error(), unicode) {
			t.Errorf("UTF-16: %v", err)
		}
	}
	for name, block := range map[string]*pem.Block{
		"pkcs8": {Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")},
		"older": {Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "x"}, Bytes: []byte("x")},
	} {
		encrypted := put(t, dir, name, append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), pem.EncodeToMemory(block)...))
		if _, err := certfile.Pair(path, encrypted); !errors.Is(err, certfile.ErrEncrypted) || !strings.Contains(err.Error(), encrypted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for days, want := range map[int]struct{ ended, soon bool }{-1: {true, true}, 29: {false, true}, 31: {false, false}} {
		end := time.Now().AddDate(0, 0, days)
		cert, _ := issue(t, "a", end)
		file := certfile.Leaf("x", put(t, t.TempDir(), "a.pem", cert))
		if err := certfile.CheckEnd(file.Cert); (err != nil) != want.ended {
			t.Errorf("in %d days: %v", days, err)
		}
		soon := file.EndsSoon()
		if (soon != "") != want.soon || want.soon && !strings.Contains(soon, end.UTC().Format(time.DateOnly)) {
			t.Errorf("in %d days: %q", days, soon)
		}
	}
	if soon := (certfile.File{Err: fs.ErrNotExist}).EndsSoon(); soon != "" {
		t.Errorf("without a certificate: %q", soon)
	}
}

func TestCheckUse(t *testing.T) {
	t.Parallel()
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	foreign := []asn1.ObjectIdentifier{{1, 2, 3}}
	for _, test := range []struct {
		cert   x509.Certificate
		use    x509.ExtKeyUsage
		usable bool
	}{
		{x509.Certificate{}, server, true},
		{x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{client, server}}, server, true},
		{x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}, server, true},
		{x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{client}}, server, false},
		{x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{server}}, client, false},
		{x509.Certificate{UnknownExtKeyUsage: foreign}, server, false},
	} {
		if err := certfile.CheckUse(&test.cert, test.use); (err == nil) != test.usable {
			t.Errorf("%v %v for %v: %v", test.cert.ExtKeyUsage, test.cert.UnknownExtKeyUsage, test.use, err)
		}
	}
}

// A file that was changed in any way has another stamp, through a link too.
func TestStamp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, ca := put(t, dir, "cert", []byte("1")), put(t, dir, "key", []byte("1")), put(t, dir, "ca", []byte("1"))
	link := filepath.Join(dir, "link")
	if err := os.Symlink("cert", link); err != nil {
		t.Fatal(err)
	}
	stamp := certfile.StampOf(link, key, ca)
	if stamp != certfile.StampOf(link, key, ca) || stamp != certfile.StampOf(cert, key, ca) {
		t.Error("two stamps of unchanged files")
	}
	for name, change := range map[string]func() error{
		"longer":   func() error { return os.WriteFile(cert, []byte("12"), 0o600) },
		"touched":  func() error { return os.Chtimes(key, time.Now(), time.Now().Add(time.Hour)) },
		"replaced": func() error { put(t, dir, "new", []byte("1")); return os.Rename(filepath.Join(dir, "new"), ca) },
		"away":     func() error { return os.Remove(cert) },
	} {
		before := certfile.StampOf(link, key, ca)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if certfile.StampOf(link, key, ca) == before {
			t.Errorf("%s: the same stamp", name)
		}
	}
}
