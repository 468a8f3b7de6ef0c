package transfer_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pawl/internal/transfer"
	"pawl/ratchet"
	"pawl/tezos"
)

var compared = cmp.Options{
	cmp.Comparer(func(a, b tezos.Signature) bool { return a == b }),
	cmp.Comparer(func(a, b tezos.PublicKey) bool { return a == b }),
}

var mainnet = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70}

// content has a row of each form. The first mark has a signature that verifies, the second one has not.
func content(t *testing.T) transfer.Content {
	t.Helper()
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	key, err := tezos.NewPublicKey(tezos.Ed25519, private.Public().(ed25519.PublicKey)) //nolint:forcetypeassert // it is one
	if err != nil {
		t.Fatal(err)
	}
	digest := tezos.DigestOf([]byte{0x11, 1})
	signature, err := tezos.NewSignature(tezos.Ed25519, ed25519.Sign(private, digest[:]))
	if err != nil {
		t.Fatal(err)
	}
	mark := func(kind tezos.Kind) ratchet.Mark {
		return ratchet.Mark{Key: key.Hash(), ChainID: mainnet, Kind: kind, Level: 12, Round: 3}
	}
	at := time.Date(2026, 12, 1, 10, 0, 0, 123_000_000, time.UTC)
	return transfer.Content{
		Snapshot: ratchet.Snapshot{
			Marks: []ratchet.StoredMark{
				{Mark: mark(tezos.Block), Digest: digest, Signature: &signature, Time: at},
				{Mark: mark(tezos.Preattestation), Digest: tezos.Digest{1}, Signature: &signature, Time: at},
				{Mark: mark(tezos.Attestation)},
			},
			Registrations: []ratchet.Registration{
				{Key: key.Hash(), AnyChain: true},
				{Key: key.Hash(), ChainID: mainnet, FromLevel: 7},
				{Key: key.Hash(), ChainID: tezos.ChainID{1}, NoFloor: true},
			},
		},
		PublicKeys: []tezos.PublicKey{key},
	}
}

func export(t *testing.T, c transfer.Content, host transfer.Host) []byte {
	t.Helper()
	text, err := transfer.Export(c, host)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestExportIsReadBack: nothing is lost, and what was read is exported the same, but for the host.
func TestExportIsReadBack(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]transfer.Content{"full": content(t), "empty": {}} {
		text := export(t, want, transfer.Host{Name: "one", Generation: 1})
		got, err := transfer.Read(text)
		if diff := cmp.Diff(want, got, compared, cmpEmpty); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		again := export(t, got, transfer.Host{Name: "two", Generation: 2})
		if !bytes.Equal(withoutHost(t, text), withoutHost(t, again)) || bytes.Equal(text, again) {
			t.Errorf("%s: exported again:\n%s\nbefore:\n%s", name, again, text)
		}
	}
}

// cmpEmpty takes a list without elements for none.
var cmpEmpty = cmp.FilterValues(func(a, b any) bool { return lenOf(a) == 0 && lenOf(b) == 0 }, cmp.Ignore())

func lenOf(list any) int {
	switch list := list.(type) {
	case []ratchet.StoredMark:
		return len(list)
	case []ratchet.Registration:
		return len(list)
	case []tezos.PublicKey:
		return len(list)
	}
	return -1
}

// withoutHost cuts the host out of the text of an export.
func withoutHost(t *testing.T, text []byte) []byte {
	t.Helper()
	before, rest, found := bytes.Cut(text, []byte(`  "host": {`))
	_, after, ended := bytes.Cut(rest, []byte("\n  },\n"))
	if !found || !ended {
		t.Fatalf("no host in %s", text)
	}
	return slices.Concat(before, after)
}

