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
	lists   []uint64
	noList  error
}

func newRefusing(t *testing.T) *refusing {
	t.Helper()
	s := &refusing{
		refused: make(map[byte]bool), answer: refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, ""),
		lists: []uint64{ep11.MechECDSA},
	}
	address, _ := serve(t, "127.0.0.1:0", func(server *grpc.Server) { pb.RegisterCryptoServer(server, s) })
	s.client = dial(t, grep11.Config{Address: address})
	return s
}

func (s *refusing) GetMechanismList(context.Context, *pb.GetMechanismListRequest) (*pb.GetMechanismListResponse, error) {
	return &pb.GetMechanismListResponse{Mechs: s.lists}, s.noList
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

// The probe asks a key that was not refused: it may be the one that signs. So it is with each master key.
func TestProbeAsksAKeyThatWasNotRefused(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	var whole []*grep11.Key
	for masterKey := byte('a'); masterKey <= 'd'; masterKey++ {
		for name := byte('1'); name <= '8'; name++ {
			s.refused[name] = true
			_ = s.sign(s.key(t, masterKey, name))
		}
		whole = append(whole, s.key(t, masterKey, '9'))
	}
	s.asked = nil
	_ = s.client.Refresh(t.Context())
	for i, key := range whole {
		if err := key.Trouble(); err != nil || string(s.asked) != "9999" {
			t.Errorf("master key %d: asked with %q, want 9 of each: trouble %v", i+1, s.asked, err)
		}
	}
}

// A refusal is compared with what a key gets that has signed before, if there is one: it may be the only
// one that the card ever took.
func TestRefusalIsComparedWithAProvenKey(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	broken, proven := s.key(t, 'a', '1'), s.key(t, 'a', '9')
	for name := byte('2'); name <= '8'; name++ {
		s.refused[name] = true
		s.key(t, 'a', name)
	}
	if err := s.sign(proven); err != nil {
		t.Fatal(err)
	}
	s.refused['1'], s.asked = true, nil
	if err := s.sign(broken); err == nil || string(s.asked) != "19" || proven.Trouble() != nil {
		t.Errorf("%v, asked with %q, want 19; trouble of the proven key: %v", err, s.asked, proven.Trouble())
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

// refusedWith makes the refusals of a server those of a code.
func (s *refusing) refusedWith(t *testing.T, code ep11.Code) {
	t.Helper()
	s.answer = refuse(t, codes.Unknown, code, "")
}

// Only a refusal for the master key of a key's only blob tells of other keys.
func TestOtherRefusalsTellOfNoMasterKey(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]ep11.Code{
		"blob error": ep11.CodeIBMBlobError, "blob key conflict": ep11.CodeIBMBlobkeyConflict, "device error": ep11.CodeDeviceError,
		"no such mechanism": ep11.CodeMechanismInvalid,
	} {
		s := newRefusing(t)
		one, two := s.key(t, 'a', '1'), s.key(t, 'a', '2')
		s.refusedWith(t, code)
		s.refused['1'] = true
		if err := s.sign(one); err == nil {
			t.Errorf("%s: signed", name)
		}
		if err := errors.Join(one.Trouble(), two.Trouble()); err != nil {
			t.Errorf("%s: trouble %v, want none", name, err)
		}
	}
	s := newRefusing(t)
	other := s.key(t, 'a', '1')
	first, second := namedBlob('a'), namedBlob('b')
	first[len(first)-1], second[len(second)-1] = '2', '3'
	several := keyOf(t, s.client, first, second)
	s.refused['2'], s.refused['3'] = true, true
	if err := s.sign(several); hsm.FaultOf(err) != hsm.Unfit {
		t.Errorf("a key of two blobs: %v", err)
	}
	if err := errors.Join(other.Trouble(), several.Trouble()); err != nil {
		t.Errorf("a key of two blobs was refused: trouble %v, want none: either blob may be the reason", err)
	}
	s.asked = nil
	_ = s.client.Refresh(t.Context())
	if len(s.asked) != 0 {
		t.Errorf("probed with %q, want no probe: no master key is missing", s.asked)
	}
	s.refused['1'] = true
	_ = s.sign(other)
	s.refused['2'] = false
	if err := s.sign(several); err != nil || other.Trouble() == nil || several.Trouble() != nil {
		t.Errorf("a key of two blobs signs: %v; trouble of its own %v, of the refused key %v: want none, and one", err, several.Trouble(), other.Trouble())
	}
}

// The first refusal counts once, however many keys of the master key are refused, and one signature ends it.
func TestManyRefusalsAreOne(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	one, two, three, other := s.key(t, 'a', '1'), s.key(t, 'a', '2'), s.key(t, 'a', '3'), s.key(t, 'b', '4')
	s.refused['1'], s.refused['2'], s.refused['3'], s.refused['4'] = true, true, true, true
	for range 3 {
		_, _, _, _ = s.sign(one), s.sign(two), s.sign(three), s.sign(other)
	}
	delete(s.refused, '2')
	delete(s.refused, '3')
	if err := errors.Join(s.sign(two), s.sign(three)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.Trouble(), two.Trouble(), three.Trouble()); err != nil {
		t.Errorf("after a signature: %v, want no trouble", err)
	}
	if other.Trouble() == nil {
		t.Error("another master key is still missing, and there is no trouble")
	}
	delete(s.refused, '4')
	if err := s.sign(other); err != nil || other.Trouble() != nil {
		t.Errorf("the other master key is there: %v, trouble %v", err, other.Trouble())
	}
	s.refused['2'], s.refused['3'] = true, true // the master key goes again
	_ = s.sign(two)
	if one.Trouble() == nil || two.Trouble() == nil {
		t.Error("the master key is missing again, and there is no trouble")
	}
	s.asked = nil
	_ = s.client.Refresh(t.Context())
	if len(s.asked) != 1 {
		t.Errorf("probed with %q, want one key of the one master key", s.asked)
	}
}

// A key whose refusal was its own speaks for itself from then on; the key that signs stays good, and so
// does one that was refused itself and signs again.
func TestOwnRefusalIsRemembered(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	broken, whole := s.key(t, 'a', '1'), s.key(t, 'a', '2')
	s.refused['1'], s.refused['2'] = true, true
	_ = s.sign(whole)
	delete(s.refused, '2')
	if err := s.sign(whole); err != nil { // which was the one that had learned it
		t.Fatal(err)
	}
	s.refused['2'] = true
	_ = s.sign(whole)
	if broken.Trouble() == nil {
		t.Error("a key that signed and was refused again tells of its master key, and there is no trouble")
	}
	delete(s.refused, '2')
	_ = s.sign(whole)
	_ = s.sign(broken)
	if err := s.sign(whole); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.sign(broken); hsm.FaultOf(err) != hsm.Unfit {
			t.Errorf("the broken key: %v", err)
		}
		if err := errors.Join(whole.Trouble(), broken.Trouble()); err != nil {
			t.Errorf("trouble %v, want none: the refusal is the key's own", err)
		}
	}
}

// A master key is forgotten with its last key, and counts no more; as long as it has one it counts.
func TestMasterKeyGoesWithItsLastKey(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	one, two, other := s.key(t, 'a', '1'), s.key(t, 'a', '2'), s.key(t, 'b', '3')
	s.refused['1'], s.refused['2'] = true, true
	_ = s.sign(one)
	move := func(key *grep11.Key, name byte) *grep11.Key {
		t.Helper()
		next := namedBlob('c')
		next[len(next)-1] = name
		changed, _, err := key.With(next)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	one = move(one, '4')
	if two.Trouble() == nil {
		t.Error("the other key of the missing master key has no trouble")
	}
	two = move(two, '5')
	for _, key := range []*grep11.Key{one, two, other} {
		if err := key.Trouble(); err != nil {
			t.Errorf("no key is of the missing master key any more: trouble %v, want none", err)
		}
	}
	s.refused['3'] = true // the count is right: another one is missing, and comes back
	_ = s.sign(other)
	if other.Trouble() == nil {
		t.Error("another master key is missing, and there is no trouble")
	}
	delete(s.refused, '3')
	if err := s.sign(other); err != nil || other.Trouble() != nil {
		t.Errorf("it is back: %v, trouble %v, want none", err, other.Trouble())
	}
	moved := s.key(t, 'b', '6') // whose master key is not missing
	_ = move(moved, '7')
	_ = move(s.key(t, 'd', '8'), '9') // the last one of a master key that is not missing
	s.refused['3'] = true
	_ = s.sign(other)
	if other.Trouble() == nil {
		t.Error("it is missing again, and there is no trouble")
	}
}

// A server whose list lacks the mechanism is not one for the key, as soon as the list is known.
func TestLackIsATrouble(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	key := keyOf(t, s.client, namedBlob('a'))
	other, err := s.client.Key(edKey(t), namedBlob('b'))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(key.Trouble(), other.Trouble()); err != nil {
		t.Errorf("before the list is known: %v, want no trouble", err)
	}
	if err := s.client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := key.Trouble(); err != nil {
		t.Errorf("the mechanism is in the list: %v, want no trouble", err)
	}
	var lack *grep11.LackError
	if err := other.Trouble(); !errors.As(err, &lack) || lack.Kind != tezos.Ed25519 || hsm.FaultOf(err) != hsm.Unfit {
		t.Errorf("the mechanism is not in the list: %v, want what it lacks, unfit", err)
	}
}

// edKey is a tz1 key that nobody has.
func edKey(t *testing.T) tezos.PublicKey {
	t.Helper()
	key, err := tezos.NewPublicKey(tezos.Ed25519, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Key takes a key of a kind that signs here, with one blob at least, each with a sound header.
func TestKeyRefuses(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	bls, err := tezos.ParsePublicKey("BLpk1nRV5SBB2QCxsiem5Neoywcizr3mkdp167HL1iKFgFvzPhKo4RSy7J8JBh2BgGgVYjNsRGwU")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key   tezos.PublicKey
		blobs []ep11.Blob
	}{
		"a tz4 key":       {bls, []ep11.Blob{namedBlob('a')}},
		"no blob":         {edKey(t), nil},
		"an unsound blob": {edKey(t), []ep11.Blob{namedBlob('a'), namedBlob('b')[:20]}},
	} {
		if key, err := s.client.Key(test.key, test.blobs...); err == nil || key != nil {
			t.Errorf("%s: %v, %v, want an error and no key", name, key, err)
		}
	}
}
