package ep11_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/internal/durable"
	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
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

func TestHeadOfPublishedBlobs(t *testing.T) {
	t.Parallel()
	for _, sample := range sampleBlobs(t) {
		for form, text := range map[string]string{
			"lower":  sample.blob,
			"upper":  strings.ToUpper(sample.blob),
			"blanks": " \t" + sample.blob + "\r\n",
		} {
			blob, err := ep11.ParseBlob(text)
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
		blob := ep11test.Blob()
		blob[at] = 1
		if header, err := blob.Header(); err != nil || !header.SessionBound {
			t.Errorf("byte %d set: %+v, %v", at, header, err)
		}
	}
	blob := ep11test.Blob()
	blob[32] = 0xff // the wrapping key id begins here
	if header, err := blob.Header(); err != nil || header.SessionBound {
		t.Errorf("byte 32 set: %+v, %v", header, err)
	}
}

func TestBadBlobIsRefusedWithoutBeingQuoted(t *testing.T) {
	t.Parallel()
	good := ep11test.Blob().Hex()
	noMarker := ep11test.Blob()
	noMarker[64] = 0x13
	tests := map[string]struct{ text, want string }{
		"empty":        {"", "nothing in it"},
		"odd":          {good[:len(good)-1], "is not hex"},
		"not hex":      {good[:200] + "XX" + good[202:], "is not hex"},
		"blank inside": {good[:200] + " " + good[200:], "is not hex"},
		"cut":          {good[:2*127], "key blob of 127 bytes: want 128 to 9216"},
		"no marker":    {noMarker.Hex(), "0x1334 at byte 64 where an EP11 blob has 0x1234"},
		"too long":     {good + strings.Repeat("c597", 4353), "key blob of 18436 hex digits: want at most 18432"},
		"a public key": {"3059301306072a8648ce3d020106082a8648ce3d030107034200" + strings.Repeat("04", 200), "where an EP11 blob has 0x1234"},
	}
	for name, test := range tests {
		blob, err := ep11.ParseBlob(test.text)
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
		blob := make(ep11.Blob, size)
		copy(blob, ep11test.Blob()[:min(size, 512)])
		if _, err := blob.Header(); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
		if _, err := ep11.ParseBlob(blob.Hex()); (err == nil) != ok {
			t.Errorf("%d bytes in hex: %v", size, err)
		}
	}
}

func TestBlobIsNeverPrinted(t *testing.T) {
	t.Parallel()
	blob := ep11test.Blob()
	for name, value := range map[string]any{
		"blob":    blob,
		"pointer": &blob,
		"slice":   []ep11.Blob{blob},
		"map":     map[string]ep11.Blob{"blob": blob},
		"field":   struct{ Secret ep11.Blob }{blob},
		"error":   fmt.Errorf("signing with %v", blob),
	} {
		ep11test.CheckPrinted(t, name, value)
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

// A blob's file is a regular one of bounded size: a pipe is not waited for.
func TestReadBlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blob := sampleBlobs(t)[0].blob
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got, err := ep11.ReadBlob(put("good", strings.ToUpper(blob)+"\r\n")); err != nil || got.Hex() != strings.ToLower(blob) {
		t.Errorf("%v", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		pipe: durable.ErrNotRegular, "/dev/zero": durable.ErrNotRegular, dir: durable.ErrNotRegular,
		filepath.Join(dir, "none"): fs.ErrNotExist, put("large", blob+strings.Repeat(" ", 64<<10)): durable.ErrTooLarge,
	} {
		if got, err := ep11.ReadBlob(path); got != nil || !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if got, err := ep11.ReadBlob(put("text", "text")); got != nil || err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "text")) {
		t.Errorf("no blob: %v", err)
	}
}
