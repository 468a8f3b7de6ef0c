package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"pawl/internal/config"
	"pawl/tezos"
)

// A key of the samples, and the head of its blob: enough to be parsed.
const (
	sampleHash   = "tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd"
	samplePublic = "p2pk66EnR4uFKpTmZj9z5Fg9J2J8KmLb7LCwZe5QPySs8JurcTP1PXM"
	otherHash    = "tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z"
	otherPublic  = "edpkvWoG8zRAgfPpQtWhf6VEMifvBsmGriKKRXfmHJv1kBWT6oucKn"
	clearKey     = "edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh" // of nobody: bootstrap1 of a sandbox
)

// sampleBlob is a blob with a sound head: wrapping key id, attributes, marker.
func sampleBlob(wrappingKey string) string {
	return strings.Repeat("0", 64) + strings.Repeat(wrappingKey, 16) + born + "0000000000000001" + "1234" + strings.Repeat("ab", 14+480+32)
}

const born = "0000000000400126" // born in the HSM, never extractable

// sample is a complete keys.json; each pair of edits replaces text in it.
func sample(edits ...string) string {
	text := `{
    "signer": "grep11",
    "url": "grep11.example:9876",
    "cert_path": "client.pem",
    "key_path": "client-key.pem",
    "cacert_path": "/etc/pawl/ca.pem",
    "db": "ratchet.db",
    "keys": {
        "` + sampleHash + `": {
            "public_key": "` + samplePublic + `",
            "secret_key": "` + sampleBlob("01") + `"
        }
    },
    "policy": {"baking": true, "operations": []}
}
`
	for i := 0; i+1 < len(edits); i += 2 {
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	return text
}

func TestParseComplete(t *testing.T) {
	t.Parallel()
	cfg, findings, err := config.Parse([]byte(sample()), "/etc/pawl")
	if err != nil || len(findings) != 0 {
		t.Fatalf("Parse: findings %v, error %v; want none", findings, err)
	}
	if got, want := cfg.HSM.CertPath, "/etc/pawl/client.pem"; got != want {
		t.Errorf("cert_path = %q, want %q: relative paths count from the file's folder", got, want)
	}
	if got, want := cfg.HSM.CACertPath, "/etc/pawl/ca.pem"; got != want {
		t.Errorf("cacert_path = %q, want %q", got, want)
	}
	if len(cfg.Keys) != 1 || cfg.Keys[0].PublicKey.Hash().String() != sampleHash {
		t.Fatalf("keys = %v, want one, %s", cfg.Keys, sampleHash)
	}
	if got, want := cfg.Keys[0].DB, "/etc/pawl/ratchet.db"; got != want {
		t.Errorf("db = %q, want %q", got, want)
	}
	if !cfg.Keys[0].Policy.Baking {
		t.Error("the global policy does not reach the key")
	}
}

// TestParseSamples reads the files of the Python GREP11 config.
func TestParseSamples(t *testing.T) {
	t.Parallel()
	for name, wants := range map[string][]string{
		"keys-article.json": {
			"chain_ratchet: \"mockery\" is ignored",
			"keys." + sampleHash + ": has no db",
			"policy.voting[0]: \"aye\" is read as \"yay\"",
			"ratchet: ignored",
			"policy: has no operations",
		},
		"keys-toplevel-db.json": {"policy.voting[0]: \"aye\""},
		"keys-per-key-db.json":  {"keys.tz2Bjvy8z8ackCt2mQns2LrZ6Yc5BKe4dCpk.secret_key: key blob"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			cfg, findings, err := config.Parse(data, ".")
			if err != nil {
				t.Fatalf("Parse: %v\n%v", err, findings)
			}
			if len(cfg.Keys) == 0 || cfg.Keys[0].PublicKey.Hash().Kind() != tezos.P256 {
				t.Errorf("keys = %v, want a tz3 key first", cfg.Keys)
			}
			for _, want := range wants {
				if !slices.ContainsFunc(findings, func(f config.Finding) bool { return strings.HasPrefix(f.String(), want) }) {
					t.Errorf("no finding %q in %v", want, findings)
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	hash := "keys." + sampleHash
	for _, test := range []struct {
		name  string
		edits []string
		want  string // within the error
	}{
		{"not JSON", []string{`"signer"`, `signer`}, "line 2"},
		{"cut short", []string{"\n}\n", "\n"}, "unexpected"},
		{"trailing text", []string{"\n}\n", "\n} {}"}, "something follows"},
		{"not an object", []string{sample(), `[]`}, "not a JSON object"},
		{"nested too deeply", []string{`"grep11"`, strings.Repeat("[", 40) + strings.Repeat("]", 40)}, "nested too deeply"},
		{"unknown name", []string{`"policy"`, `"polcy"`}, "polcy: unknown name"},
		{"unknown name in a key", []string{`"secret_key": "`, `"secret": "x", "secret_key": "`}, hash + ".secret: unknown name"},
		{"unknown name in a policy", []string{`"baking"`, `"bakng"`}, "policy.bakng: unknown name"},
		{"name twice", []string{`"policy": {`, `"policy": {"baking": false}, "policy": {`}, "policy: occurs twice"},
		{"name twice in a policy", []string{`"baking": true`, `"baking": false, "baking": true`}, "policy.baking: occurs twice"},
		{"key twice", []string{`"keys": {`, `"keys": {"` + sampleHash + `": {},`}, hash + ": occurs twice"},
		{"names that differ in case", []string{`"policy": {`, `"Policy": {}, "policy": {`}, "differs from \"Policy\" only in case"},
		{"one name in other case", []string{`"policy"`, `"Policy"`}, "Policy: unknown name"},
		{"other signer", []string{`"grep11",`, `"local",`}, "signer: \"local\" does not exist"},
		{"other ratchet", []string{`"db"`, `"chain_ratchet": "dynamodb", "db"`}, "chain_ratchet: \"dynamodb\" does not exist"},
		{"server twice", []string{`"grep11.example:9876"`, `["a:1", "b:1", "a:1"]`}, `url[2]: "a:1" occurs twice`},
		{"too many servers", []string{`"grep11.example:9876"`, `["a:1"` + manyServers() + `]`}, "url: has 17 servers: name at most 16"},
		{"bad address in a list", []string{`"grep11.example:9876"`, `["a:1", "b"]`}, `url[1]: "b" is not host:port`},
		{"url with a scheme", []string{`grep11.example:9876`, `https://grep11.example:9876`}, "has a scheme"},
		{"url without a port", []string{`grep11.example:9876`, `grep11.example`}, "not host:port"},
		{"url with a blank before", []string{`"grep11.example:9876"`, `" grep11.example:9876"`}, `url: " grep11.example:9876" begins or ends with a blank`},
		{"url with a blank behind", []string{`"grep11.example:9876"`, `"grep11.example:9876 "`}, `begins or ends with a blank`},
		{"url with a blank within", []string{`"grep11.example:9876"`, `"grep11 example:9876"`}, `is not host:port`},
		{"url with a user", []string{`"grep11.example:9876"`, `"me@grep11.example:9876"`}, `is not host:port`},
		{"url with a path", []string{`"grep11.example:9876"`, `"grep11.example/x:9876"`}, `is not host:port`},
		{"port 0", []string{`:9876"`, `:0"`}, `url: "grep11.example:0": the port is not a number from 1 to 65535`},
		{"port too high", []string{`:9876"`, `:65536"`}, `the port is not a number from 1 to 65535`},
		{"port negative", []string{`:9876"`, `:-1"`}, `the port is not a number from 1 to 65535`},
		{"port a word", []string{`:9876"`, `:grep11"`}, `the port is not a number from 1 to 65535`},
		{"NUL in a path", []string{`"ratchet.db"`, `"ratchet\u0000.db"`}, `db: "ratchet\x00.db" has a control character`},
		{"line end in a path", []string{`"client.pem"`, `"client\n.pem"`}, `cert_path: "client\n.pem" has a control character`},
		{"bell in server_name", []string{`"db"`, `"server_name": "h\u0007", "db"`}, `server_name: "h\a" has a control character`},
		{"text that runs backwards", []string{`"ratchet.db"`, `"bd.\u202ech"`}, `db: "bd.\u202ech" has a control character or an invisible one`},
		{"no-break space in a path", []string{`"ratchet.db"`, `"r\u00a0.db"`}, `or an invisible one`},
		{"blank in a path", []string{`"ratchet.db"`, `"ratchet.db "`}, `db: "ratchet.db " begins or ends with a blank`},
		{"control character in a name", []string{`"policy": {`, `"po\u0000l\ni": 1, "policy": {`}, `"po\x00l\ni": unknown name`},
		{"control character in a hash", []string{`"keys": {`, `"keys": {"tz1\u001b[2J": {},`}, `keys."tz1\x1b[2J": the name is not a public key hash`},
		{"very long name", []string{`"policy": {`, `"` + strings.Repeat("xy", 5000) + `": 1, "policy": {`}, `"` + strings.Repeat("xy", 32) + `…": unknown name`},
		{"very long value", []string{`"grep11.example:9876"`, `"` + strings.Repeat("xy", 5000) + `"`}, `url: "` + strings.Repeat("xy", 32) + `…" is not host:port`},
		{"Signatory's word for blocks", []string{`"operations": []`, `"operations": ["block"]`}, "policy.operations[0]: block is opened by policy.baking"},
		{"Signatory's word for attestations", []string{`"operations": []`, `"operations": ["attestation_with_dal"]`}, "attestation_with_dal is opened by policy.baking"},
		{"the old word for attestations", []string{`"operations": []`, `"operations": ["reveal", "endorsement"]`}, "policy.operations[1]: endorsement is opened by policy.baking"},
		{"Signatory's word for operations", []string{`"operations": []`, `"operations": ["generic"]`}, "generic is opened by the kinds of operations, each by its name"},
		{"name of no chain", []string{`"baking"`, `"chains": ["testnet"], "baking"`}, "policy.chains[0]: neither a chain id"},
		{"a clear key for a blob", []string{sampleBlob("01"), clearKey}, hash + ".secret_key: a clear secret key (edsk…), which does not belong in keys.json: bring the key into the HSM with `pawl keys import`"},
		{"an encrypted key for a blob", []string{sampleBlob("01"), "encrypted:edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW"}, "an encrypted secret key (edesk…)"},
		{"a clear key for a name", []string{`"` + sampleHash + `"`, `"` + clearKey + `"`}, `keys."edsk[redacted]": the name is a clear secret key (edsk…)`},
		{"a seed for an address", []string{`"grep11.example:9876"`, `"` + strings.Repeat("0a", 16) + `:9876"`}, `url: what may be a secret in hex`},
		{"url a number", []string{`"grep11.example:9876"`, `9876`}, "url: must be a string"},
		{"unknown dialect", []string{`"db"`, `"dialect": "v3", "db"`}, "dialect"},
		{"no keys", []string{`"keys"`, `"ratchet"`}, "keys: missing"},
		{"keys a list", []string{`"keys": {`, `"keys": [], "ratchet": {`}, "keys: must be an object"},
		{"name no hash", []string{`"` + sampleHash + `"`, `"tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQme"`}, "not a public key hash"},
		{"name of another key", []string{`"` + sampleHash + `"`, `"` + otherHash + `"`}, "hashes to " + sampleHash},
		{"no public key", []string{`"public_key": "` + samplePublic + `",`, ``}, hash + ": has no public_key"},
		{"bad public key", []string{samplePublic, samplePublic[:54] + "N"}, hash + ".public_key"},
		{"no secret key", []string{`"secret_key"`, `"public_handle"`}, "needs secret_key or secret_key_file"},
		{"secret key and file", []string{`"secret_key": "`, `"secret_key_file": "x", "secret_key": "`}, "one of them only"},
		{"baking a word", []string{`true`, `"yes"`}, "policy.baking: must be true or false"},
		{"baking 2", []string{`true`, `2`}, "policy.baking: must be true or false"},
		{"unknown ballot", []string{`"baking"`, `"voting": ["yes"], "baking"`}, "policy.voting[0]: \"yes\" is no ballot"},
		{"voting no list", []string{`"baking"`, `"voting": "yay", "baking"`}, "policy.voting: must be a list"},
		{"unknown operation", []string{`"operations": []`, `"operations": ["transfer"]`}, "policy.operations[0]"},
		{"ballot in operations", []string{`"operations": []`, `"operations": ["ballot"]`}, "policy.voting"},
		{"destination no address", []string{`"baking"`, `"destinations": ["tz1"], "baking"`}, "policy.destinations[0]"},
		{"chain no chain", []string{`"baking"`, `"chains": ["NetX"], "baking"`}, "policy.chains[0]"},
		{"no chains", []string{`"baking"`, `"chains": [], "baking"`}, "policy.chains: is empty"},
		{"level below 0", []string{`"baking"`, `"not_before_level": -1, "baking"`}, "policy.not_before_level"},
		{"last level 0", []string{`"baking"`, `"not_after_level": 0, "baking"`}, "policy.not_after_level"},
		{"level over int32", []string{`"baking"`, `"not_before_level": 2147483648, "baking"`}, "policy.not_before_level"},
		{"levels crossed", []string{`"baking"`, `"not_before_level": 9, "not_after_level": 8, "baking"`}, "not_after_level is below"},
		{"unknown liquidity vote", []string{`"baking"`, `"liquidity_baking_vote": "aye", "baking"`}, "policy.liquidity_baking_vote"},
		{"gap a fraction", []string{`"db"`, `"max_level_gap": 1.5, "db"`}, "max_level_gap"},
		{"gap negative", []string{`"db"`, `"max_level_gap": -1, "db"`}, "max_level_gap"},
		{"client key no key", []string{`"db"`, `"authorized_keys": ["edpk"], "db"`}, "authorized_keys[0]"},
		{"no client keys", []string{`"db"`, `"authorized_keys": [], "db"`}, "authorized_keys: is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text := sample(test.edits...)
			if text == sample() {
				t.Fatal("the edit changes nothing")
			}
			cfg, findings, err := config.Parse([]byte(text), ".")
			if err == nil || cfg != nil {
				t.Fatalf("Parse = %v, %v, %v; want an error and nothing else", cfg, findings, err)
			}
			all := err.Error()
			for _, f := range findings {
				all += "\n" + f.String()
			}
			if !strings.Contains(all, test.want) {
				t.Errorf("Parse: %s\nwant %q in it", all, test.want)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(all, "abababab") || strings.Contains(all, clearKey[4:]) {
				t.Errorf("error of more than one line, or with a blob or a key in it: %q", all)
			}
			for _, f := range findings {
				if text := f.String(); strings.ContainsFunc(text, unicode.IsControl) || len(text) > 300 {
					t.Errorf("finding with a control character, or of %d bytes: %.400q", len(text), text)
				}
			}
		})
	}
}

func TestParseFindings(t *testing.T) {
	t.Parallel()
	hash := "keys." + sampleHash
	second := `"keys": {"` + otherHash + `": {"public_key": "` + otherPublic + `", "secret_key": "` + sampleBlob("02") + `"},`
	for _, test := range []struct {
		name     string
		edits    []string
		severity config.Severity
		want     string
	}{
		{"no url", []string{`"url": "grep11.example:9876",`, ``}, config.Unopenable, "url: missing"},
		{"no servers", []string{`"grep11.example:9876"`, `[]`}, config.Unopenable, "url: is an empty list"},
		{"no db", []string{`"db": "ratchet.db",`, ``}, config.Unopenable, hash + ": has no db"},
		{"blob too short", []string{sampleBlob("01"), "1234"}, config.Unopenable, hash + ".secret_key: key blob"},
		{"blob without marker", []string{"00011234", "00014321"}, config.Unopenable, hash + ".secret_key: key blob"},
		{"extractable blob", []string{born, "0000000000400125"}, config.Warning, hash + ".secret_key: the key is extractable"},
		{"session-bound blob", []string{`"secret_key": "00`, `"secret_key": "01`}, config.Warning, hash + ".secret_key: the key is bound to a login session"},
		{"two master keys", []string{`"keys": {`, second}, config.Warning, "keys: the key blobs are wrapped by 2 master keys"},
		{"no policy", []string{`"policy": {"baking": true, "operations": []}`, `"max_in_flight": 4`}, config.Warning, hash + ": has no policy"},
		{"old name", []string{`"db"`, `"hsm_slot": 0, "db"`}, config.Warning, "hsm_slot: ignored"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg, findings, err := config.Parse([]byte(sample(test.edits...)), ".")
			if err != nil || cfg == nil {
				t.Fatalf("Parse: %v, %v; want no error", err, findings)
			}
			if !slices.ContainsFunc(findings, func(f config.Finding) bool {
				return f.Severity == test.severity && strings.HasPrefix(f.String(), test.want)
			}) {
				t.Errorf("findings = %v, want %q of severity %d", findings, test.want, test.severity)
			}
		})
	}
}

func TestParsePolicies(t *testing.T) {
	t.Parallel()
	own := `"public_key": "` + samplePublic + `", "policy": {"voting": ["nay"], "operations": ["reveal"], "baking": 0},`
	cfg, findings, err := config.Parse([]byte(sample(`"public_key": "`+samplePublic+`",`, own)), ".")
	if err != nil {
		t.Fatalf("Parse: %v, %v", err, findings)
	}
	got := cfg.Keys[0].Policy
	if got.Baking || !slices.Equal(got.Voting, []tezos.Ballot{tezos.Nay}) || !slices.Equal(got.Operations, []tezos.OperationKind{tezos.OpReveal}) {
		t.Errorf("policy = %+v; want the key's own in place of the global one", got)
	}
}

func TestLoadModes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(sample()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		mode    os.FileMode
		refused bool
		warned  bool
	}{{0o600, false, false}, {0o640, false, true}, {0o604, false, true}, {0o620, true, false}, {0o602, true, false}, {0o666, true, false}} {
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		_, findings, err := config.Load(path)
		if (err != nil) != test.refused || (len(findings) != 0) != test.warned {
			t.Errorf("mode %04o: findings %v, error %v; want refused %v, warned %v", test.mode, findings, err, test.refused, test.warned)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample()))
	for _, name := range []string{"keys-article.json", "keys-toplevel-db.json", "keys-per-key-db.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if cfg, _, err := config.Parse(data, "."); (cfg == nil) != (err != nil) {
			t.Errorf("Parse = %v, %v: a configuration and an error", cfg, err)
		}
	})
}

// manyServers are 16 items of a list.
func manyServers() (list string) {
	for port := range 16 {
		list += fmt.Sprintf(`, "b:%d"`, port+1)
	}
	return list
}

func TestServersOfURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`"a:1"`:                  {"a:1"},
		`["a:1"]`:                {"a:1"},
		`["a:1", "b:1", "b:2"]`:  {"a:1", "b:1", "b:2"},
		`["10.0.0.1:9", "b:90"]`: {"10.0.0.1:9", "b:90"},
	} {
		cfg, findings, err := config.Parse([]byte(sample(`"grep11.example:9876"`, text, `"signer"`, `"server_name": "hsm", "max_in_flight": 3, "signer"`)), ".")
		if err != nil || len(findings) != 0 {
			t.Fatalf("url %s: %v %v", text, err, findings)
		}
		var got []string
		for _, server := range cfg.Servers() {
			got = append(got, server.Address)
			if server.CertPath != "client.pem" || server.ServerName != "hsm" || server.MaxInFlight != 3 {
				t.Errorf("url %s: server %+v has not what the file says of all", text, server)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("url %s: servers %v, want %v", text, got, want)
		}
	}
}

