package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// RewrapKeyBlob is not the card's but that of the test.
func (f *faultyCard) RewrapKeyBlob(_ context.Context, r *pb.RewrapKeyBlobRequest) (*pb.RewrapKeyBlobResponse, error) {
	if f.rewrap == nil {
		return nil, status.Error(codes.Unimplemented, "no such call")
	}
	blob, err := f.rewrap(bytes.Clone(r.GetWrappedKeyBytes()))
	return &pb.RewrapKeyBlobResponse{RewrappedKeyBytes: blob}, err
}

// rotatedFolder is a keys.json with two keys of the card, and what stands in it; next
// gives a key its secret_key_next, from the blobs of both.
func rotatedFolder(t *testing.T, f *faultyCard, next func(own, other string) string) (config, text string, hashes [2]string) {
	t.Helper()
	config = f.serve(t)
	dir := t.TempDir()
	var blobs, entries [2]string
	var public [2]string
	for i := range blobs {
		out, errOut, code := createTezosKey(t, config, dir, "tz3")
		lines := strings.Split(out, "\n")
		if code != 0 || len(lines) < 4 {
			t.Fatal(errOut)
		}
		blobs[i], public[i], hashes[i] = lines[0], lines[2], lines[3]
	}
	for i := range blobs {
		entries[i] = fmt.Sprintf(`%q: {"public_key": %q, "secret_key": %q`, hashes[i], public[i], blobs[i])
		if text := next(blobs[i], blobs[1-i]); text != "" {
			entries[i] += fmt.Sprintf(`, "secret_key_next": %q`, text)
		}
		entries[i] += "}"
	}
	before, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(string(before), `"keys":{}`, `"keys":{`+entries[0]+","+entries[1]+"}", 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, text, hashes
}

func none(string, string) string { return "" }

// under returns the blob as if it were wrapped by the master key of that number.
func under(blob []byte, masterKey byte) []byte {
	blob[32] ^= masterKey
	return blob
}

// A refusal of one key leaves keys.json as it is for all, and says what to do on the one
// line of the error.
func TestRewrapIsAllOrNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		next   func(own, other string) string
		second func(blob []byte) ([]byte, error) // what the card makes of the second key
		want   string
	}{
		"another master key": {none, func(b []byte) ([]byte, error) { return under(b, 2), nil }, "the servers are not of one HSM domain"},
		"the same blob":      {none, func(b []byte) ([]byte, error) { return b, nil }, "same master key"},
		"a longer blob":      {none, func(b []byte) ([]byte, error) { return append(under(b, 1), make([]byte, 16)...), nil }, "but the blob before has"},
		"extractable":        {none, func(b []byte) ([]byte, error) { b[55] |= 1; return under(b, 1), nil }, "attributes 0x"},
		"cut short":          {none, func([]byte) ([]byte, error) { return make([]byte, 10), nil }, "key blob of 10 bytes"},
		"no blob":            {none, func([]byte) ([]byte, error) { return nil, nil }, "the server sent no blob"},
		"unknown blob":       {none, refusing(t, 0x80010004), "CKR_IBM_BLOB_ERROR (0x80010004): no such mechanism: this blob is broken or of another HSM"},
		"not committed":      {none, refusing(t, 0x80010009), "CKR_IBM_WK_NOT_INITIALIZED (0x80010009): no such mechanism: load and commit a new master key in the HSM first"},
		"without the call":   {none, refusing(t, 0x54), "CKR_FUNCTION_NOT_SUPPORTED (0x54): no such mechanism: this GREP11 server has no RewrapKeyBlob: update it, or name another server of its HSM domain in url"},
		"finalised":          {func(own, _ string) string { return own }, refusing(t, 0x80010001), "run pawl keys rewrap --promote; else this blob is of another HSM"},
		"not of our own":     {none, func([]byte) ([]byte, error) { return nil, errors.New("boom") }, "RewrapKeyBlob: Unknown: boom"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			card := &faultyCard{rewrap: func(blob []byte) ([]byte, error) {
				if calls++; calls == 1 {
					return under(blob, 1), nil
				}
				return test.second(blob)
			}}
			config, text, hashes := rotatedFolder(t, card, test.next)
			out, errOut, code := rewrapKeys(t, config)
			if code != 1 || out != "" || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, test.want) || !strings.Contains(errOut, hashes[1]) {
				t.Errorf("exit %d, stdout %q, stderr %q; want one line with %q", code, out, errOut, test.want)
			}
			if after, err := os.ReadFile(config); err != nil || string(after) != text {
				t.Errorf("keys.json has changed, %v", err)
			}
		})
	}
}

