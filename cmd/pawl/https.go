package main

import (
	"errors"
	"log/slog"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/server"
)

// httpsFlags are the flags of pawl's own HTTPS. serve serves it, check checks its files.
type httpsFlags struct {
	Cert     string `name:"tls-cert" and:"tls" placeholder:"FILE" help:"PEM certificate: HTTPS instead of HTTP."`
	Key      string `name:"tls-key" and:"tls" placeholder:"FILE" help:"PEM key of --tls-cert, mode 0600."`
	ClientCA string `name:"tls-client-ca" placeholder:"FILE" help:"PEM certificates: only clients with a certificate of one of these are served."`
}

// validate refuses a flag that means nothing without the others.
func (f httpsFlags) validate() error {
	if f.ClientCA != "" && f.Cert == "" {
		return errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	}
	return nil
}

func (f httpsFlags) files() server.HTTPSFiles { return server.HTTPSFiles(f) }

// open reads the files. It refuses those that are in the hands of others, and warns of what is only doubtful.
func (f httpsFlags) open(log *slog.Logger) (*server.HTTPS, error) {
	https, err := server.OpenHTTPS(f.files())
	if err != nil {
		return nil, err
	}
	findings := config.HTTPSRights(durable.Self(), f.Cert, f.Key, f.ClientCA)
	for _, file := range https.Certificates() {
		if soon := file.EndsSoon(); soon != "" {
			findings = append(findings, config.Finding{Severity: config.Warning, Path: file.Name, Text: soon})
		}
	}
	warn(log, findings)
	for _, found := range findings {
		if found.Severity > config.Warning {
			return nil, errors.New(found.String())
		}
	}
	return https, nil
}
