package server

import (
	"crypto/tls"
	"log/slog"
	"sync/atomic"

	"pawl/internal/certfile"
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

// OpenHTTPS reads the files, as TLSConfig does, with its refusals. It returns nil if there are none.
func OpenHTTPS(files HTTPSFiles) (*HTTPS, error) {
	config, err := TLSConfig(files.Cert, files.Key, files.ClientCA)
	if config == nil {
		return nil, err
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
	config, err := tlsConfig(f.Cert, f.Key, f.ClientCA)
	if err != nil {
		return nil, err
	}
	config.NextProtos = []string{"http/1.1"} // net/http sees to those of the first configuration only
	return &loaded{config, f.Certificates(), stamp}, nil
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
