// Package config reads and edits keys.json. Parsing is strict: unknown names, names that
// occur twice and names that differ only in case are refused, and every finding says where
// it stands. Besides keys.json the package opens only the secret files that it names, and
// it connects to nobody.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pawl/internal/durable"
	"pawl/internal/ep11"
	"pawl/internal/node"
	"pawl/policy"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// MaxConfigSize bounds keys.json, in bytes. Ten thousand keys take a quarter of it.
const MaxConfigSize = 64 << 20

// Config is a parsed keys.json. Its paths are absolute or relative to the working folder.
type Config struct {
	// HSM is the GREP11 server of all keys, the first of url: url, cert_path, key_path,
	// cacert_path, server_name, dialect, max_in_flight, apikey_file, iam_endpoint.
	HSM grep11.Config
	// OtherServers are the addresses of the further servers of url. They are reached like
	// the first and hold the same keys.
	OtherServers []string
	// Keys are the entries of keys, in their order.
	Keys []KeySpec
	// DB is the path of the ratchet of the keys without one of their own, or "".
	DB string
	// Witness is the folder of the witnesses of the ratchets, or "": see sqlite.WitnessFolder.
	Witness string
	// AuthorizedKeys are the client keys of Octez authentication. With none, clients need
	// not authenticate.
	AuthorizedKeys []tezos.PublicKey
	// MaxLevelGap is how many levels a request may lie above its mark; 0 means the
	// ratchet's default.
	MaxLevelGap int32
	// NodeURL is the URL of a Tezos node, as node.CheckURL allows it, or "". It may hold a token.
	NodeURL string

	// Path is the path of the file, and File its description when it was read. Parse leaves
	// both zero.
	Path string
	File os.FileInfo

	findings   []Finding // of Parse
	wrappingID map[[16]byte]bool
}

// KeySpec is one entry of keys.
type KeySpec struct {
	PublicKey tezos.PublicKey
	// Blob is the wrapped private key (secret_key), or nil if it lies in BlobFile
	// (secret_key_file) or is unreadable.
	Blob     ep11.Blob
	BlobFile string
	// NextBlob is the same private key under the HSM's next master key
	// (secret_key_next, see AddNextBlobs), or nil.
	NextBlob ep11.Blob
	// DB is the path of the key's ratchet.
	DB string
	// Policy is the key's own policy, or else the global one.
	Policy policy.Policy
}

// Load reads and parses the keys.json at path. It refuses a file that group or others may
// write, and anything but a regular file: a pipe can be read only once.
func Load(path string) (*Config, []Finding, error) {
	data, info, err := durable.ReadFile(path, MaxConfigSize)
	if err != nil {
		return nil, nil, &FileError{path, causeOf(err)}
	}
	if open, ok := errors.AsType[*durable.OpenError](durable.CheckInfo(path, info, durable.OthersWrite)); ok {
		return nil, nil, &FileError{path, fmt.Errorf("mode %04o lets others write it: chmod 600 %s", open.Mode, path)}
	}
	cfg, findings, err := read(data, filepath.Dir(path))
	if open, ok := errors.AsType[*durable.OpenError](durable.Self().CheckSecret(path, info)); ok &&
		open.Mode&durable.OthersRead != 0 {
		text := fmt.Sprintf("mode %04o lets others read %s: chmod 600 %[2]s", open.Mode, path)
		findings = append(findings, Finding{Warning, ModeOpen, "", text})
	}
	if err != nil {
		return nil, findings, &FileError{path, err}
	}
	cfg.Path, cfg.File, cfg.findings = path, info, findings
	return cfg, findings, nil
}

// FileError says why the file at Path is no keys.json, where no finding says it.
type FileError struct {
	Path string
	Err  error // without the path
}

