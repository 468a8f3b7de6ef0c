package softcard

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"time"
)

// certificateYears is how long a card's certificates last. They cannot be renewed, and no
// demonstration lasts that long.
const certificateYears = 10

// authority signs the certificates of one card and is then forgotten.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newCertificates makes the PEM files of a card: an authority, a server for the loopback
// names, and a client.
func newCertificates() (map[string][]byte, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{caFile: pemBlock("CERTIFICATE", ca.certificate.Raw)}
	server := leaf("pawl software card", x509.ExtKeyUsageServerAuth)
	server.DNSNames = []string{"localhost"}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if files[serverFile], files[serverKeyFile], err = ca.issue(server); err != nil {
		return nil, err
	}
	client := leaf("pawl", x509.ExtKeyUsageClientAuth)
	if files[clientFile], files[clientKeyFile], err = ca.issue(client); err != nil {
		return nil, err
	}
	return files, nil
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("key of the card's authority: %v", err)
	}
	template := validity()
	template.Subject = pkix.Name{CommonName: "pawl software card authority"}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("certificate of the card's authority: %v", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("certificate of the card's authority: %v", err)
	}
	return authority{certificate: certificate, key: key}, nil
}

// issue makes a key and its certificate, both in PEM.
func (a authority) issue(template *x509.Certificate) (certificate, private []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("key of %s: %v", template.Subject.CommonName, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %v", template.Subject.CommonName, err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("key of %s: %v", template.Subject.CommonName, err)
	}
	return pemBlock("CERTIFICATE", der), pemBlock("PRIVATE KEY", encoded), nil
}

func leaf(name string, use x509.ExtKeyUsage) *x509.Certificate {
	template := validity()
	template.Subject = pkix.Name{CommonName: name}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{use}
	template.BasicConstraintsValid = true
	return template
}

// validity starts an hour ago, because the clocks of two hosts differ.
func validity() *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(certificateYears, 0, 0)}
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
