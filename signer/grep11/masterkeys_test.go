package grep11_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/signer/hsm"
	"pawl/tezos"
)

// refusing is a server that refuses keys by the name in their blob.
type refusing struct {
	pb.UnimplementedCryptoServer
	client  *grep11.Client
	refused map[byte]bool
	asked   []byte
	answer  error // to a refused call
}

func newRefusing(t *testing.T) *refusing {
	t.Helper()
	s := &refusing{refused: make(map[byte]bool), answer: refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, "")}
	address, _ := serve(t, "127.0.0.1:0", func(server *grpc.Server) { pb.RegisterCryptoServer(server, s) })
	s.client = dial(t, grep11.Config{Address: address})
	return s
}

func (s *refusing) GetMechanismList(
	context.Context, *pb.GetMechanismListRequest,
) (*pb.GetMechanismListResponse, error) {
	return &pb.GetMechanismListResponse{Mechs: []uint64{ep11.MechECDSA}}, nil
}

func (s *refusing) SignSingle(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	name := r.GetPrivKeyBytes()[len(r.GetPrivKeyBytes())-1]
	s.asked = append(s.asked, name)
	if s.refused[name] {
		return nil, s.answer
	}
	return &pb.SignSingleResponse{Signature: make([]byte, 64)}, nil
}

// key returns a key whose blob has the name and is wrapped by the master key.
func (s *refusing) key(t *testing.T, masterKey, name byte) *grep11.Key {
	t.Helper()
	blob := namedBlob(masterKey)
	blob[len(blob)-1] = name
	return keyOf(t, s.client, blob)
}

func (s *refusing) sign(key *grep11.Key) error {
	_, err := key.Sign(context.Background(), tezos.Message{})
	return err
}

// One refusal speaks for all keys under a master key, and for no others. A signature ends it.
func TestOneRefusalTellsOfAMasterKey(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	one, two, other := s.key(t, 'a', '1'), s.key(t, 'a', '2'), s.key(t, 'b', '3')
	s.refused['1'] = true
	if err := s.sign(one); hsm.FaultOf(err) != hsm.Unfit {
		t.Fatalf("a refusal for the master key: %v, fault %v, want unfit", err, hsm.FaultOf(err))
	}
	for name, key := range map[string]*grep11.Key{"the key": one, "a key of the same master key": two} {
		var refusal *grep11.Error
		if err := key.Trouble(); hsm.FaultOf(err) != hsm.Unfit || !errors.As(err, &refusal) ||
			refusal.Code != ep11.CodeIBMWKIDMismatch {
			t.Errorf("%s: trouble %v, want the refusal, unfit", name, err)
		}
	}
	if err := other.Trouble(); err != nil {
		t.Errorf("a key of another master key: %v, want no trouble", err)
	}
	if err := s.sign(two); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.Trouble(), two.Trouble()); err != nil {
		t.Errorf("after a signature: %v, want no trouble", err)
	}
}

// When a key is refused while others under its master key sign, its refusals speak only for itself.
func TestRefusalOfOneKeyTellsOfItself(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	broken, whole := s.key(t, 'a', '1'), s.key(t, 'a', '2')
	s.refused['1'] = true
	_ = s.sign(broken)
	if err := s.sign(whole); err != nil {
		t.Fatal(err)
	}
	_ = s.sign(broken)
	if err := whole.Trouble(); err != nil {
		t.Errorf("a key that signs: %v, want no trouble", err)
	}
}

// Refresh finds out that the master key has arrived. Each one probes with one key.
func TestRefreshProbesTheMasterKey(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	one, two := s.key(t, 'a', '1'), s.key(t, 'a', '2')
	s.refused['1'], s.refused['2'] = true, true
	_ = s.sign(one)
	for round := range 3 {
		s.asked = nil
		_ = s.client.Refresh(t.Context())
		if len(s.asked) != 1 {
			t.Errorf("round %d: asked with %q, want one key", round, s.asked)
		}
	}
	if two.Trouble() == nil {
		t.Error("no trouble while the master key is missing")
	}
	s.refused = nil
	_ = s.client.Refresh(t.Context())
	if err := errors.Join(one.Trouble(), two.Trouble()); err != nil {
		t.Errorf("after a probe that signed: %v, want no trouble", err)
	}
}

// Blobs that are no longer used are not probed, and a refusal of one is forgotten.
func TestMasterKeyWithoutKeysIsForgotten(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	key := s.key(t, 'a', '1')
	s.refused['1'] = true
	_ = s.sign(key)
	next := namedBlob('b')
	next[len(next)-1] = '2'
	changed, fresh, err := key.With(next)
	if err != nil || !fresh {
		t.Fatalf("With: %v, %v", fresh, err)
	}
	s.asked = nil
	_ = s.client.Refresh(t.Context())
	if len(s.asked) != 0 {
		t.Errorf("asked with %q, want no probe", s.asked)
	}
	if err := changed.Trouble(); err != nil {
		t.Errorf("the key with another blob: %v, want no trouble", err)
	}
}

// Trouble makes no call.
func TestTroubleAsksNobody(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	key := s.key(t, 'a', '1')
	if err := key.Trouble(); err != nil {
		t.Errorf("before any call: %v", err)
	}
	time.Sleep(10 * time.Millisecond)
	if len(s.asked) != 0 {
		t.Errorf("asked with %q", s.asked)
	}
}
