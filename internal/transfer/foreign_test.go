package transfer_test

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/mattn/go-sqlite3"

	"pawl/internal/transfer"
	"pawl/ratchet"
	"pawl/tezos"
)

const (
	tz1, tz2 = "tz1KwJPjrBudTaUcv3DVPvJnkb19fiSQaiYX", "tz2Bjvy8z8ackCt2mQns2LrZ6Yc5BKe4dCpk"
	tz4      = "tz4EECtMxAuJ9UDLaiMZH7G1GCFYUWsj8HZn"
	// What octez-signer writes for a payload: its BLAKE2b-256 in hex.
	hash = "0102030405060708091011121314151617181920212223242526272829303132"
)

func parsed(t *testing.T, pkh string) tezos.PublicKeyHash {
	t.Helper()
	key, err := tezos.ParsePublicKeyHash(pkh)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// expected is a mark on mainnet; digest in hex, "" for none.
func expected(t *testing.T, pkh string, kind tezos.Kind, level, round int32, digest string) ratchet.StoredMark {
	t.Helper()
	m := ratchet.StoredMark{Mark: ratchet.Mark{Key: parsed(t, pkh), ChainID: mainnet, Kind: kind, Level: level, Round: round}}
	if digest != "" {
		raw, err := hex.DecodeString(digest)
		if err != nil {
			t.Fatal(err)
		}
		m.Digest = tezos.Digest(raw)
	}
	return m
}

// files makes files in a folder, and returns its path.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range content {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// pythonDB makes the database of the Python signer, as it makes it, with rows of sigtype, lastblock, lastround.
func pythonDB(t *testing.T, rows ...[]any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signer.db")
	pool, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	}()
	const table = "CREATE TABLE signature (sigtype TEXT PRIMARY KEY, lastblock NUMERIC, lastround NUMERIC)"
	if _, err := pool.ExecContext(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if _, err := pool.ExecContext(t.Context(), "INSERT INTO signature VALUES (?, ?, ?)", row...); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestForeign reads what each of the other signers keeps.
func TestForeign(t *testing.T) {
	t.Parallel()
	octezFile := func(pkh string, level, round int) string {
		return fmt.Sprintf(`{ "NetXdQprcVkpaWU": { "%s": { "level": %d, "round": %d, "hash": "%s" } } }`, pkh, level, round, hash)
	}
	const (
		attested = "tz1dG9m9h56rY79XYLqA9B5ZeG4Eg2AC3xe1"
		block    = tezos.Block
	)
	octez := files(t, map[string]string{
		"block_high_watermarks":          octezFile(tz4, 34, 4),
		"preendorsement_high_watermarks": octezFile(tz1, 50, 0), // of before v23
		"preattestation_high_watermarks": octezFile(tz1, 49, 0),
		"attestation_high_watermarks":    `{"NetXdQprcVkpaWU": {"` + tz1 + `": {"level": 51, "hash": "` + hash + `"}}}`,
		"secret_keys":                    "of the wallet, which is not read",
	})
	for name, c := range map[string]struct {
		format, path string
		key          tezos.PublicKeyHash
		want         []ratchet.StoredMark
	}{
		"a table": {
			"csv", filepath.Join(files(t, map[string]string{"t.csv": "key,chain,kind,level,round\r\n" +
				tz1 + ",mainnet,block,12,3\n" + tz1 + ",NetXdQprcVkpaWU,attestation,2147483647,0\n"}), "t.csv"),
			tezos.PublicKeyHash{},
			[]ratchet.StoredMark{expected(t, tz1, block, 12, 3, ""), expected(t, tz1, tezos.Attestation, 2147483647, 0, "")},
		},
		"octez-signer": {"octez", octez, tezos.PublicKeyHash{}, []ratchet.StoredMark{
			expected(t, tz1, tezos.Preattestation, 50, 0, hash), expected(t, tz1, tezos.Attestation, 51, 0, hash),
			expected(t, tz4, block, 34, 4, hash),
		}},
		"a file of octez-signer": {
			"octez", filepath.Join(octez, "block_high_watermarks"),
			tezos.PublicKeyHash{},
			[]ratchet.StoredMark{expected(t, tz4, block, 34, 4, hash)},
		},
		"the Python signer, a key each": {
			"python", pythonDB(t, []any{"Baking_NetXdQprcVkpaWU", 12, 0},
				[]any{"Preendorsement_NetXdQprcVkpaWU", 11, 6}, []any{"Endorsement_NetXdQprcVkpaWU", "10", "1"}), parsed(t, tz2),
			[]ratchet.StoredMark{
				expected(t, tz2, block, 12, 0, ""), expected(t, tz2, tezos.Preattestation, 11, 6, ""), expected(t, tz2, tezos.Attestation, 10, 1, ""),
			},
		},
		"the Python signer, all keys": {
			"python", pythonDB(t, []any{"Baking_NetXdQprcVkpaWU_" + tz1, 12, 0},
				[]any{"Baking_NetXdQprcVkpaWU_" + tz2, 13, 1}),
			tezos.PublicKeyHash{},
			[]ratchet.StoredMark{expected(t, tz1, block, 12, 0, ""), expected(t, tz2, block, 13, 1, "")},
		},
		// A file that Signatory v1.4.0 has written. Attestations with DAL and without are one mark.
		"Signatory":           {"signatory", "testdata", tezos.PublicKeyHash{}, signatoryMarks(t, attested)},
		"a file of Signatory": {"signatory", "testdata/watermark_v2/NetXdQprcVkpaWU.json", tezos.PublicKeyHash{}, signatoryMarks(t, attested)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := transfer.Foreign(c.format, c.path, c.key)
			if diff := cmp.Diff(c.want, got.Marks, compared); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			for _, r := range got.Registrations {
				highest := int32(-1)
				for _, m := range c.want {
					if m.Key == r.Key && m.ChainID == r.ChainID {
						highest = max(highest, m.Level)
					}
				}
				if r.NoFloor || r.AnyChain || r.FromLevel != highest {
					t.Errorf("registered as %+v, want from level %d on", r, highest)
				}
			}
			if len(got.Registrations) == 0 {
				t.Error("no registration")
			}
		})
	}
}

// signatoryMarks are those of the file in testdata. Its hashes are digests, in the text form of payload hashes.
func signatoryMarks(t *testing.T, second string) []ratchet.StoredMark {
	t.Helper()
	digest := func(text string) string {
		raw, err := tezos.ParsePayloadHash(text)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(raw[:])
	}
	const pre, att = "vh2fXQEtd83qbXEo4mhzKDhsmBjp4mp9MxkGQTap4UEk3h3zbn9e", "vh1j8NBuh9V5JjaAq2ZCmRqMcnJNavzMUVESNqGDc2yyE4J8PF1K"
	return []ratchet.StoredMark{
		expected(t, tz1, tezos.Preattestation, 12200345, 0, digest(pre)),
		expected(t, tz1, tezos.Attestation, 12200350, 1, digest("vh2DBgz8Evtpw93dvFHY9mCN88ZFq5ac6Vqj5Cu7eFfi348sL36z")),
		expected(t, second, tezos.Block, 12200345, 0, digest("vh1pb1qCkrroMFTXNedEjeFjUEPpAse9ULasig3mwdAEVemC6tcQ")),
		expected(t, second, tezos.Preattestation, 12200345, 0, digest(pre)),
		expected(t, second, tezos.Attestation, 12200345, 0, digest(att)),
	}
}

// TestForeignRefuses what cannot be understood: one line, with the place.
func TestForeignRefuses(t *testing.T) {
	t.Parallel()
	const head = "key,chain,kind,level,round\n"
	octez := func(value string) string {
		return `{"NetXdQprcVkpaWU": {"` + tz1 + `": ` + value + `}}`
	}
	for name, c := range map[string]struct{ format, file, text, want string }{
		"no format":               {"json", "f", "", `want one of [csv octez python signatory]`},
		"no file":                 {"csv", "", "", "no such file"},
		"a folder":                {"csv", ".", "", "not a regular file"},
		"empty":                   {"csv", "f", "", "holds no mark"},
		"no row":                  {"csv", "f", head, "holds no mark"},
		"other columns":           {"csv", "f", "key,chain,kind,round,level\n", "line 1"},
		"a column more":           {"csv", "f", head + tz1 + ",mainnet,block,1,2,3\n", "line 2"},
		"no key":                  {"csv", "f", head + "tz1x,mainnet,block,1,2\n", "line 2"},
		"no chain":                {"csv", "f", head + tz1 + ",net,block,1,2\n", "line 2"},
		"no kind":                 {"csv", "f", head + tz1 + ",mainnet,vote,1,2\n", "line 2"},
		"negative":                {"csv", "f", head + tz1 + ",mainnet,block,-1,2\n", "line 2: level"},
		"too high":                {"csv", "f", head + tz1 + ",mainnet,block,2147483648,2\n", "line 2: level"},
		"round":                   {"csv", "f", head + tz1 + ",mainnet,block,1,x\n", "line 2: round"},
		"twice":                   {"csv", "f", head + tz1 + ",mainnet,block,1,0\n" + tz1 + ",NetXdQprcVkpaWU,block,2,0\n", "line 3: a second block mark"},
		"octez: name":             {"octez", "f", "{}", "block_high_watermarks"},
		"octez: no JSON":          {"octez", "block_high_watermarks", "{", "block_high_watermarks"},
		"octez: a list":           {"octez", "block_high_watermarks", "[]", "no object"},
		"octez: more":             {"octez", "block_high_watermarks", "{} {}", "after top-level value"},
		"octez: chain":            {"octez", "block_high_watermarks", `{"main": {}}`, "main"},
		"octez: key":              {"octez", "block_high_watermarks", `{"NetXdQprcVkpaWU": {"tz1x": {}}}`, "NetXdQprcVkpaWU: tz1x"},
		"octez: no level":         {"octez", "block_high_watermarks", octez(`{"round": 0, "hash": "` + hash + `"}`), "no level"},
		"octez: negative":         {"octez", "block_high_watermarks", octez(`{"level": -1, "hash": "` + hash + `"}`), "negative"},
		"octez: no hash":          {"octez", "block_high_watermarks", octez(`{"level": 1}`), "no hash"},
		"octez: short hash":       {"octez", "block_high_watermarks", octez(`{"level": 1, "hash": "01"}`), "32 bytes"},
		"octez: signature":        {"octez", "block_high_watermarks", octez(`{"level": 1, "hash": "` + hash + `", "signature": "edsigx"}`), tz1},
		"octez: unknown":          {"octez", "block_high_watermarks", octez(`{"level": 1, "hash": "` + hash + `", "slot": 1}`), "slot"},
		"octez: a level twice":    {"octez", "block_high_watermarks", octez(`{"level": 1, "level": 2, "hash": "` + hash + `"}`), "twice"},
		"octez: a key twice":      {"octez", "block_high_watermarks", `{"NetXdQprcVkpaWU": {"` + tz1 + `": {}, "` + tz1 + `": {}}}`, "twice"},
		"octez: nothing":          {"octez", ".", "", "holds no mark"},
		"Signatory: name":         {"signatory", "mainnet.json", "{}", "the name is no chain"},
		"Signatory: kind":         {"signatory", "NetXdQprcVkpaWU.json", `{"` + tz1 + `": {"generic": {}}}`, "generic"},
		"Signatory: key":          {"signatory", "NetXdQprcVkpaWU.json", `{"tz1x": {}}`, "tz1x"},
		"Signatory: hash":         {"signatory", "NetXdQprcVkpaWU.json", `{"` + tz1 + `": {"block": {"level": 1, "round": 0, "hash": "vh1"}}}`, "payload hash"},
		"Signatory: no hash":      {"signatory", "NetXdQprcVkpaWU.json", `{"` + tz1 + `": {"block": {"level": 1, "round": 0}}}`, "no hash"},
		"Python: no database":     {"python", "f", "text", "no database of the Python signer"},
		"Python: empty":           {"python", "f", "", "no database of the Python signer"},
		"Signatory: nothing":      {"signatory", ".", "", "holds no mark"},
		"Signatory: not a number": {"signatory", "NetXdQprcVkpaWU.json", `{"` + tz1 + `": {"block": {"level": "1", "round": 0, "hash": "vh1"}}}`, "level"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			if c.file != "" && c.file != "." {
				folder = files(t, map[string]string{c.file: c.text})
			}
			path := filepath.Join(folder, c.file)
			if c.file == "" {
				path = filepath.Join(folder, "none")
			}
			wantForeignError(t, c.format, path, tezos.PublicKeyHash{}, c.want)
		})
	}
}

