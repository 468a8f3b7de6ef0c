package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/signer/grep11"
	"pawl/tezos"
)

const (
	connectionFile = "./credential.yaml"
	maxCredential  = 64 << 10 // bytes: four lines with paths
)

// connection returns the GREP11 servers for createtezoskey: those of config if it is given,
// else of ./credential.yaml, else of ./keys.json.
func connection(config string) ([]grep11.Config, error) {
	if config != "" {
		return connectionOf(config)
	}
	data, _, err := durable.ReadFile(connectionFile, maxCredential)
	switch {
	case err == nil:
		server, err := parseCredential(data, filepath.Dir(connectionFile))
		return []grep11.Config{server}, err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(errors.New("no GREP11 server is named"),
			"name one in %s or %s, or use --config", connectionFile, defaultConfig)
	}
	return connectionOf(defaultConfig)
}

// connectionOf returns the GREP11 servers of a keys.json.
func connectionOf(path string) ([]grep11.Config, error) {
	cfg, err := loadConfig(path)
	if err != nil {
		return nil, err
	}
	hsm := cfg.HSM
	mutual := hsm.CertPath != "" && hsm.KeyPath != "" && hsm.CACertPath != ""
	if hsm.Address == "" || !mutual && hsm.APIKeyFile == "" {
		return nil, fmt.Errorf("%s: needs url, cert_path, key_path and cacert_path", path)
	}
	return cfg.Servers(), nil
}

// parseCredential reads credential.yaml: one `name: value` per line, with the names url,
// cert_path, key_path and cacert_path, each once. Comments, blank lines and quotes around a
// value are allowed; any other YAML is an error. Relative paths count from dir.
func parseCredential(data []byte, dir string) (grep11.Config, error) {
	var cfg grep11.Config
	text, err := durable.Text(data)
	if err != nil {
		return grep11.Config{}, fmt.Errorf("%s: %w", connectionFile, err)
	}
	fields := map[string]*string{
		"url": &cfg.Address, "cert_path": &cfg.CertPath, "key_path": &cfg.KeyPath, "cacert_path": &cfg.CACertPath,
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		if err := credentialLine(lines.Text(), fields); err != nil {
			return grep11.Config{}, fmt.Errorf("%s: line %d: %w", connectionFile, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return grep11.Config{}, fmt.Errorf("%s: %w", connectionFile, err)
	}
	for name, field := range fields {
		if *field == "" {
			return grep11.Config{}, fmt.Errorf("%s: %s is missing", connectionFile, name)
		}
		if name != "url" && !filepath.IsAbs(*field) {
			*field = filepath.Join(dir, *field)
		}
	}
	return cfg, nil
}

// credentialLine sets the field named on one line.
func credentialLine(line string, fields map[string]*string) error {
	if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed == "---" || trimmed[0] == '#' {
		return nil
	}
	name, rest, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	field, known := fields[name]
	switch {
	case !ok:
		return errors.New("is not `name: value`")
	case !known:
		return fmt.Errorf("unknown name %q", tezos.Redact(name))
	case *field != "":
		return fmt.Errorf("%s occurs twice", name)
	case rest != "" && rest[0] != ' ' && rest[0] != '\t':
		return fmt.Errorf("a blank is missing after %s", name+":")
	}
	value, err := yamlScalar(strings.TrimSpace(rest))
	if err == nil {
		err = checkCredential(name, value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*field = value
	return nil
}

// checkCredential finds a value that cannot be meant, among them a secret in the wrong place.
func checkCredential(name, value string) error {
	if secret := tezos.SecretIn(value); secret != "" {
		return fmt.Errorf("%s, which does not belong here", secret)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%q has a control character or an invisible one", value)
	}
	if name == "url" {
		return config.CheckAddress(value)
	}
	return nil
}

// yamlScalar reads a plain or quoted value and skips the comment after it.
func yamlScalar(s string) (string, error) {
	value, comment := s, ""
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		end := strings.IndexByte(s[1:], s[0])
		if end < 0 {
			return "", errors.New("the quote does not end")
		}
		value, comment = s[1:1+end], s[2+end:]
		if comment != "" && comment[0] != ' ' && comment[0] != '\t' {
			return "", errors.New("something follows the quote")
		}
	} else if at := strings.Index(s, " #"); at >= 0 {
		value, comment = strings.TrimSpace(s[:at]), s[at:]
	}
	comment = strings.TrimSpace(comment)
	switch {
	case value == "" || value[0] == '#':
		return "", errors.New("is empty")
	case comment != "" && comment[0] != '#':
		return "", errors.New("something follows the value")
	case strings.ContainsAny(value, "\\\"'"):
		return "", errors.New("escapes and inner quotes are not read")
	case strings.ContainsRune("[{&*!|>%@`", rune(value[0])):
		return "", fmt.Errorf("starts with %q: write host:port or a path", value[0])
	}
	return value, nil
}
