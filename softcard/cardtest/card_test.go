package cardtest_test

import (
	"context"
	"net"
	"testing"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// generate has a server make a key.
func generate(t *testing.T, cfg grep11.Config) grep11.Generated {
	t.Helper()
	made, err := cardtest.Dial(t, cfg).Generate(t.Context(), tezos.P256, false)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestServe(t *testing.T) {
	t.Parallel()
	folder := cardtest.Folder(t)
	for name, s := range map[string]*cardtest.Server{
		"in memory":                     cardtest.Serve(t, cardtest.New(t, 1), ""),
		"of a folder":                   cardtest.Serve(t, cardtest.Open(t, folder), folder),
		"of a folder, without TLS":      cardtest.Serve(t, cardtest.Open(t, folder), ""),
		"in memory, with a folder's":    cardtest.Serve(t, cardtest.New(t, 1), folder),
		"of a folder that is made anew": cardtest.Serve(t, cardtest.Open(t, cardtest.Init(t, softcard.Dir(t.TempDir()))), ""),
	} {
		t.Run(name, func(t *testing.T) { generate(t, s.Config()) })
	}
}

func TestStopAndStart(t *testing.T) {
	t.Parallel()
	s := cardtest.Serve(t, cardtest.New(t, 1), "")
	address := s.Address
	s.Stop()
	s.Stop()
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
		t.Errorf("a stopped server listens: %v", conn.Close())
	}
	s.Start(t)
	if generate(t, s.Config()); s.Address != address {
		t.Errorf("address %s, then %s", address, s.Address)
	}
}

// proxy counts the calls for a key.
type proxy struct {
	pb.UnimplementedCryptoServer
	card  pb.CryptoClient
	calls int
}

func (p *proxy) GenerateKeyPair(
	ctx context.Context, r *pb.GenerateKeyPairRequest,
) (*pb.GenerateKeyPairResponse, error) {
	p.calls++
	return p.card.GenerateKeyPair(ctx, r)
}

func TestFront(t *testing.T) {
	t.Parallel()
	for _, dir := range []softcard.Dir{"", cardtest.Folder(t)} {
		front := &proxy{card: cardtest.Client(t, cardtest.New(t, 1))}
		generate(t, cardtest.Front(t, front, dir, cardtest.Listen(t, "127.0.0.1:0")))
		if front.calls != 1 {
			t.Errorf("folder %q: %d calls, want 1", dir, front.calls)
		}
	}
}
