package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"pawl/signer/grep11/pb"
)

func (f *faultyCard) GenerateKey(ctx context.Context, req *pb.GenerateKeyRequest) (*pb.GenerateKeyResponse, error) {
	if err := f.refuse["GenerateKey"]; err != nil {
		return nil, err
	}
	return f.card.GenerateKey(ctx, req)
}

func (f *faultyCard) EncryptSingle(ctx context.Context, req *pb.EncryptSingleRequest) (*pb.EncryptSingleResponse, error) {
	if err := f.refuse["EncryptSingle"]; err != nil {
		return nil, err
	}
	return f.card.EncryptSingle(ctx, req)
}

func (f *faultyCard) UnwrapKey(ctx context.Context, req *pb.UnwrapKeyRequest) (*pb.UnwrapKeyResponse, error) {
	if err := f.refuse["UnwrapKey"]; err != nil {
		return nil, err
	}
	res, err := f.card.UnwrapKey(ctx, req)
	if err == nil && f.unwrap != nil {
		f.unwrap(res)
	}
	return res, err
}

func (f *faultyCard) DeriveKey(ctx context.Context, req *pb.DeriveKeyRequest) (*pb.DeriveKeyResponse, error) {
	if err := f.refuse["DeriveKey"]; err != nil {
		return nil, err
	}
	return f.card.DeriveKey(ctx, req)
}

// keysCommand runs `pawl keys ARGS…` and returns its exit code.
func keysCommand(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	err := run(t.Context(), append([]string{"pawl", "keys"}, args...), &out, &errOut)
	code = report(&errOut, err)
	return out.String(), errOut.String(), code
}

// bootstrap1 of Octez's sandboxed node.
const (
	sandboxSecret = "edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh"
	sandboxPublic = "edpkuBknW28nW72KG6RoHtYW7p12T6GKc7nAbwYX5m8Wd9sDVC9yav"
	sandboxHash   = "tz1KqTpEZ7Yob7QbPE4Hy4Wo8fHG8LhKxZSx"
)

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever the HSM refuses or gets wrong: one line with the code's name, exit code 1, no
// file, no output, and no secret in either.
func TestKeysImportKeepsNoBadKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		card faultyCard
		want string
	}{
		"no AES keys":    {faultyCard{refuse: map[string]error{"GenerateKey": grep11Error(t, 0x70)}}, "GenerateKey: CKR_MECHANISM_INVALID (0x70): no such mechanism: the HSM has to offer CKM_AES_KEY_GEN and CKM_AES_CBC_PAD"},
		"no encryption":  {faultyCard{refuse: map[string]error{"EncryptSingle": grep11Error(t, 0x70)}}, "EncryptSingle: CKR_MECHANISM_INVALID"},
		"no unwrapping":  {faultyCard{refuse: map[string]error{"UnwrapKey": grep11Error(t, 0x54)}}, "UnwrapKey: CKR_FUNCTION_NOT_SUPPORTED"},
		"no such curve":  {faultyCard{refuse: map[string]error{"UnwrapKey": grep11Error(t, 0x140)}}, "UnwrapKey: CKR_CURVE_NOT_SUPPORTED"},
		"another key":    {faultyCard{unwrap: func(res *pb.UnwrapKeyResponse) { exchangeKey(res) }}, "was sent"},
		"half a blob":    {faultyCard{unwrap: func(res *pb.UnwrapKeyResponse) { cutBlob(res) }}, "want 128 to 9216"},
		"signs badly":    {faultyCard{sign: func(res *pb.SignSingleResponse) { res.Signature[40] ^= 1 }}, "signature does not verify"},
		"blob not taken": {faultyCard{unwrap: func(res *pb.UnwrapKeyResponse) { spoilBlob(res) }}, "SignSingle: CKR_IBM_BLOB_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, dir := test.card.serve(t), t.TempDir()
			stdout, stderr, code := keysCommand(t, "import", "--from", secretFile(t, sandboxSecret), "--config", config, "--dir", dir)
			if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "pawl: error: ") ||
				strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want one line with %q", code, stdout, stderr, test.want)
			}
			if strings.Contains(stderr, sandboxSecret[4:]) {
				t.Errorf("the secret is in %q", stderr)
			}
			if names := namesIn(t, dir); len(names) != 0 {
				t.Errorf("the folder holds %v", names)
			}
		})
	}
}

