package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pawl/signer/grep11"
)

// certificateUntil returns a certificate in PEM that ends then.
func certificateUntil(t *testing.T, end time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Of the CAs in a file the last to end counts, of the client's certificates the first.
func TestCheckOfSeveralCertificates(t *testing.T) {
	t.Parallel()
	var all [3][]byte
	ends := make(map[int]string)
	for i, days := range []int{100, -1, 200} {
		end := time.Now().AddDate(0, 0, days)
		all[i], ends[days] = certificateUntil(t, end), end.UTC().Format(time.RFC3339)
	}
	path := filepath.Join(t.TempDir(), "all.pem")
	for order, days := range map[[3]int][2]int{{0, 1, 2}: {100, 200}, {1, 2, 0}: {-1, 200}, {2, 0, 1}: {200, 200}} {
		if err := os.WriteFile(path, slices.Concat(all[order[0]], all[order[1]], all[order[2]]), 0o600); err != nil {
			t.Fatal(err)
		}
		var r Report
		r.certificates(grep11.Config{CertPath: path, CACertPath: path}.Certificates(), "")
		for i, subject := range []string{"cert_path", "cacert_path"} {
			status, end := OK, ends[days[i]]
			if days[i] < 0 {
				status = Error
			}
			r.wants(t, status, subject, end)
		}
	}
}
