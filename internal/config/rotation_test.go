package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/tezos"
)

func parsedBlob(t *testing.T, hexadecimal string) ep11.Blob {
	t.Helper()
	blob, err := ep11.ParseBlob(hexadecimal)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func parsedHash(t *testing.T, text string) tezos.PublicKeyHash {
	t.Helper()
	hash, err := tezos.ParsePublicKeyHash(text)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// rotated returns the rotation of a key from sampleBlob("01") to sampleBlob("02").
func rotated(t *testing.T, hash string) config.Rotation {
	t.Helper()
	return config.Rotation{
		Key:  parsedHash(t, hash),
		Blob: parsedBlob(t, sampleBlob("01")),
		Next: parsedBlob(t, sampleBlob("02")),
	}
}

// The table shows entries in every way to write them, then after AddNextBlobs, and then after
// PromoteBlobs. B stands for the blob, N for the next one.
func TestRotateEntries(t *testing.T) {
	t.Parallel()
	blob, next := sampleBlob("01"), sampleBlob("02")
	public := `"public_key": "` + samplePublic + `"`
	for name, test := range map[string]struct{ entry, added, promoted string }{
		"a line each": {
			"{\n      P,\n      \"secret_key\": \"B\"\n    }",
			"{\n      P,\n      \"secret_key\": \"B\",\n      \"secret_key_next\": \"N\"\n    }",
			"{\n      P,\n      \"secret_key\": \"N\"\n    }",
		},
		"on one line": {
			`{P, "secret_key": "B"}`, `{P, "secret_key": "B", "secret_key_next": "N"}`, `{P, "secret_key": "N"}`,
		},
		"first of the entry": {
			"{\n\t\"secret_key\":\"B\",\n\tP}", "{\n\t\"secret_key\":\"B\",\n\t\"secret_key_next\": \"N\",\n\tP}",
			"{\n\t\"secret_key\":\"N\",\n\tP}",
		},
		"no blank at all": {
			`{"secret_key":"B",P}`, `{"secret_key":"B","secret_key_next": "N",P}`, `{"secret_key":"N",P}`,
		},
		"blank before commas": {
			"{P\n  , \"secret_key\" : \"B\" }", "{P\n  , \"secret_key\" : \"B\", \"secret_key_next\": \"N\" }",
			"{P\n  , \"secret_key\" : \"N\" }",
		},
		"an old next blob": {
			`{P, "secret_key_next": "O", "secret_key": "B"}`, `{P, "secret_key_next": "N", "secret_key": "B"}`,
			`{P, "secret_key": "N"}`,
		},
		"an old one, first": {
			`{ "secret_key_next": "O" , P, "secret_key": "B"}`, `{ "secret_key_next": "N" , P, "secret_key": "B"}`,
			`{ P, "secret_key": "N"}`,
		},
		"a file": {
			`{P, "secret_key_file": "k.hex", "db": "x"}`, `{P, "secret_key_file": "k.hex", "secret_key_next": "N", "db": "x"}`,
			`{P, "secret_key_file": "k.hex", "db": "x"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			write := strings.NewReplacer("P", public, `"B"`, `"`+blob+`"`, `"N"`, `"`+next+`"`, `"O"`, `"`+sampleBlob("07")+`"`)
			plain := sample()
			start := strings.Index(plain, `"`+sampleHash+`": `) + len(sampleHash) + 4
			end := strings.Index(plain, "},\n    \"policy\"")
			whole := func(entry string) string {
				return plain[:start] + write.Replace(entry) + "\n    " + plain[end:]
			}
			path := filepath.Join(t.TempDir(), "keys.json")
			file := filepath.Join(filepath.Dir(path), "k.hex")
			writeText(t, path, whole(test.entry))
			writeText(t, file, blob)
			keys := []config.Rotation{{Key: parsedHash(t, sampleHash), Blob: parsedBlob(t, blob), Next: parsedBlob(t, next)}}
			for range 2 { // the second call changes nothing
				if err := config.AddNextBlobs(path, keys); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(whole(test.added), readFile(t, path)); diff != "" {
					t.Fatalf("AddNextBlobs (-want +got):\n%s", diff)
				}
			}
			if got := readFile(t, file); got != blob {
				t.Error("AddNextBlobs changed the file of the key")
			}
			if err := config.PromoteBlobs(path, keys); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole(test.promoted), readFile(t, path)); diff != "" {
				t.Errorf("PromoteBlobs (-want +got):\n%s", diff)
			}
			want := blob
			if strings.Contains(test.entry, "k.hex") {
				want = next
			}
			if got := readFile(t, file); got != want {
				t.Errorf("the file of the key holds %.110s…, want %.110s…", got, want)
			}
		})
	}
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// When one key has changed, nothing is written for the others either.
func TestRotateAllOrNothing(t *testing.T) {
	t.Parallel()
	first, second := rotated(t, sampleHash), rotated(t, otherHash)
	for name, test := range map[string]struct{ entry, want string }{
		"no second key": {"", "no longer has the key " + otherHash},
		"another blob": {
			`"secret_key": "` + sampleBlob("05") + `", "secret_key_next": "` + sampleBlob("06") + `"`,
			"its blob has changed meanwhile",
		},
		"no such file":   {`"secret_key_file": "nowhere", "secret_key_next": "` + sampleBlob("06") + `"`, ""},
		"no longer JSON": {"{", "keys.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edits := []string{`"secret_key": "`, `"secret_key_next": "` + sampleBlob("02") + `", "secret_key": "`}
			if test.entry != "" {
				edits = append(edits, `"keys": {`, `"keys": {"`+otherHash+`": {"public_key": "`+otherPublic+`", `+test.entry+`},`)
			}
			path := writeSample(t, edits...)
			before := readFile(t, path)
			for call, err := range map[string]error{
				"AddNextBlobs": config.AddNextBlobs(path, []config.Rotation{first, second}),
				"PromoteBlobs": config.PromoteBlobs(path, []config.Rotation{first, second}),
			} {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "abab") {
					t.Errorf("%s: %v, want %q", call, err, test.want)
				}
			}
			if readFile(t, path) != before {
				t.Error("keys.json has changed")
			}
		})
	}
}

// When a blob's file cannot be replaced, keys.json keeps the next blobs.
func TestPromoteKeepsTheNextBlobs(t *testing.T) {
	t.Parallel()
	path := writeSample(t, `"secret_key": "`+sampleBlob("01")+`"`,
		`"secret_key_file": "gone/k.hex", "secret_key_next": "`+sampleBlob("02")+`"`)
	before := readFile(t, path)
	err := config.PromoteBlobs(path, []config.Rotation{rotated(t, sampleHash)})
	if err == nil || !strings.Contains(err.Error(), "gone/k.hex") || readFile(t, path) != before {
		t.Errorf("PromoteBlobs: %v; want an error and keys.json as it was", err)
	}
}

func TestFindingsOfNextBlobs(t *testing.T) {
	t.Parallel()
	path := "keys." + sampleHash + ".secret_key_next"
	withNext := func(text string) []string {
		return []string{`"secret_key": "`, `"secret_key_next": ` + text + `, "secret_key": "`}
	}
	quoted := func(blob string) string { return `"` + blob + `"` }
	for name, test := range map[string]struct {
		edits    []string
		severity config.Severity
		want     string
	}{
		"sound":             {withNext(quoted(sampleBlob("02"))), 0, ""},
		"too short":         {withNext(`"1234"`), config.Warning, path + ": key blob"},
		"no hex":            {withNext(`"hello"`), config.Warning, path + ": key blob of 5 characters is not hex"},
		"of one master key": {withNext(quoted(sampleBlob("01"))), config.Warning, path + ": wrapped by the same master key"},
		"shorter": {
			withNext(quoted(sampleBlob("02")[:416])), config.Warning, path + ": 208 bytes, but the blob before has ",
		},
		"extractable": {
			withNext(quoted(strings.Replace(sampleBlob("02"), born, "0000000000400125", 1))), config.Warning,
			path + ": attributes 0x400125",
		},
	} {
		_, findings, err := config.Parse([]byte(sample(test.edits...)), ".")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		has := slices.ContainsFunc(findings, func(f config.Finding) bool {
			return f.Severity == test.severity && strings.HasPrefix(f.String(), test.want)
		})
		if test.want == "" && len(findings) != 0 || test.want != "" && !has {
			t.Errorf("%s: findings %v, want %q", name, findings, test.want)
		}
	}
	if _, findings, err := config.Parse([]byte(sample(withNext(`["x"]`)...)), "."); err == nil {
		t.Errorf("a list as blob: %v", findings)
	}
}
