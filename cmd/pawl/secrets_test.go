package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pawl/internal/config"
)

// misplacedSecrets are secrets of nobody, each with what must not be seen of it.
var misplacedSecrets = map[string]struct{ text, hidden string }{
	"edsk":      {"edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh", "UfUPyBSf"},
	"long edsk": {"unencrypted:edskRuR1azSfboG86YPTyxrQgosh5zChf5bVDmptqLTb5EuXAm9rsnDYfTKhq7rDQujdn5WWzwUMeV3agaZ6J2vPQT58jJAJPi", "1azSfboG"},
	"spsk":      {"spsk1zkqrmst1yg2c4xi3crWcZPqgdc9KtPtb9SAZWYHAdiQzdHy7j", "qrmst1yg"},
	"p2sk":      {"p2sk35q9MJHLN1SBHNhKq7oho1vnZL28bYfsSKDUrDn2e4XVcp6ohZ", "MJHLN1SB"},
	"edesk":     {"encrypted:edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW", "BaysskGt"},
	"BLsk":      {"BLsk1o1S8oAG76r3o3aJr1gbVhNdDnAMsdy1yMfwHLWwUHfAeyEXHV", "8oAG76r3"},
	"PEM":       {"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n", "INTuctv5"},
	"seed":      {"d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842", "dbf91358"},
	"mnemonic":  {"legal winner thank year wave sausage worth useful legal winner thank yellow", "sausage"},
}

// soundBlob is the hex of a blob with a sound head.
const soundBlob = "000000000000000000000000000000000000000000000000000000000000000058b25ed705767b2729e96514ee97a6b3" +
	"000000000040012600000000000000011234ababababababababababababababcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd" +
	"efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef"

// wholeConfig is a sound keys.json in which every name that there is has a value.
const wholeConfig = `{
	"signer": "grep11", "url": ["127.0.0.1:1"], "cert_path": "c.pem", "key_path": "k.pem", "cacert_path": "a.pem",
	"server_name": "localhost", "dialect": "both", "max_in_flight": 8, "apikey_file": "api", "iam_endpoint": "https://127.0.0.1:1",
	"db": "ratchet.db", "chain_ratchet": "sqlitedb", "max_level_gap": 57600, "ratchet": "x", "hsm_username": "x", "hsm_slot": 0,
	"hsm_lib": "x", "private_handle": "x", "public_handle": "x",
	"authorized_keys": ["edpkvWoG8zRAgfPpQtWhf6VEMifvBsmGriKKRXfmHJv1kBWT6oucKn"],
	"policy": {"baking": true, "voting": ["yay"], "operations": ["reveal"], "destinations": ["tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z"],
		"michelson": false, "liquidity_baking_vote": "any", "chains": ["mainnet"], "not_before_level": 1, "not_after_level": 2},
	"keys": {"tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd": {
		"signer": "grep11", "public_key": "p2pk66EnR4uFKpTmZj9z5Fg9J2J8KmLb7LCwZe5QPySs8JurcTP1PXM", "secret_key": "` + soundBlob + `",
		"secret_key_next": "` + soundBlob + `", "db": "own.db", "policy": {"baking": true}},
		"tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z": {
		"public_key": "edpkvWoG8zRAgfPpQtWhf6VEMifvBsmGriKKRXfmHJv1kBWT6oucKn", "secret_key_file": "x.sk.hex"}}
}`

