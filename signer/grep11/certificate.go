package grep11

import "pawl/internal/certfile"

// Certificates reads the certificate files of the connection, as they are now, by their names in
// keys.json.
func (c Config) Certificates() []certfile.File {
	var list []certfile.File
	if c.CertPath != "" {
		list = append(list, certfile.Leaf("cert_path", c.CertPath))
	}
	if c.CACertPath != "" {
		list = append(list, certfile.Authorities("cacert_path", c.CACertPath))
	}
	return list
}
