package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"pawl/internal/certfile"
	"pawl/internal/durable"
)

// HTTPSFiles are the PEM files of pawl's own HTTPS, each under the flag that names it. With none of
// them pawl speaks HTTP.
type HTTPSFiles struct {
	Cert     string // --tls-cert
	Key      string // --tls-key
	ClientCA string // --tls-client-ca; "" admits clients without a certificate
}

// HTTPS serves a certificate, and admits the clients of an authority, by files that may change:
// Renew takes changed ones up. Connections that stand are not touched. Nil stands for HTTP.
type HTTPS struct {
	files HTTPSFiles
	now   atomic.Pointer[loaded]
	told  string // why changed files could not be taken up, once said
}

// loaded is what was read from the files.
type loaded struct {
	config       *tls.Config
	certificates []certfile.File
	stamp        certfile.Stamp
}

// OpenHTTPS reads the files. It returns nil if there are none. It refuses a key file that other users may
// read, a certificate that has ended or is not for servers, a key of another certificate, and authorities
// with which no client would be admitted. Errors name the file.
func OpenHTTPS(files HTTPSFiles) (*HTTPS, error) {
	if files == (HTTPSFiles{}) {
		return nil, nil //nolint:nilnil // HTTP
	}
	if files.Cert == "" || files.Key == "" {
		return nil, fmt.Errorf("TLS needs both a certificate and a key: give --tls-cert and --tls-key")
	}
	if err := checkPrivate(files.Key); err != nil {
		return nil, fmt.Errorf("TLS key: %v", err)
	}
	first, err := files.load()
	if err != nil {
		return nil, err
	}
	h := &HTTPS{files: files}
	h.now.Store(first)
	return h, nil
}

// Check returns the error with which OpenHTTPS would refuse the files, but for who may read the key.
func (f HTTPSFiles) Check() error {
	_, err := f.load()
	return err
}

// load reads the files. Who may read the key was looked at when they were opened.
func (f HTTPSFiles) load() (*loaded, error) {
	stamp := certfile.StampOf(f.Cert, f.Key, f.ClientCA) // before they are read
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	return &loaded{config, f.Certificates(), stamp}, nil
}

// authenticated are the cipher suites of TLS 1.2 that authenticate what they encrypt, with forward
// secrecy. Octez's clients (ocaml-tls) have them. TLS 1.3 has no others.
var authenticated = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// checkPrivate returns an error if others may read the file.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil // reading it tells why
	}
	return durable.Self().CheckSecret(path, info)
}

// config makes the server side of TLS: TLS 1.2 or later, with session resumption, and authenticated
// encryption only. With ClientCA every client must have a certificate of that authority.
func (f HTTPSFiles) config() (*tls.Config, error) {
	pair, err := readPair(f.Cert, f.Key)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, CipherSuites: authenticated,
		NextProtos: []string{"http/1.1"},
	}
	if f.ClientCA != "" {
		if cfg.ClientCAs, err = readAuthorities(f.ClientCA); err != nil {
			return nil, err
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

func readPair(cert, key string) (tls.Certificate, error) {
	pair, err := certfile.Pair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("TLS certificate: %v", err)
	}
	if err := usable(pair.Leaf, x509.ExtKeyUsageServerAuth); err != nil {
		return pair, fmt.Errorf("TLS certificate %s %v", cert, err)
	}
	return pair, nil
}

// readAuthorities reads the authorities of clients. Those that no client can come with any more
// may stay in the file beside others.
func readAuthorities(path string) (*x509.CertPool, error) {
	all, err := certfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("TLS client authority: %v", err)
	}
	for _, cert := range all {
		if err = usable(cert, x509.ExtKeyUsageClientAuth); err == nil {
			return certfile.Pool(all), nil
		}
	}
	return nil, fmt.Errorf("TLS client authority %s %v", path, err)
}

func usable(cert *x509.Certificate, use x509.ExtKeyUsage) error {
	if err := certfile.CheckEnd(cert); err != nil {
		return err
	}
	return certfile.CheckUse(cert, use)
}

// Certificates reads the certificates that matter for their ends, by the flags that name them.
func (f HTTPSFiles) Certificates() []certfile.File {
	var list []certfile.File
	if f.Cert != "" {
		list = append(list, certfile.Leaf("--tls-cert", f.Cert))
	}
	if f.ClientCA != "" {
		list = append(list, certfile.Authorities("--tls-client-ca", f.ClientCA))
	}
	return list
}

// Files returns the files; HTTP has none.
func (h *HTTPS) Files() HTTPSFiles {
	if h == nil {
		return HTTPSFiles{}
	}
	return h.files
}

// Certificates returns what is in use, which a file that cannot be taken up does not change. HTTP
// has none.
func (h *HTTPS) Certificates() []certfile.File {
	if h == nil {
		return nil
	}
	return h.now.Load().certificates
}

// Config returns the server side of TLS, or nil for HTTP. Each handshake has the files as they were
// taken up last; a resumed session must satisfy them too.
func (h *HTTPS) Config() *tls.Config {
	if h == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return h.now.Load().config, nil
		},
	}
}

// Renew takes up files that have changed. Those that cannot be used (half-written, of a pair that
// does not fit, ended) are told in the log, once, and the ones before go on. It is called by one
// goroutine, every second or so.
func (h *HTTPS) Renew(log *slog.Logger) {
	if h.now.Load().stamp == certfile.StampOf(h.files.Cert, h.files.Key, h.files.ClientCA) {
		return
	}
	fresh, err := h.files.load()
	if err != nil {
		if err.Error() != h.told {
			h.told = err.Error()
			log.Warn("HTTPS certificates not renewed, those before go on", "err", err)
		}
		return
	}
	h.now.Store(fresh)
	h.told = ""
	log.Info("HTTPS certificates renewed")
	for _, c := range fresh.certificates {
		if soon := c.EndsSoon(); soon != "" {
			log.Warn("certificate ends soon", "name", c.Name, "finding", soon)
		}
	}
}