// withSecret calls do with the file once for each place of it: the secret takes the place of a value,
// of a name, or is added under a name that no keys.json has.
func withSecret(t *testing.T, secret string, do func(place string, file []byte)) {
	t.Helper()
	var root any
	if err := json.Unmarshal([]byte(wholeConfig), &root); err != nil {
		t.Fatal(err)
	}
	put := func(place string) {
		file, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		do(place, file)
	}
	var visit func(path string, v any, set func(any))
	visit = func(path string, v any, set func(any)) {
		set(secret)
		put(path)
		set([]any{secret})
		put(path + " in a list")
		set(map[string]any{secret: secret})
		put(path + " in an object")
		set(v)
		switch v := v.(type) {
		case []any:
			for i := range v {
				visit(fmt.Sprintf("%s[%d]", path, i), v[i], func(x any) { v[i] = x })
			}
		case map[string]any:
			v["unknown"] = secret
			put(path + ".unknown")
			delete(v, "unknown")
			for _, name := range slices.Sorted(maps.Keys(v)) {
				was := v[name]
				visit(path+"."+name, was, func(x any) { v[name] = x })
				delete(v, name)
				v[secret] = was
				put(path + "." + name + " as a name")
				delete(v, secret)
				v[name] = was
			}
		}
	}
	visit("", root, func(x any) { root = x })
}

// commandsOnConfig are all commands that read a keys.json.
func commandsOnConfig(config, dir string) [][]string {
	const key, payload = "tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd", "0500036c"
	return [][]string{
		{"serve", "--config", config, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"},
		{"check", "--config", config, "--timeout", "1s", "--admin", "127.0.0.1:1"},
		{"check", "--json", "--config", config, "--timeout", "1s", "--admin", "127.0.0.1:1"},
		{"createtezoskey", "tz1", "--config", config, "--dir", dir},
		{"createtezoskey", "tz1", "--config", config, "--dir", dir, "--add"},
		{"keys", "list", "--config", config},
		{"keys", "inspect", config},
		{"keys", "import", "--config", config, "--from", os.DevNull, "--dir", dir},
		{"keys", "derive", "tz1", "m/0'", "--config", config, "--seed", os.DevNull, "--dir", dir},
		{"keys", "seed", "--config", config, "--out", filepath.Join(dir, "seed")},
		{"keys", "rewrap", "--config", config},
		{"keys", "rewrap", "--promote", "--config", config},
		{"ratchet", "init", "--config", config},
		{"ratchet", "show", "--config", config, "--admin", "127.0.0.1:1"},
		{"ratchet", "register", key, "--chain", "mainnet", "--from-level", "1", "--config", config},
		{"explain", payload, "--config", config, "--admin", "127.0.0.1:1", "--key", key},
	}
}

// A secret in any place of keys.json, of whatever kind: no command shows a part of it, on the terminal
// or in the log. Each kind is tried in each place, with the next command in turn: a command takes some
// 30 ms under the race detector, and there are 24,000 combinations.
func TestNoSecretOfConfigIsShown(t *testing.T) {
	t.Parallel()
	if _, findings, err := config.Parse([]byte(wholeConfig), "."); err != nil {
		t.Fatalf("without a secret it must be sound: %v", findings)
	}
	for turn, name := range slices.Sorted(maps.Keys(misplacedSecrets)) {
		secret := misplacedSecrets[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, places := filepath.Join(dir, "keys.json"), 0
			withSecret(t, secret.text, func(place string, content []byte) {
				places++
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
				commands := commandsOnConfig(file, dir)
				args := commands[(places+turn)%len(commands)]
				var out bytes.Buffer
				err := run(t.Context(), append([]string{"pawl"}, args...), &out, &out)
				code := report(&out, err)
				if strings.Contains(out.String(), secret.hidden) {
					t.Errorf("%s: %s shows it: %s", place, strings.Join(args[:2], " "), out.String())
				}
				if code == 0 && !harmless(place, name) {
					t.Errorf("%s: %s takes the file", place, strings.Join(args[:2], " "))
				}
			})
			if places < 150 {
				t.Errorf("%d places were tried, want all", places)
			}
		})
	}
}

// harmless reports whether keys.json may hold long hex there: blobs, and the handles of old files.
func harmless(place, secret string) bool {
	return secret == "seed" && (strings.Contains(place, "secret_key") || strings.Contains(place, "_handle"))
}
