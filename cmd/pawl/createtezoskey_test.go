package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// faultyCard is a software card behind mutual TLS some of whose answers are
// changed.
type faultyCard struct {
	pb.UnimplementedCryptoServer
	card     pb.CryptoClient
	generate func(*pb.GenerateKeyPairResponse) error
	sign     func(*pb.SignSingleResponse)
	hold     func(*pb.SignSingleRequest)
	refuse   map[string]error // by the call
	unwrap   func(*pb.UnwrapKeyResponse)
	rewrap   func(blob []byte) ([]byte, error)
}

func (f *faultyCard) GenerateKeyPair(ctx context.Context, req *pb.GenerateKeyPairRequest) (*pb.GenerateKeyPairResponse, error) {
	res, err := f.card.GenerateKeyPair(ctx, req)
	if err == nil && f.generate != nil {
		err = f.generate(res)
	}
	return res, err
}

func (f *faultyCard) SignSingle(ctx context.Context, req *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	if f.hold != nil {
		f.hold(req)
	}
	res, err := f.card.SignSingle(ctx, req)
	if err == nil && f.sign != nil {
		f.sign(res)
	}
	return res, err
}

// serve runs the card and returns the path of a keys.json that names it.
func (f *faultyCard) serve(t *testing.T) (config string) {
	t.Helper()
	dir := cardtest.Folder(t)
	f.card = cardtest.Client(t, cardtest.Open(t, dir))
	front := cardtest.Front(t, f, dir, cardtest.Listen(t, "127.0.0.1:0"))
	config = filepath.Join(string(dir), "keys.json")
	text, err := json.Marshal(map[string]any{
		"url": front.Address, "cert_path": "client.pem", "key_path": "client-key.pem", "cacert_path": "ca.pem",
		"keys": map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// createTezosKey runs the command and returns its exit code.
func createTezosKey(t *testing.T, config, dir, kind string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	err := run(t.Context(), []string{"pawl", "createtezoskey", kind, "--config", config, "--dir", dir}, &out, &errOut)
	code = report(&errOut, err)
	return out.String(), errOut.String(), code
}

func TestCreateTezosKeyPrintsFourLines(t *testing.T) {
	t.Parallel()
	config := (&faultyCard{}).serve(t)
	for _, kind := range []string{"tz1", "tz2", "tz3"} {
		dir := t.TempDir()
		stdout, stderr, code := createTezosKey(t, config, dir, kind)
		lines := strings.Split(stdout, "\n")
		if code != 0 || stderr != "" || len(lines) != 5 {
			t.Fatalf("%s: exit code %d, stdout %q, stderr %q", kind, code, stdout, stderr)
		}
		key, err := tezos.ParsePublicKey(lines[2])
		if err != nil || key.Kind().String() != kind {
			t.Fatalf("%s: third line %q: %v", kind, lines[2], err)
		}
		blob, err := os.ReadFile(filepath.Join(dir, key.Hash().String()+".sk.hex"))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s\n\n%v\n%v\n", blob, key, key.Hash()); stdout != want {
			t.Errorf("%s: stdout %q, want %q", kind, stdout, want)
		}
		if strings.ToLower(lines[0]) != lines[0] || len(lines[0]) < 256 {
			t.Errorf("%s: first line %q is no blob in lower-case hex", kind, lines[0])
		}
	}
}

// Whatever the HSM does wrong: one line, exit code 1, no file and no output.
func TestCreateTezosKeyKeepsNoBadKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		card faultyCard
		want string
	}{
		"refused": {
			faultyCard{generate: func(*pb.GenerateKeyPairResponse) error { return grep11Error(t, 0x70) }},
			"CKR_MECHANISM_INVALID",
		},
		"not a GREP11 error": {
			faultyCard{generate: func(*pb.GenerateKeyPairResponse) error { return status.Error(codes.Internal, "two\nlines") }},
			"Internal: two",
		},
		"two different blobs": {
			faultyCard{generate: func(res *pb.GenerateKeyPairResponse) error {
				res.PrivKeyBytes = bytes.Clone(res.GetPrivKey().GetKeyBlobs()[0])
				res.PrivKeyBytes[100] ^= 1
				return nil
			}},
			"private key",
		},
		"a key that signs badly": {
			faultyCard{sign: func(res *pb.SignSingleResponse) { res.Signature[40] ^= 1 }},
			"signature does not verify",
		},
		"a key that signs nothing": {
			faultyCard{sign: func(res *pb.SignSingleResponse) { res.Signature = nil }},
			"trying the new key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, dir := test.card.serve(t), t.TempDir()
			stdout, stderr, code := createTezosKey(t, config, dir, "tz3")
			if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "pawl: error: ") ||
				strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want one line with %q", code, stdout, stderr, test.want)
			}
			if names := namesIn(t, dir); len(names) != 0 {
				t.Errorf("the folder holds %v", names)
			}
		})
	}
}

func grep11Error(t *testing.T, code uint64) error {
	t.Helper()
	plain := status.New(codes.InvalidArgument, "refused")
	detailed, err := plain.WithDetails(&pb.Grep11Error{Code: code, Detail: "no such mechanism"})
	if err != nil {
		t.Fatal(err)
	}
	return detailed.Err()
}

// A ratchet that --add cannot have is told before the HSM is asked for a key.
func TestAddOpensTheRatchetBeforeTheKeyIsMade(t *testing.T) {
	t.Parallel()
	made := false
	card := &faultyCard{generate: func(*pb.GenerateKeyPairResponse) error { made = true; return nil }}
	config := card.serve(t)
	addKey(t, config)
	if !made {
		t.Fatal("with its ratchet no key was made")
	}
	made = false
	if err := os.Remove(filepath.Join(filepath.Dir(config), "ratchet.db")); err != nil {
		t.Fatal(err)
	}
	args := []string{"pawl", "createtezoskey", "tz1", "--add", "--config", config, "--dir", t.TempDir()}
	err := run(t.Context(), args, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "pawl ratchet init") || made {
		t.Errorf("error %v, key made: %t", err, made)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// The key lies on disk before it is printed, and an output that is lost is an error that
// says so.
func TestKeysAreWrittenBeforeTheyArePrinted(t *testing.T) {
	t.Parallel()
	config := (&faultyCard{}).serve(t)
	for _, args := range [][]string{{"createtezoskey", "tz1"}, {"keys", "import", "--from", secretFile(t, sandboxSecret)}} {
		dir := t.TempDir()
		err := run(t.Context(), append(append([]string{"pawl"}, args...), "--config", config, "--dir", dir), fullDisk{}, io.Discard)
		if err == nil || err.Error() != "no space left on device: the key is kept in "+dir {
			t.Errorf("%v: error %v", args, err)
		}
		if names := namesIn(t, dir); len(names) != 2 {
			t.Errorf("%v: the folder holds %v", args, names)
		}
	}
}

// A signal during the calls is told as one, whatever call it was.
func TestInterruptAtTheHSM(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	config := (&faultyCard{hold: func(*pb.SignSingleRequest) { interrupt(); <-ctx.Done() }}).serve(t)
	dir := t.TempDir()
	err := run(ctx, []string{"pawl", "keys", "import", "--from", secretFile(t, sandboxSecret), "--config", config, "--dir", dir}, io.Discard, io.Discard)
	if err == nil || err.Error() != "interrupted" {
		t.Errorf("%v, want interrupted", err)
	}
	if names := namesIn(t, dir); len(names) != 0 {
		t.Errorf("the folder holds %v", names)
	}
}