// exchangeKey changes a bit of the public key, wherever it stands.
func exchangeKey(res *pb.UnwrapKeyResponse) {
	const offset = 21 // of the key in the SPKI of an Ed25519 key, 53 bytes
	res.CheckSum[offset+3] ^= 1
	res.Unwrapped.Attributes = nil
}

func cutBlob(res *pb.UnwrapKeyResponse) {
	res.UnwrappedBytes, res.Unwrapped.KeyBlobs = res.UnwrappedBytes[:127], nil
}

func spoilBlob(res *pb.UnwrapKeyResponse) {
	res.UnwrappedBytes[100] ^= 1
	res.Unwrapped.KeyBlobs = nil
}

// What is on disk already is found before the HSM is asked.
func TestKeysImportNeverReplaces(t *testing.T) {
	t.Parallel()
	card := &faultyCard{refuse: map[string]error{"GenerateKey": grep11Error(t, 0x70)}}
	config := card.serve(t)
	for _, suffix := range []string{".sk.hex", ".der"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, sandboxHash+suffix), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := keysCommand(t, "import", "--from", secretFile(t, sandboxSecret), "--config", config, "--dir", dir)
		if code != 1 || !strings.Contains(stderr, sandboxHash+suffix+" already exists") {
			t.Errorf("%s: exit code %d, stderr %q", suffix, code, stderr)
		}
		if names := namesIn(t, dir); len(names) != 1 {
			t.Errorf("%s: the folder holds %v", suffix, names)
		}
	}
}

func TestKeysDeriveNamesTheCode(t *testing.T) {
	t.Parallel()
	card := &faultyCard{refuse: map[string]error{"DeriveKey": grep11Error(t, 0x70)}}
	config, dir, seed := card.serve(t), t.TempDir(), filepath.Join(t.TempDir(), "seed")
	if _, stderr, code := keysCommand(t, "seed", "--out", seed, "--config", config); code != 0 {
		t.Fatal(stderr)
	}
	stdout, stderr, code := keysCommand(t, "derive", "tz2", "m/44'/1729'", "--seed", seed, "--config", config, "--dir", dir)
	if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, "deriving tz2 m/44'/1729': the seed's master key: DeriveKey: CKR_MECHANISM_INVALID (0x70): no such mechanism: the HSM has to offer CKM_IBM_BTC_DERIVE") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if names := namesIn(t, dir); len(names) != 0 {
		t.Errorf("the folder holds %v", names)
	}
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]uint32{
		"m/44'/1729'/0'/0'": {0x8000002c, 0x800006c1, 0x80000000, 0x80000000},
		"44h/1H/2":          {0x8000002c, 0x80000001, 2},
		"0":                 {0},
		"m/2147483647'":     {0xffffffff},
		"m/2147483648":      nil,
		"m":                 nil,
		"m/":                nil,
		"":                  nil,
		"m/1//2":            nil,
		"m/1''":             nil,
		"m/'":               nil,
		"m/-1":              nil,
		"m/+1":              nil,
		"m/1_0":             nil,
		"m/0x1":             nil,
		"m/ 1":              nil,
		"M/1":               nil,
	} {
		got, err := parsePath(text)
		if (err == nil) != (want != nil) || len(got) != len(want) {
			t.Errorf("%q: %v, %v", text, got, err)
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%q: %x, want %x", text, got, want)
			}
		}
	}
}

// keepingReader keeps what it wrote where it was told to read to.
type keepingReader struct {
	io.Reader
	kept [][]byte
}

func (r *keepingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.kept = append(r.kept, p[:n])
	return n, err
}

// A secret is bounded, and an empty one is told apart. On an error nothing of it is left.
func TestReadBounded(t *testing.T) {
	t.Parallel()
	broken := io.MultiReader(strings.NewReader("123"), iotest.ErrReader(io.ErrClosedPipe))
	for want, r := range map[string]*keepingReader{
		"nothing in it":          {Reader: strings.NewReader("")},
		"larger than 5 bytes":    {Reader: strings.NewReader("123456")},
		io.ErrClosedPipe.Error(): {Reader: broken},
	} {
		if data, err := readBounded(r, 5, "x"); err == nil || data != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", want, data, err)
		}
		if left := bytes.Trim(bytes.Join(r.kept, nil), "\x00"); len(left) > 0 {
			t.Errorf("%s: %q is left", want, left)
		}
	}
	for _, text := range []string{"1", "12345"} {
		if data, err := readBounded(strings.NewReader(text), 5, "x"); err != nil || string(data) != text {
			t.Errorf("%q: %q, %v", text, data, err)
		}
	}
}
