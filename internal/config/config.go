// Package config reads, checks and edits keys.json.
//
// Parsing is strict. It refuses unknown names, names that occur twice, and names that differ only
// in case. Each finding says where in the file it stands. Beside keys.json the package opens only
// the secret files that keys.json names. It makes no connections.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pawl/internal/durable"
	"pawl/internal/ep11"
	"pawl/policy"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// MaxConfigSize is the largest size of keys.json in bytes. Ten thousand keys take a quarter of it.
const MaxConfigSize = 64 << 20

// Config is a parsed keys.json. Its paths are absolute or relative to the working folder.
type Config struct {
	// HSM describes the first GREP11 server: the first item of url, and cert_path, key_path,
	// cacert_path, server_name, dialect, max_in_flight, apikey_file and iam_endpoint.
	HSM grep11.Config
	// OtherServers holds the addresses of the other servers in url. They have the
	// same settings as the first, and serve the same keys.
	OtherServers []string
	// Keys holds the entries of keys, in the order of the file.
	Keys []KeySpec
	// DB is the path of the ratchet for keys that do not name their own, or "".
	DB string
	// AuthorizedKeys holds the client keys of Octez authentication. If it is empty,
	// clients need not authenticate.
	AuthorizedKeys []tezos.PublicKey
	// MaxLevelGap is how many levels a request may lie above its mark; 0 means the
	// ratchet's default.
	MaxLevelGap int32

	// Path is the path of the file, and File the result of stat when it was read. Parse
	// leaves them zero.
	Path string
	File os.FileInfo

	findings   []Finding         // those of Load or Parse
	wrappingID map[[16]byte]bool // the ids of the master keys that wrap the key blobs
}

// KeySpec is one entry of keys.
type KeySpec struct {
	PublicKey tezos.PublicKey
	// Blob is the wrapped private key (secret_key). It is nil if it is unreadable, or if it is
	// in BlobFile (secret_key_file) and ReadFiles has not read it.
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
// write. It also refuses anything but a regular file, since a pipe can be read only once.
func Load(path string) (*Config, []Finding, error) {
	data, info, err := durable.ReadFile(path, MaxConfigSize)
	if err != nil {
		return nil, nil, err
	}
	if open, ok := errors.AsType[*durable.OpenError](durable.CheckInfo(path, info, durable.OthersWrite)); ok {
		return nil, nil, fmt.Errorf("%s: mode %04o lets others write it: chmod 600 %s", path, open.Mode, path)
	}
	cfg, findings, err := Parse(data, filepath.Dir(path))
	if open, ok := errors.AsType[*durable.OpenError](durable.CheckInfo(path, info, durable.OthersRead)); ok {
		text := fmt.Sprintf("mode %04o lets others read %s: chmod 600 %[2]s", open.Mode, path)
		findings = append(findings, Finding{Warning, ModeOpen, "", text})
	}
	if err != nil {
		return nil, findings, err
	}
	cfg.Path, cfg.File, cfg.findings = path, info, findings
	return cfg, findings, nil
}

// Parse parses the contents of a keys.json and returns all findings. Relative paths are
// relative to dir. Parse opens no file. It returns an error if a finding is Invalid.
func Parse(data []byte, dir string) (*Config, []Finding, error) {
	root, err := parseJSON(data)
	if err != nil {
		return nil, nil, fmt.Errorf("keys.json: %w", err)
	}
	p := parser{report: report{dir: dir}}
	p.root(root)
	p.complete()
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
		"chain_ratchet":   p.chainRatchet,
		"max_level_gap":   func(v value) { p.cfg.MaxLevelGap = p.positive(v) },
		"keys":            p.keys,
		"policy":          func(v value) { p.policy = p.readPolicy(v) },
		"authorized_keys": p.authorizedKeys,
		"ratchet":         p.ignored, "hsm_username": p.ignored, "hsm_slot": p.ignored, "hsm_lib": p.ignored,
		"private_handle": p.ignored, "public_handle": p.ignored,
	})
}

func (p *parser) signerKind(v value) {
	if s := p.text(v); s != "" && s != "grep11" {
		p.invalid(v.path, "%q does not exist: use \"grep11\"; to try pawl out, run `pawl demo`", s)
	}
}

// maxServers bounds the list in url, since pawl calls each server every second.
const maxServers = 16

// url reads one address or a list of them.
func (p *parser) url(v value) {
	if !v.array {
		p.cfg.HSM.Address = p.address(v)
		return
	}
	var all []string
	for _, item := range v.items {
		address := p.address(item)
		if address != "" && slices.Contains(all, address) {
			p.invalid(item.path, "%q occurs twice", address)
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

// Servers returns the configuration of each server in url, in its order.
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
	host, port, err := net.SplitHostPort(s)
	switch {
	case s == "":
	case strings.Contains(s, "://"):
		p.invalid(v.path, "%q has a scheme: write host:port", s)
	case err != nil || host == "" || port == "":
		p.invalid(v.path, "%q is not host:port", s)
	}
	return s
}

func (p *parser) iamEndpoint(v value) {
	p.cfg.HSM.IAMEndpoint = p.text(v)
	if err := grep11.CheckIAMEndpoint(p.cfg.HSM.IAMEndpoint); err != nil && p.cfg.HSM.IAMEndpoint != "" {
		p.invalid(v.path, "%v", err)
	}
}

func (p *parser) dialect(v value) {
	dialect, err := grep11.ParseDialect(p.text(v))
	if err != nil {
		p.invalid(v.path, "%v", err)
	}
	p.cfg.HSM.Dialect = dialect
}

func (p *parser) chainRatchet(v value) {
	switch s := p.text(v); s {
	case "", "sqlitedb":
	case "mockery":
		p.warn(v.path, "\"mockery\" is ignored: the real ratchet is always used")
	default:
		p.invalid(v.path, "%q does not exist: use \"sqlitedb\"", s)
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
		p.invalid(v.path, "is empty, so no client could sign: leave it out, or add a key")
	}
}

// complete fills in the settings that keys inherit from the file, and reports what is missing.
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

// credentials checks that there is a client certificate or an API key. There may be both.
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
		p.unopenable("cert_path", "set both cert_path and key_path, or neither")
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