func refusing(t *testing.T, code uint64) func([]byte) ([]byte, error) {
	t.Helper()
	err := grep11Error(t, code)
	return func([]byte) ([]byte, error) { return nil, err }
}

func rewrapKeys(t *testing.T, config string, flags ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	err := run(t.Context(), append([]string{"pawl", "keys", "rewrap", "--config", config}, flags...), &out, &errOut)
	code = report(&errOut, err)
	return out.String(), errOut.String(), code
}

// A next blob that is there already stays when it is of the same new master key, and is
// made anew when it is of one that was never finalised, or is no rewrapped blob.
func TestRewrapReplacesStaleBlobs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		next func(own, other string) string
		want string
	}{
		"current":         {func(own, _ string) string { return masked(own, "01") }, "is rewrapped already"},
		"never finalised": {func(own, _ string) string { return masked(own, "07") }, "rewrapped\n"},
		"the blob itself": {func(own, _ string) string { return own }, "rewrapped\n"},
		"cut short":       {func(own, _ string) string { return masked(own, "01")[:len(own)-32] }, "rewrapped\n"},
		"unreadable":      {func(own, _ string) string { return masked(own, "01")[:len(own)-2] }, "rewrapped\n"},
	} {
		config, _, hashes := rotatedFolder(t, &faultyCard{rewrap: func(blob []byte) ([]byte, error) { return under(blob, 1), nil }}, test.next)
		out, errOut, code := rewrapKeys(t, config)
		if code != 0 || strings.Count(out, test.want) != 2 || !strings.Contains(out, hashes[0]) {
			t.Errorf("%s: exit %d, %q, %q; want %q", name, code, out, errOut, test.want)
		}
		cfg, err := loadConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range cfg.Keys {
			if want := masked(key.Blob.Hex(), "01"); key.NextBlob.Hex() != want {
				t.Errorf("%s: %v has another next blob", name, key.PublicKey)
			}
		}
	}
}

// masked changes the first byte of the wrapping key id in the hex of a blob.
func masked(blob, mask string) string {
	var b, m byte
	_, _ = fmt.Sscanf(blob[64:66], "%02x", &b)
	_, _ = fmt.Sscanf(mask, "%02x", &m)
	return fmt.Sprintf("%s%02x%s", blob[:64], b^m, blob[66:])
}

// A next blob is promoted only after it has signed for its own public key; here that of
// the second key does not.
func TestPromoteTriesEachBlob(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		next func(own, other string) string
		want string
	}{
		"of another key": {func(_, other string) string { return other }, tezos.ErrBadSignature.Error()},
		"too early":      {func(own, _ string) string { return masked(own, "01") }, "nothing was changed: finalise"},
	} {
		config, text, hashes := rotatedFolder(t, &faultyCard{}, test.next)
		out, errOut, code := rewrapKeys(t, config, "--promote")
		if owner := "is that of " + hashes[1] + ":"; name == "of another key" && !strings.Contains(errOut, owner) {
			t.Errorf("%s: stderr %q, want %q", name, errOut, owner)
		}
		if code != 1 || out != "" || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, test.want) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; want one line with %q", name, code, out, errOut, test.want)
		}
		if after, err := os.ReadFile(config); err != nil || string(after) != text {
			t.Errorf("%s: keys.json has changed, %v", name, err)
		}
	}
}