func wantForeignError(t *testing.T, format, path string, key tezos.PublicKeyHash, want string) {
	t.Helper()
	got, err := transfer.Foreign(format, path, key)
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || len(got.Marks) != 0 {
		t.Errorf("%+v, %v, want one line with %q", got, err, want)
	}
}

// TestForeignRefusesRows of the Python signer's database.
func TestForeignRefusesRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		row  []any
		want string
	}{
		"no key":       {[]any{"Baking_NetXdQprcVkpaWU", 1, 0}, "--key"},
		"no chain":     {[]any{"Baking", 1, 0}, "Kind_chain"},
		"another kind": {[]any{"Voting_NetXdQprcVkpaWU_" + tz1, 1, 0}, "Voting"},
		"a bad chain":  {[]any{"Baking_Net_" + tz1, 1, 0}, "Net"},
		"a bad key":    {[]any{"Baking_NetXdQprcVkpaWU_tz1", 1, 0}, "tz1"},
		"a fraction":   {[]any{"Baking_NetXdQprcVkpaWU_" + tz1, 1.5, 0}, "lastblock"},
		"negative":     {[]any{"Baking_NetXdQprcVkpaWU_" + tz1, 1, -1}, "lastround"},
		"nothing":      {[]any{"Baking_NetXdQprcVkpaWU_" + tz1, nil, 0}, "no database of the Python signer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantForeignError(t, "python", pythonDB(t, c.row), tezos.PublicKeyHash{}, c.want)
		})
	}
	twice := pythonDB(t, []any{"Baking_NetXdQprcVkpaWU", 1, 0}, []any{"Baking_NetXdQprcVkpaWU_" + tz2, 2, 0})
	wantForeignError(t, "python", twice, parsed(t, tz2), "a second block mark")
}

// TestForeignFileIsNotChanged, and nothing is left beside it.
func TestForeignFileIsNotChanged(t *testing.T) {
	t.Parallel()
	path := pythonDB(t, []any{"Baking_NetXdQprcVkpaWU", 1, 0})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.Foreign("python", path, parsed(t, tz2)); err != nil {
		t.Error(err)
	}
	after, err := os.ReadFile(path)
	entries, errDir := os.ReadDir(filepath.Dir(path))
	if err != nil || errDir != nil || string(after) != string(before) || len(entries) != 1 {
		t.Errorf("%v, %v, %d files beside it, changed: %t", err, errDir, len(entries), string(after) != string(before))
	}
}
