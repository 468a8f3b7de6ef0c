package grep11_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"pawl/signer/grep11"
)

// sampleBlob is a blob of testdata/blobs.txt with what its head says.
type sampleBlob struct {
	name, bytes, wrappingKey, attributes, blob string
}

func sampleBlobs(t *testing.T) []sampleBlob {
	t.Helper()
	raw, err := os.ReadFile("testdata/blobs.txt")
	if err != nil {
		t.Fatal(err)
	}
	var samples []sampleBlob
	for block := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
		fields := make(map[string]string)
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			fields[name] = value
		}
		if fields["name"] != "" {
			samples = append(samples, sampleBlob{
				fields["name"], fields["bytes"], fields["wrapping-key"], fields["attributes"], fields["blob"],
			})
		}
	}
	if len(samples) != 2 {
		t.Fatalf("%d sample blobs, want 2", len(samples))
	}
	return samples
}

// testBlob has a sound head and a body that is easy to recognise in any notation.
func testBlob() grep11.Blob {
	b := bytes.Repeat([]byte{0xc5, 0x97}, 256)
	clear(b[:66])
	copy(b[32:48], "master key no. 1")
	b[54], b[55] = 0x01, 0x26 // SIGN, LOCAL, NEVER_EXTRACTABLE, MODIFIABLE
	b[64], b[65] = 0x12, 0x34
	return b
}

func TestHeadOfPublishedBlobs(t *testing.T) {
	t.Parallel()
	for _, sample := range sampleBlobs(t) {
		for form, text := range map[string]string{
			"lower":  sample.blob,
			"upper":  strings.ToUpper(sample.blob),
			"blanks": " \t" + sample.blob + "\r\n",
		} {
			blob, err := grep11.ParseBlob(text)
			if err != nil {
				t.Errorf("%s, %s: %v", sample.name, form, err)
				continue
			}
			header, err := blob.Header()
			if err != nil {
				t.Fatal(err)
			}
			got := sampleBlob{
				name: sample.name, bytes: fmt.Sprint(len(blob)), wrappingKey: hex.EncodeToString(header.WrappingKeyID[:]),
				attributes: fmt.Sprintf("%016x", header.Attributes), blob: blob.Hex(),
			}
			if got != sample {
				t.Errorf("%s, %s: got %+v, want %+v", sample.name, form, got, sample)
			}
			if header.SessionBound {
				t.Errorf("%s, %s: bound to a session", sample.name, form)
			}
			// The tz1 sample was made extractable, the tz3 one was not.
			if want := sample.name == "tz1"; header.Extractable != want {
				t.Errorf("%s, %s: extractable %t", sample.name, form, header.Extractable)
			}
		}
	}
}

func TestSessionBoundBlob(t *testing.T) {
	t.Parallel()
	for _, at := range []int{0, 31} {
		blob := testBlob()
		blob[at] = 1
		if header, err := blob.Header(); err != nil || !header.SessionBound {
			t.Errorf("byte %d set: %+v, %v", at, header, err)
		}
	}
	blob := testBlob()
	blob[32] = 0xff // the wrapping key id begins here
	if header, err := blob.Header(); err != nil || header.SessionBound {
		t.Errorf("byte 32 set: %+v, %v", header, err)
	}
}

func TestBadBlobIsRefusedWithoutBeingQuoted(t *testing.T) {
	t.Parallel()
	good := testBlob().Hex()
	noMarker := testBlob()
	noMarker[64] = 0x13
	tests := map[string]struct{ text, want string }{
		"empty":        {"", "key blob of 0 bytes: want 128 to 9216"},
		"odd":          {good[:len(good)-1], "is not hex"},
		"not hex":      {good[:200] + "XX" + good[202:], "is not hex"},
		"blank inside": {good[:200] + " " + good[200:], "is not hex"},
		"cut":          {good[:2*127], "key blob of 127 bytes: want 128 to 9216"},
		"no marker":    {noMarker.Hex(), "0x1334 at byte 64 where an EP11 blob has 0x1234"},
		"too long":     {good + strings.Repeat("c597", 4353), "key blob of 18436 hex digits: want at most 18432"},
		"a public key": {"3059301306072a8648ce3d020106082a8648ce3d030107034200" + strings.Repeat("04", 200), "where an EP11 blob has 0x1234"},
	}
	for name, test := range tests {
		blob, err := grep11.ParseBlob(test.text)
		if err == nil || blob != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
			continue
		}
		if strings.Contains(err.Error(), "c597") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error quotes the blob: %v", name, err)
		}
	}
}

func TestSizeBoundsOfBlobs(t *testing.T) {
	t.Parallel()
	for size, ok := range map[int]bool{127: false, 128: true, 129: false, 143: false, 144: true, 9215: false, 9216: true, 9217: false} {
		blob := make(grep11.Blob, size)
		copy(blob, testBlob()[:min(size, 512)])
		if _, err := blob.Header(); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
		if _, err := grep11.ParseBlob(blob.Hex()); (err == nil) != ok {
			t.Errorf("%d bytes in hex: %v", size, err)
		}
	}
}

// assertNoBlob looks for the body of testBlob in every notation that Go prints.
func assertNoBlob(t *testing.T, what, text string) {
	t.Helper()
	for _, notation := range []string{
		"c597", "C597", "197 151", "197, 151", "0xc5", `\xc5`, "\xc5\x97", "\u0157", "xZfFl8", "l8WXxZ", "c5 97",
	} {
		if strings.Contains(text, notation) {
			t.Errorf("%s holds %q: the blob is in it", what, notation)
		}
	}
}

func TestBlobIsNeverPrinted(t *testing.T) {
	t.Parallel()
	blob := testBlob()
	key := testKey(t, blob)
	values := map[string]any{
		"blob":            blob,
		"pointer":         &blob,
		"slice":           []grep11.Blob{blob},
		"map":             map[string]grep11.Blob{"blob": blob},
		"generated":       grep11.Generated{Blob: blob},
		"field":           struct{ Secret grep11.Blob }{blob},
		"key":             key,
		"value of key":    *key,
		"hidden key":      struct{ key *grep11.Key }{key},
		"hidden by value": struct{ key grep11.Key }{*key},
		"error":           fmt.Errorf("signing with %v", blob),
	}
	for name, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "% x", "%t", "%z"} {
			assertNoBlob(t, name+" with "+verb, fmt.Sprintf(verb, value))
		}
		if text, err := json.Marshal(value); err == nil {
			assertNoBlob(t, name+" as JSON", string(text))
		}
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("message", "value", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("message", "value", value)
		assertNoBlob(t, name+" in a log", out.String())
	}
	for _, text := range []string{blob.String(), blob.GoString(), fmt.Sprintf("%v", blob), blob.LogValue().String()} {
		if text != "[redacted]" {
			t.Errorf("got %q", text)
		}
	}
	if text, err := json.Marshal(blob); err != nil || string(text) != `"[redacted]"` {
		t.Errorf("JSON: %s, %v", text, err)
	}
}