func (e *FileError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the error without the path.
func (e *FileError) Unwrap() error { return e.Err }

// causeOf returns an error of reading a file without the file's name.
func causeOf(err error) error {
	pathError, named := errors.AsType[*fs.PathError](err)
	switch {
	case named:
		return pathError.Err
	case errors.Is(err, durable.ErrNotRegular):
		return durable.ErrNotRegular
	case errors.Is(err, durable.ErrTooLarge):
		return fmt.Errorf("larger than %d bytes", MaxConfigSize)
	}
	return err
}

// Parse reads keys.json and returns every finding. Relative paths are relative to dir. It
// opens no file. The error is not nil if a finding is Invalid.
func Parse(data []byte, dir string) (*Config, []Finding, error) {
	cfg, findings, err := read(data, dir)
	if err != nil {
		return nil, findings, &FileError{"keys.json", err}
	}
	return cfg, findings, nil
}

// read is Parse whose errors do not name the file.
func read(data []byte, dir string) (*Config, []Finding, error) {
	text, err := durable.Text(data)
	if err != nil {
		return nil, nil, err
	}
	root, err := parseJSON(text)
	if err != nil {
		return nil, nil, err
	}
	return interpret(root, dir)
}

// interpret reads what parseJSON has read.
func interpret(root value, dir string) (*Config, []Finding, error) {
	p := parser{report: report{dir: dir}}
	if p.secrets("", root); len(p.findings) == 0 { // else other findings might quote one
		p.root(root)
		p.complete()
	}
	if err := Refusal(p.findings, Invalid); err != nil {
		return nil, p.findings, err
	}
	p.cfg.findings, p.cfg.wrappingID = p.findings, p.wrappingID
	return &p.cfg, p.findings, nil
}

// parser reads the sections of keys.json into cfg.
type parser struct {
	report
	cfg       Config
	hasKeys   bool
	policy    *policy.Policy // the global one
	ownPolicy []bool         // by key
}

func (p *parser) root(v value) {
	hsm := &p.cfg.HSM
	p.object(v, map[string]func(value){
		"signer":          p.signerKind,
		"url":             p.url,
		"cert_path":       func(v value) { hsm.CertPath = p.file(v) },
		"key_path":        func(v value) { hsm.KeyPath = p.file(v) },
		"cacert_path":     func(v value) { hsm.CACertPath = p.file(v) },
		"apikey_file":     func(v value) { hsm.APIKeyFile = p.file(v) },
		"iam_endpoint":    p.iamEndpoint,
		"server_name":     func(v value) { hsm.ServerName = p.text(v) },
		"dialect":         p.dialect,
		"max_in_flight":   func(v value) { hsm.MaxInFlight = int(p.positive(v)) },
		"db":              func(v value) { p.cfg.DB = p.file(v) },
		"witness":         func(v value) { p.cfg.Witness = p.file(v) },
		"chain_ratchet":   p.chainRatchet,
		"max_level_gap":   func(v value) { p.cfg.MaxLevelGap = p.positive(v) },
		"node_url":        p.nodeURL,
		"keys":            p.keys,
		"policy":          func(v value) { p.policy = p.readPolicy(v) },
		"authorized_keys": p.authorizedKeys,
		"ratchet":         p.ignored, "hsm_username": p.ignored, "hsm_slot": p.ignored, "hsm_lib": p.ignored,
		"private_handle": p.ignored, "public_handle": p.ignored,
	})
}

func (p *parser) signerKind(v value) {
	if s := p.text(v); s != "" && s != "grep11" {
		p.invalid(v.path, "%s does not exist: use \"grep11\"; for trying out there is `pawl demo`", quote(s))
	}
}

// maxServers bounds url, because each server is probed every second.
const maxServers = 16

// url takes one address or a list of addresses.
func (p *parser) url(v value) {
	if !v.array {
		p.cfg.HSM.Address = p.address(v)
		return
	}
	var all []string
	for _, item := range v.items {
		address := p.address(item)
		if address != "" && slices.Contains(all, address) {
			p.invalid(item.path, "%s occurs twice", quote(address))
		}
		all = append(all, address)
	}
	switch n := len(all); {
	case n == 0:
		p.unopenable(v.path, "is an empty list: name a GREP11 server")
	case n > maxServers:
		p.invalid(v.path, "has %d servers: name at most %d", n, maxServers)
	default:
		p.cfg.HSM.Address, p.cfg.OtherServers = all[0], all[1:]
	}
}

// Servers returns how to reach each server of url, in their order.
func (c *Config) Servers() []grep11.Config {
	all := []grep11.Config{c.HSM}
	for _, address := range c.OtherServers {
		other := c.HSM
		other.Address = address
		all = append(all, other)
	}
	return all
}

func (p *parser) address(v value) string {
	s := p.text(v)
	if s == "" {
		return s
	}
	if err := CheckAddress(s); err != nil {
		p.invalid(v.path, "%v", err)
	}
	return s
}

// CheckAddress returns nil if s is host:port, with a port from 1 to 65535. Its error quotes s, but
// for what may be a secret.
func CheckAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	switch {
	case strings.Contains(s, "://"):
		return fmt.Errorf("%s has a scheme: write host:port", quote(s))
	case err != nil || host == "" || port == "" || strings.ContainsAny(host, " /@"):
		return fmt.Errorf("%s is not host:port", quote(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s: the port is not a number from 1 to 65535", quote(s))
	}
	return nil
}

func (p *parser) iamEndpoint(v value) {
	p.cfg.HSM.IAMEndpoint = p.text(v)
	if s := p.cfg.HSM.IAMEndpoint; s != "" && grep11.CheckIAMEndpoint(s) != nil {
		p.invalid(v.path, "%s is no IAM endpoint: write https://host", quote(s))
	}
}

// nodeURL quotes nothing of a bad one: what is wrong may be that it holds a password.
func (p *parser) nodeURL(v value) {
	p.cfg.NodeURL = p.anyText(v)
	if p.cfg.NodeURL == "" {
		return
	}
	if err := node.CheckURL(p.cfg.NodeURL); err != nil {
		p.add(Invalid, BadNodeURL, v.path, "%v", err)
	}
}

func (p *parser) dialect(v value) {
	s := p.text(v)
	dialect, err := grep11.ParseDialect(s)
	if err != nil {
		p.invalid(v.path, "%s is no dialect: use \"v1\", \"v2\" or \"both\"", quote(s))
	}
	p.cfg.HSM.Dialect = dialect
}

func (p *parser) chainRatchet(v value) {
	switch s := p.text(v); s {
	case "", "sqlitedb":
	case "mockery":
		p.warn(v.path, "\"mockery\" is ignored: the real ratchet is always used")
	default:
		p.invalid(v.path, "%s does not exist: use \"sqlitedb\"", quote(s))
	}
}

func (p *parser) authorizedKeys(v value) {
	p.eachString(v, func(path, item string) {
		key, err := tezos.ParsePublicKey(item)
		switch {
		case err != nil:
			p.invalid(path, "%v", err)
		case key.Kind() == tezos.BLS12381:
			p.invalid(path, "signatures of tz4 clients cannot be verified: use edpk, sppk or p2pk")
		default:
			p.cfg.AuthorizedKeys = append(p.cfg.AuthorizedKeys, key)
		}
	})
	if v.array && len(v.items) == 0 {
		p.invalid(v.path, "is empty, so that no client could sign: leave it out, or add a key")
	}
}

// complete fills in what keys take from the whole file, and reports what is missing.
func (p *parser) complete() {
	hsm := &p.cfg.HSM
	p.require("url", hsm.Address)
	p.credentials()
	if !p.hasKeys {
		p.invalid("keys", "missing")
	}
	for i := range p.cfg.Keys {
		p.completeKey(&p.cfg.Keys[i], p.ownPolicy[i])
	}
	p.checkWrappingKeys()
	slices.SortStableFunc(p.findings, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) })
}

