package grep11_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// serve runs a gRPC server on address until the test ends or stop is called.
func serve(t *testing.T, address string, register func(*grpc.Server), options ...grpc.ServerOption) (bound string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	register(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) { // a short test may stop it first
			t.Errorf("serving: %v", err)
		}
	}()
	stop = func() {
		server.Stop()
		<-done
	}
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// scripted is a server on our own generated code whose answers a test writes.
type scripted struct {
	pb.UnimplementedCryptoServer
	sign     func(context.Context, *pb.SignSingleRequest) (*pb.SignSingleResponse, error)
	generate func(*pb.GenerateKeyPairRequest) (*pb.GenerateKeyPairResponse, error)
}

func (s *scripted) SignSingle(ctx context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	return s.sign(ctx, r)
}

func (s *scripted) GenerateKeyPair(_ context.Context, r *pb.GenerateKeyPairRequest) (*pb.GenerateKeyPairResponse, error) {
	return s.generate(r)
}

func (*scripted) GetMechanismList(context.Context, *pb.GetMechanismListRequest) (*pb.GetMechanismListResponse, error) {
	return &pb.GetMechanismListResponse{Mechs: []uint64{ep11.MechRSAPKCS}}, nil
}

func (s *scripted) register(server *grpc.Server) { pb.RegisterCryptoServer(server, s) }

// dial connects without TLS; cfg.Address is the server's.
func dial(t *testing.T, cfg grep11.Config) *grep11.Client {
	t.Helper()
	cfg.Plaintext = true
	client, err := grep11.Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() }) // a test may have closed it
	return client
}

// dialScripted connects to a server that answers SignSingle with sign.
func dialScripted(
	t *testing.T, cfg grep11.Config, sign func(context.Context, *pb.SignSingleRequest) (*pb.SignSingleResponse, error),
) *grep11.Client {
	t.Helper()
	cfg.Address, _ = serve(t, "127.0.0.1:0", (&scripted{sign: sign}).register)
	return dial(t, cfg)
}

// publicKeys are published keys of three kinds.
func publicKeys(t *testing.T) map[tezos.KeyKind]tezos.PublicKey {
	t.Helper()
	keys := make(map[tezos.KeyKind]tezos.PublicKey)
	for _, text := range []string{
		"edpkuNAzCD3GStoazVVQZ1Xb9yvREPTCh97jgcd5d6g1ekJn7Kzk6i",
		"sppk7bGD91TUq16Fee3Qic3VBZbzQ5hMhqDery4ghd1Gww2aT2cLcYJ",
		"p2pk66EnR4uFKpTmZj9z5Fg9J2J8KmLb7LCwZe5QPySs8JurcTP1PXM",
	} {
		key, err := tezos.ParsePublicKey(text)
		if err != nil {
			t.Fatal(err)
		}
		keys[key.Kind()] = key
	}
	return keys
}

// testKey is a key of a client whose server is not there.
func testKey(t *testing.T, blob ep11.Blob) *grep11.Key {
	t.Helper()
	return keyOf(t, dial(t, grep11.Config{Address: deadAddress(t)}), blob)
}

// deadAddress is a loopback address that nobody listens on.
func deadAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// eventually waits for check, far longer than it should take.
func eventually(t *testing.T, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%s: still %v after %v", what, err, time.Since(start))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// refuse is a status with our own Grep11Error.
func refuse(t *testing.T, code codes.Code, ret ep11.Code, detail string) error {
	t.Helper()
	st, err := status.New(code, "refused").WithDetails(&pb.Grep11Error{Code: uint64(ret), Detail: detail})
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}
