package softcard

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// certificateYears is how long a card's certificates last. They cannot be renewed, and no
// demonstration lasts that long.
const certificateYears = 10

// authority signs the certificates of one card.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newCertificates makes the PEM files of a card: an authority with its key, a server for the loopback
// names, and a client.
func newCertificates() (map[string][]byte, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	caKey, err := pemKey(ca.key)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{caFile: pemBlock("CERTIFICATE", ca.certificate.Raw), caKeyFile: caKey}
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
	private, err = pemKey(key)
	return pemBlock("CERTIFICATE", der), private, err
}

// readAuthority reads an authority from its two files.
func readAuthority(certificate, key []byte) (authority, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return authority{}, err
	}
	private, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return authority{}, errors.New("the authority's key is not an EC key")
	}
	return authority{certificate: pair.Leaf, key: private}, nil
}

// withPort issues a server's certificate again, with localhost:port and 127.0.0.1:port among its DNS
// names. They are no names of the DNS, but there are clients of GREP11 servers that expect the host
// with its port there. They stand last, for a client that stops at a name it cannot read.
func (a authority) withPort(server *x509.Certificate, port int) ([]byte, error) {
	template := leaf(server.Subject.CommonName, x509.ExtKeyUsageServerAuth)
	template.NotBefore, template.NotAfter = server.NotBefore, server.NotAfter
	template.IPAddresses = server.IPAddresses
	template.DNSNames = append(slices.Clone(server.DNSNames), fmt.Sprintf("localhost:%d", port),
		fmt.Sprintf("127.0.0.1:%d", port))
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, server.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the card with its port: %v", err)
	}
	return der, nil
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

func pemKey(key *ecdsa.PrivateKey) ([]byte, error) {
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of a certificate: %v", err)
	}
	return pemBlock("PRIVATE KEY", encoded), nil
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
