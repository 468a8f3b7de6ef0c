// Package certfile reads the PEM files of TLS: certificates, key pairs, authorities. The connection
// to the HSM and pawl's own HTTPS read theirs here, and so does all that tells of their ends: the
// start, the metric, the log and `pawl check`.
//
// Each read is bounded and never waits: see durable.ReadFile. Package config judges who may read or
// write the files.
package certfile

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"pawl/internal/durable"
)

// Warning is how long before its end a certificate is warned of.
const Warning = 30 * 24 * time.Hour

// Bounds in bytes. The authorities of a whole system (Mozilla's list) take 220 KB.
const (
	maxCertificates = 4 << 20
	maxKey          = 64 << 10
)

// File is the certificate of a file that matters for its end. Whatever tells of the end tells this
// one's.
type File struct {
	Name string            // of the setting that names the file, e.g. cert_path or --tls-cert
	Path string            // of the file
	Cert *x509.Certificate // nil with Err
	Err  error             // why the file has none
}

// Leaf reads a file with one's own certificate. The first counts: the rest is for the peer to build
// its chain.
func Leaf(name, path string) File {
	return read(name, path, func(all []*x509.Certificate) *x509.Certificate { return all[0] })
}

// Authorities reads a file of authorities. The one that ends last counts: any of a bundle may be
// the one that is used.
func Authorities(name, path string) File { return read(name, path, latest) }

func latest(all []*x509.Certificate) *x509.Certificate {
	return slices.MaxFunc(all, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
}

func read(name, path string, choose func([]*x509.Certificate) *x509.Certificate) File {
	all, err := Read(path)
	if err != nil {
		return File{Name: name, Path: path, Err: err}
	}
	return File{Name: name, Path: path, Cert: choose(all)}
}

// Read returns the certificates of a PEM file; there is at least one. Its errors name the file.
func Read(path string) (list []*x509.Certificate, err error) {
	rest, err := readText(path)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, cert)
	}
	if list == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return list, nil
}

// Pair reads a certificate, with what follows it in its file, and the key that fits it. Its errors
// name the file, or both when they do not fit.
func Pair(cert, key string) (tls.Certificate, error) {
	chain, err := readText(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	secret, err := durable.ReadSecret(key, maxKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer clear(secret)
	text, err := durable.Text(secret)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %w", key, err)
	}
	if isEncrypted(text) {
		return tls.Certificate{}, fmt.Errorf("%s: %w", key, ErrEncrypted)
	}
	pair, err := tls.X509KeyPair(chain, text)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s with key %s: %w", cert, key, err)
	}
	return pair, nil
}

// ErrEncrypted is the error of Pair for a key that only a passphrase opens.
var ErrEncrypted = errors.New("the key is encrypted, and there is nobody to ask for its passphrase: " +
	"decrypt it with openssl pkey")

// isEncrypted reports whether the first key of a PEM file is encrypted (RFC 5958, and RFC 1421
// section 4.6.1.1 for the older form).
func isEncrypted(text []byte) bool {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
		}
	}
}

// readText reads a file of certificates. Its errors name the file.
func readText(path string) ([]byte, error) {
	data, _, err := durable.ReadFile(path, maxCertificates)
	if err != nil {
		return nil, err
	}
	text, err := durable.Text(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// Pool returns a pool of authorities. Its errors do not name them.
func Pool(authorities []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range authorities {
		pool.AddCert(cert)
	}
	return pool
}

// CheckEnd returns an error if a certificate has ended.
func CheckEnd(cert *x509.Certificate) error {
	if time.Now().After(cert.NotAfter) {
		return fmt.Errorf("expired at %s", cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// EndsSoon returns a sentence if the certificate ends within Warning, or has ended, else "".
func (f File) EndsSoon() string {
	if f.Cert == nil || time.Until(f.Cert.NotAfter) >= Warning {
		return ""
	}
	return f.Path + ": the certificate ends on " + f.Cert.NotAfter.Format(time.DateOnly)
}

// CheckUse returns an error if a certificate says what it may be used for, and use, of a server or
// of a client, is not among it (RFC 5280 section 4.2.1.12).
func CheckUse(cert *x509.Certificate, use x509.ExtKeyUsage) error {
	none := len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0
	if none || slices.Contains(cert.ExtKeyUsage, use) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return nil
	}
	if use == x509.ExtKeyUsageServerAuth {
		return errors.New("is not for servers: its extended key usage lacks serverAuth")
	}
	return errors.New("is not for clients: its extended key usage lacks clientAuth")
}

// Stamp identifies three files and their last change: certificate, key and authorities.
type Stamp [3]struct {
	device, inode uint64
	size          int64
	written       int64 // Unix nanoseconds
}

// StampOf looks at the files, through links. A file that cannot be looked at, and "", has a zero
// stamp: reading it will tell why.
func StampOf(cert, key, authorities string) (s Stamp) {
	for i, path := range []string{cert, key, authorities} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		s[i].size, s[i].written = info.Size(), info.ModTime().UnixNano()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			s[i].device, s[i].inode = stat.Dev, stat.Ino
		}
	}
	return s
}