// TestChangedExportIsRefused: whichever byte is changed or is the last one, it is refused, or says the same.
func TestChangedExportIsRefused(t *testing.T) {
	t.Parallel()
	want := content(t)
	text := export(t, want, transfer.Host{})
	for at := range text {
		for _, changed := range [][]byte{text[:at], slices.Concat(text[:at], []byte{text[at] ^ 1}, text[at+1:])} {
			got, err := transfer.Read(changed)
			if diff := cmp.Diff(want, got, compared); err == nil && diff != "" {
				t.Errorf("byte %d of %d: taken (-want +got):\n%s", at, len(text), diff)
			}
		}
	}
}

// TestReadRefuses what is no export of a pawl that this one knows.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	text := string(export(t, content(t), transfer.Host{}))
	for old, c := range map[string]struct{ now, want string }{
		`"format": "pawl-ratchet"`: {`"format": "other"`, "--from"},
		`"version": 1`:             {`"version": 2`, "use the newer pawl"},
		`"version": 1,`:            {`"version": 0,`, "version 0"},
		`"host": {`:                {`"ghost": 1, "host": {`, "ghost"},
		`"pkh": "tz1`:              {`"more": 1, "pkh": "tz1`, "more"},
		`"from_level": 7`:          {`"from_level": 8`, "not as it was exported"},
		`"kind": "block"`:          {`"kind": "endorsement"`, "endorsement"},
		`"level": 12`:              {`"level": 2147483648`, "level"},
		`"chain_id": "any"`:        {`"chain_id": "Net"`, "chain_id"},
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("no %s in %s", old, text)
		}
		_, err := transfer.Read([]byte(strings.Replace(text, old, c.now, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", c.now, err, c.want)
		}
	}
	if _, err := transfer.Read([]byte(text + "{}")); err == nil {
		t.Error("what follows the document was not seen")
	}
}

// TestVerify: a signature stays if the key of the content, or one that is known, verifies it.
func TestVerify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		of, known bool
		dropped   int
	}{"of the content": {true, false, 1}, "known": {false, true, 1}, "none": {false, false, 2}} {
		got := content(t)
		keys := got.PublicKeys
		if !c.of {
			got.PublicKeys = nil
		}
		if !c.known {
			keys = nil
		}
		if dropped := got.Verify(keys); dropped != c.dropped || got.Marks[1].Signature != nil || (got.Marks[0].Signature == nil) != (dropped == 2) {
			t.Errorf("%s: %d dropped, %+v, want %d", name, dropped, got.Marks, c.dropped)
		}
	}
}

// TestSchemaHasTheFields: the documented form names each field of an export and no others.
func TestSchemaHasTheFields(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/ratchet-export.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema shape
	var made any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(export(t, content(t), transfer.Host{}), &made); err != nil {
		t.Fatal(err)
	}
	schema.compare(t, "the export", made)
}

// shape is the part of a JSON schema that names fields.
type shape struct {
	Properties map[string]shape
	Required   []string
	Items      *shape
}

func (s shape) compare(t *testing.T, name string, value any) {
	t.Helper()
	switch value := value.(type) {
	case map[string]any:
		want := slices.Sorted(maps.Keys(value))
		if got := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(got, want) || !slices.Equal(slices.Sorted(slices.Values(s.Required)), want) {
			t.Errorf("%s: the schema has %v and requires %v, want %v", name, got, s.Required, want)
		}
		for field := range value {
			s.Properties[field].compare(t, name+"."+field, value[field])
		}
	case []any:
		if len(value) == 0 || s.Items == nil {
			t.Fatalf("%s: no elements, in the export or in the schema", name)
		}
		s.Items.compare(t, name+"[]", value[0])
	}
}

// FuzzRead: whatever is read, it is taken as it was exported or refused in one line.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"format":"pawl-ratchet","version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := transfer.Read(text)
		if err != nil {
			return
		}
		again, err := transfer.Read(export(t, c, transfer.Host{}))
		if diff := cmp.Diff(c, again, compared, cmpEmpty); err != nil || diff != "" {
			t.Errorf("%v (-read +exported and read):\n%s", err, diff)
		}
	})
}