// credentials checks that there is a client certificate, an API key, or both.
func (p *parser) credentials() {
	hsm := &p.cfg.HSM
	switch {
	case hsm.APIKeyFile == "":
		p.require("cert_path", hsm.CertPath)
		p.require("key_path", hsm.KeyPath)
		p.require("cacert_path", hsm.CACertPath)
		if hsm.IAMEndpoint != "" {
			p.unopenable("iam_endpoint", "needs apikey_file")
		}
	case (hsm.CertPath == "") != (hsm.KeyPath == ""):
		p.unopenable("cert_path", "needs key_path, and the other way round")
	}
}

func (p *parser) require(name, text string) {
	if text == "" && !p.said(name) {
		p.unopenable(name, "missing: the GREP11 server is reached with mutual TLS")
	}
}

func (p *parser) completeKey(key *KeySpec, ownPolicy bool) {
	path := "keys." + key.PublicKey.Hash().String()
	if key.DB == "" {
		key.DB = p.cfg.DB
	}
	if key.DB == "" {
		p.unopenable(path, "has no db: name a ratchet here or for all keys, and make it with `pawl ratchet init`")
	}
	switch {
	case ownPolicy:
	case p.policy != nil:
		key.Policy = *p.policy
	default:
		p.warn(path, "has no policy: every request is refused")
	}
}
