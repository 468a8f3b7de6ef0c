package signer

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"
)

// certificateWarning is how long before its end a certificate is warned of.
const certificateWarning = 30 * 24 * time.Hour

// CertificateEnds says when the certificates of the HSM connection end, by
// their names in keys.json. The files are read anew, as each connection does;
// one that cannot be read is left out.
func (s *Signer) CertificateEnds() map[string]time.Time {
	ends := make(map[string]time.Time, len(s.certificates))
	for name, path := range s.certificates {
		if end, err := certificateEnd(path); err == nil {
			ends[name] = end
		}
	}
	return ends
}

// certificateEnd is when the first certificate of a PEM file ends.
func certificateEnd(path string) (time.Time, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return time.Time{}, fmt.Errorf("%s: no PEM block", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", path, err)
	}
	return cert.NotAfter, nil
}