// A pipe is refused before it is read, and is not waited for.
func TestLoadReadsRegularFilesOnly(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, filepath.Dir(pipe), os.DevNull} {
		if _, _, err := config.Load(path); err == nil || err.Error() != path+": not a regular file" {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What Windows and its editors write is read, or called what it is.
func TestParseTextOfWindows(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"byte order mark": "\ufeff" + sample(),
		"line ends":       strings.ReplaceAll(sample(), "\n", "\r\n"),
		"both":            "\ufeff" + strings.ReplaceAll(sample(), "\n", "\r\n"),
		"blob with both":  sample(sampleBlob("01"), "\ufeff"+sampleBlob("01")+`\r\n`),
	} {
		cfg, findings, err := config.Parse([]byte(text), ".")
		if err != nil || len(findings) > 0 || len(cfg.Keys) != 1 || cfg.Keys[0].Blob == nil {
			t.Errorf("%s: %v, %v", name, findings, err)
		}
	}
	for _, mark := range []string{"", "\ufeff"} {
		var little, big []byte
		for _, unit := range utf16.Encode([]rune(mark + sample())) {
			little = append(little, byte(unit), byte(unit>>8))
			big = append(big, byte(unit>>8), byte(unit))
		}
		for _, data := range [][]byte{little, big} {
			_, findings, err := config.Parse(data, ".")
			if err == nil || len(findings) > 0 || err.Error() != "keys.json: is UTF-16 text: save it as UTF-8" {
				t.Errorf("% x…: %v, %v", data[:8], findings, err)
			}
		}
	}
}

// Networks have names, in policies too.
func TestParseNamesOfChains(t *testing.T) {
	t.Parallel()
	cfg, findings, err := config.Parse([]byte(sample(`"baking"`, `"chains": ["mainnet", "NetXnHfVqm9iesp", "Shadownet"], "baking"`)), ".")
	if err != nil {
		t.Fatal(err, findings)
	}
	var got []string
	for _, chain := range cfg.Keys[0].Policy.Chains {
		got = append(got, chain.String())
	}
	if want := []string{"NetXdQprcVkpaWU", "NetXnHfVqm9iesp", "NetXsqzbfFenSTS"}; !slices.Equal(got, want) {
		t.Errorf("chains %v, want %v", got, want)
	}
}

func TestShown(t *testing.T) {
	t.Parallel()
	for n, want := range map[int][2]int{0: {0, 0}, 50: {50, 0}, 51: {50, 1}, 10050: {50, 10000}} {
		if shown, more := config.Shown(make([]config.Finding, n)); len(shown) != want[0] || more != want[1] {
			t.Errorf("of %d: %d and %d more, want %v", n, len(shown), more, want)
		}
	}
}
