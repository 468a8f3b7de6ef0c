package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// certifyCommand is `certify DIR SERVER-DAYS CLIENT-DAYS`: it gives a card and its
// clients new certificates, of a new authority, that last so many days from now.
func certifyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: certify DIR SERVER-DAYS CLIENT-DAYS")
	}
	server, err := strconv.Atoi(args[1])
	ts.Check(err)
	client, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(certify(ts.MkAbs(args[0]), server, client))
}

func certify(dir string, serverDays, clientDays int) error {
	authority := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, err := issue(dir, "ca", authority, authority, nil, 3650)
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	client := &x509.Certificate{Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	_, serverErr := issue(dir, "server", server, authority, authorityKey, serverDays)
	_, clientErr := issue(dir, "client", client, authority, authorityKey, clientDays)
	return errors.Join(serverErr, clientErr)
}

// issue writes NAME.pem and NAME-key.pem; without a signer it signs itself.
func issue(dir, name string, template, parent *x509.Certificate, signer *ecdsa.PrivateKey, days int) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if signer == nil {
		signer = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().AddDate(0, 0, -100), time.Now().AddDate(0, 0, days)
	if days > 10_000 { // one of the future
		template.NotBefore = time.Now().AddDate(1, 0, 0)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, errors.Join(
		os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(dir, name+"-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}
