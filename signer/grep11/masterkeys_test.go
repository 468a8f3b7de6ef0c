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

// refusing is a server that refuses keys by the name of their blob.
type refusing struct {
	pb.UnimplementedCryptoServer
	client  *grep11.Client
	refused map[byte]bool
	asked   []byte
	answer  error // of a refusal
}

func newRefusing(t *testing.T) *refusing {
	t.Helper()
	s := &refusing{refused: make(map[byte]bool), answer: refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, "")}
	address, _ := serve(t, "127.0.0.1:0", func(server *grpc.Server) { pb.RegisterCryptoServer(server, s) })
	s.client = dial(t, grep11.Config{Address: address})
	return s
}

func (s *refusing) GetMechanismList(context.Context, *pb.GetMechanismListRequest) (*pb.GetMechanismListResponse, error) {
	return &pb.GetMechanismListResponse{Mechs: []uint64{ep11.MechECDSA}}, nil
}

func (s *refusing) SignSingle(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	name := r.GetPrivKeyBytes()[len(r.GetPrivKeyBytes())-1]
	s.asked = append(s.asked, name)
	if s.refused[name] {
		return nil, s.answer
	}
	return signed(r)
}

// key is a key of that name whose blob is wrapped by the master key.
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

// One refusal tells of all keys under a master key, of no other, and a signature ends it.
func TestOneRefusalTellsOfAMasterKey(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	one, two, other := s.key(t, 'a', '1'), s.key(t, 'a', '2'), s.key(t, 'b', '3')
	s.refused['1'], s.refused['2'] = true, true
	if err := s.sign(one); hsm.FaultOf(err) != hsm.Unfit {
		t.Fatalf("a refusal for the master key: %v, fault %v, want unfit", err, hsm.FaultOf(err))
	}
	for name, key := range map[string]*grep11.Key{"the key": one, "a key of the same master key": two} {
		var refusal *grep11.Error
		if err := key.Trouble(); hsm.FaultOf(err) != hsm.Unfit || !errors.As(err, &refusal) || refusal.Code != ep11.CodeIBMWKIDMismatch {
			t.Errorf("%s: trouble %v, want the refusal, unfit", name, err)
		}
	}
	if err := other.Trouble(); err != nil {
		t.Errorf("a key of another master key: %v, want no trouble", err)
	}
	s.refused['2'] = false
	if err := s.sign(two); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.Trouble(), two.Trouble()); err != nil {
		t.Errorf("after a signature: %v, want no trouble", err)
	}
}

// A key that is refused for a reason of its own, while others of its master key sign, tells only
// of itself.
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

// Keys that are refused for reasons of their own do not make a key unready that signs, not for a moment.
func TestRefusalsDoNotTouchAKeyThatSigns(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	broken := []*grep11.Key{s.key(t, 'a', '1'), s.key(t, 'a', '2'), s.key(t, 'a', '3')}
	whole := s.key(t, 'a', '4')
	if err := s.sign(whole); err != nil {
		t.Fatal(err)
	}
	s.refused['1'], s.refused['2'], s.refused['3'] = true, true, true
	for i, key := range broken {
		_ = s.sign(key)
		if err := whole.Trouble(); err != nil {
			t.Errorf("after the refusal of key %d: %v", i+1, err)
		}
		if err := s.sign(whole); err != nil {
			t.Fatal(err)
		}
	}
	for i, key := range broken {
		_ = s.sign(key)
		if err := whole.Trouble(); err != nil {
			t.Errorf("after another refusal of key %d: %v", i+1, err)
		}
	}
}

// Two keys that are refused speak for all, also for those that have signed: the second is asked as soon as
// the first was refused. A signature ends it for all.
func TestTwoRefusalsTellOfAMasterKey(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	one, two, three := s.key(t, 'a', '1'), s.key(t, 'a', '2'), s.key(t, 'a', '3')
	for _, key := range []*grep11.Key{one, two, three} {
		if err := s.sign(key); err != nil {
			t.Fatal(err)
		}
	}
	s.refused['1'], s.refused['2'], s.refused['3'] = true, true, true
	s.asked = nil
	_ = s.sign(one)
	for i, key := range []*grep11.Key{one, two, three} {
		if key.Trouble() == nil {
			t.Errorf("after the refusal of a first key and a second, key %d: no trouble", i+1)
		}
	}
	_ = s.sign(three)
	if len(s.asked) > 3 {
		t.Errorf("asked with %q, want each refused key once", s.asked)
	}
	s.refused = nil
	if err := s.sign(three); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.Trouble(), two.Trouble(), three.Trouble()); err != nil {
		t.Errorf("after a signature: %v", err)
	}

	// A key that has signed since may speak for the others again.
	if err := errors.Join(s.sign(one), s.sign(two)); err != nil {
		t.Fatal(err)
	}
	s.refused = map[byte]bool{'1': true, '2': true, '3': true}
	_, _ = s.sign(one), s.sign(two)
	if three.Trouble() == nil {
		t.Error("after two refusals a second time: no trouble")
	}
}

// The probe asks a key that was not refused: it may be the one that signs.
func TestProbeAsksAKeyThatWasNotRefused(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	for name := byte('1'); name <= '8'; name++ {
		s.refused[name] = true
		_ = s.sign(s.key(t, 'a', name))
	}
	whole := s.key(t, 'a', '9')
	s.asked = nil
	_ = s.client.Refresh(t.Context())
	if err := whole.Trouble(); err != nil || string(s.asked) != "9" {
		t.Errorf("asked with %q: %v", s.asked, err)
	}
}

// Refresh finds out that the master key is there, and asks with one key a time.
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

// Blobs that are not used any more are not probed, and do not count.
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

// Trouble costs a look, not a call.
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

// TestTheSameBlobTwiceIsOne: keys.json may name one blob twice, with a warning.
func TestTheSameBlobTwiceIsOne(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	blob := namedBlob('a')
	key := keyOf(t, s.client, blob, blob)
	s.refused[blob[len(blob)-1]] = true
	if err := s.sign(key); err == nil || len(s.asked) != 1 {
		t.Errorf("%v after %d calls, want a refusal after one", err, len(s.asked))
	}
	if key.Trouble() == nil {
		t.Error("the refusal tells nothing of the master key")
	}
}
