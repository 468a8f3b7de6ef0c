package grep11_test

import (
	"context"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// bearerVariable has the test binary be the client of a test: the CAs of the system, which
// the IAM of the test needs to be among, are read once a process.
const bearerVariable = "GREP11_TEST_BEARER"

// bearerConfig is what the client was told, or not ok in the test itself.
func bearerConfig() (cfg grep11.Config, words []string, ok bool) {
	words = strings.Fields(os.Getenv(bearerVariable))
	if len(words) < 3 {
		return cfg, nil, false
	}
	return grep11.Config{Address: words[0], APIKeyFile: words[1], IAMEndpoint: words[2]}, words[3:], true
}

// bearerClient runs the test that calls it once more, as the client of a server with an
// API key. Further words are the client's.
func (s *iam) bearerClient(t *testing.T, address string, words ...string) {
	t.Helper()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(roots, block, 0o600); err != nil {
		t.Fatal(err)
	}
	words = append([]string{address, keyFile(t, apiKey, 0o600), s.URL}, words...)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "SSL_CERT_FILE="+roots, "SSL_CERT_DIR="+t.TempDir(), bearerVariable+"="+strings.Join(words, " "))
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// bearers is a server that notes the authorization of each signature.
type bearers struct{ seen sync.Map }

func (b *bearers) sign(ctx context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	header, _ := metadata.FromIncomingContext(ctx)
	n, _ := b.seen.LoadOrStore(strings.Join(header.Get("authorization"), "; "), new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	return signed(r)
}

// want wants so many signatures, all with one token, the first that was given.
func (b *bearers) want(t *testing.T, s *iam, signatures int64) {
	t.Helper()
	b.seen.Range(func(header, n any) bool {
		if got := n.(*atomic.Int64).Load(); header != "Bearer token-1" || got != signatures {
			t.Errorf("%d signatures with authorization %q, want %d with the first token", got, header, signatures)
		}
		return true
	})
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked for %d tokens", n)
	}
}

// A client without a certificate of its own, at a server of a public CA. It has no files
// that could be renewed.
func TestBearerTokensReachTheServer(t *testing.T) {
	t.Parallel()
	if cfg, _, ok := bearerConfig(); ok {
		client := dialTLS(t, cfg)
		signWith(t, client)
		if moved, err := client.Reload(t.Context()); moved || err != nil {
			t.Errorf("without files: moved %v, %v", moved, err)
		}
		if peer, err := grep11.Handshake(t.Context(), cfg); err != nil || len(peer.Certificates) == 0 {
			t.Errorf("handshake: %+v, %v", peer, err)
		}
		return
	}
	s := newIAM(t, anHour)
	var bore bearers
	address, _ := serve(t, "127.0.0.1:0", (&scripted{sign: bore.sign}).register, grpc.Creds(credentials.NewServerTLSFromCert(&s.TLS.Certificates[0])))
	s.bearerClient(t, address)
	bore.want(t, s, 3)
}

// signWith signs three times.
func signWith(t *testing.T, client *grep11.Client) {
	t.Helper()
	key := keyOf(t, client, ep11test.Blob())
	for range 3 {
		if _, err := key.Sign(t.Context(), tezos.Message{}); err != nil {
			t.Error(err)
		}
	}
}

// TestRevokedToken: a server that takes the first token no more is soon asked with another.
func TestRevokedToken(t *testing.T) {
	t.Parallel()
	if cfg, _, ok := bearerConfig(); ok {
		key := keyOf(t, dialTLS(t, cfg), ep11test.Blob())
		eventually(t, "a signature with another token", func() error {
			_, err := key.Sign(t.Context(), tezos.Message{})
			return err
		})
		return
	}
	s := newIAM(t, anHour)
	refuseFirst := func(ctx context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		if header, _ := metadata.FromIncomingContext(ctx); header.Get("authorization")[0] == "Bearer token-1" {
			return nil, status.Error(codes.Unauthenticated, "revoked")
		}
		return signed(r)
	}
	address, _ := serve(t, "127.0.0.1:0", (&scripted{sign: refuseFirst}).register, grpc.Creds(credentials.NewServerTLSFromCert(&s.TLS.Certificates[0])))
	s.bearerClient(t, address)
	if n := s.asked.Load(); n != 2 {
		t.Errorf("asked for %d tokens, want 2", n)
	}
}

// Certificates and an API key at once: a connection that moves to renewed certificates
// bears the token on, and asks for no other.
func TestReloadKeepsTheBearerToken(t *testing.T) {
	t.Parallel()
	if cfg, words, ok := bearerConfig(); ok {
		a := &authority{dir: words[0]}
		files := a.config(cfg.Address)
		cfg.CertPath, cfg.KeyPath, cfg.CACertPath = files.CertPath, files.KeyPath, files.CACertPath
		client := dialTLS(t, cfg)
		signWith(t, client)
		for _, file := range []string{".pem", "-key.pem"} {
			if err := os.Rename(a.path("renewed"+file), a.path("client"+file)); err != nil {
				t.Fatal(err)
			}
		}
		reload(t, client)
		signWith(t, client)
		return
	}
	a, s := newAuthority(t), newIAM(t, anHour)
	soon := time.Now().Add(time.Hour)
	a.issue(t, "server", 2, soon, "127.0.0.1")
	a.issue(t, "client", 7, soon)
	a.issue(t, "renewed", 9, soon)
	var bore bearers
	var seen atomic.Int64
	address, _ := a.serveTLS(t, "127.0.0.1:0", &seen, 0, &scripted{sign: bore.sign})
	s.bearerClient(t, address, a.dir)
	bore.want(t, s, 6)
	if seen.Load() != 9 {
		t.Errorf("the server saw client certificate no. %d at last, want 9", seen.Load())
	}
}
