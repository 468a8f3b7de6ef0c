package grep11_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
	"pawl/internal/logtest"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// rotatedCard runs a card whose master key the test changes, and counts what it signs.
func rotatedCard(t *testing.T, dialect grep11.Dialect) (*softcard.Card, *grep11.Client, *sync.Map) {
	t.Helper()
	card := cardtest.New(t, 1)
	signed := new(sync.Map) // *atomic.Int32 by the digest
	card.OnSign = func(data, _ []byte) {
		n, _ := signed.LoadOrStore(string(data), new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
	}
	return card, dialCard(t, card, dialect), signed
}

// rotate loads and commits a new master key and rewraps the key under it.
func rotate(t *testing.T, card *softcard.Card, client *grep11.Client, fill byte, blob ep11.Blob) ep11.Blob {
	t.Helper()
	if err := errors.Join(card.LoadNext(bytes.Repeat([]byte{fill}, 32)), card.CommitNext()); err != nil {
		t.Fatal(err)
	}
	next, err := client.Rewrap(t.Context(), blob)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// The master key is finalised under load, twice: each request gets its signature, and
// the card makes one for each.
func TestSignaturesGoOnWhileTheMasterKeyChanges(t *testing.T) {
	t.Parallel()
	for _, dialect := range []grep11.Dialect{grep11.Both, grep11.V1, grep11.V2} {
		card, client, signed := rotatedCard(t, dialect)
		made, err := client.Generate(t.Context(), tezos.P256, false)
		if err != nil {
			t.Fatal(err)
		}
		key, err := client.Key(made.PublicKey, made.Blob)
		if err != nil {
			t.Fatal(err)
		}
		var next [2]ep11.Blob
		blob, fill := made.Blob, byte(2)
		var current atomic.Pointer[grep11.Key]
		current.Store(key)
		load, stop := underLoad(t, &current, signed)
		for i := range next {
			next[i] = rotate(t, card, client, fill, blob)
			changed, fresh, err := current.Load().With(blob, next[i])
			if err != nil || !fresh {
				t.Fatalf("With: %v, %v", fresh, err)
			}
			current.Store(changed)
			load()
			if err := card.Finalise(); err != nil {
				t.Fatal(err)
			}
			load()
			blob, fill = next[i], fill+1
		}
		if n := stop(); n < 20 {
			t.Errorf("%s: %d signatures are no load", dialect, n)
		}
	}
}

// underLoad has the key of the moment sign from eight goroutines until stop is called, which tells how
// often it did. load waits until each of them has signed twice more.
func underLoad(t *testing.T, key *atomic.Pointer[grep11.Key], signed *sync.Map) (load func(), stop func() int64) {
	t.Helper()
	var done atomic.Bool
	var counts [8]atomic.Int64
	var workers sync.WaitGroup
	for i := range counts {
		workers.Go(func() {
			for !done.Load() {
				if err := signOnce(key.Load(), signed); err != nil {
					t.Errorf("signature %d: %v", counts[i].Load(), err)
					done.Store(true)
				}
				counts[i].Add(1)
			}
		})
	}
	load = func() {
		for i := range counts {
			for before := counts[i].Load(); counts[i].Load() < before+2 && !done.Load(); {
				time.Sleep(time.Millisecond)
			}
		}
	}
	stop = func() (all int64) {
		done.Store(true)
		workers.Wait()
		for i := range counts {
			all += counts[i].Load()
		}
		return all
	}
	return load, stop
}

// signOnce wants one good signature of a message, and of the card no second one.
func signOnce(key *grep11.Key, signed *sync.Map) error {
	message, err := tezos.NewProbe()
	if err != nil {
		return err
	}
	signature, err := key.Sign(context.Background(), message)
	if err != nil {
		return err
	}
	digest := message.Digest()
	n, ok := signed.Load(string(digest[:]))
	if !ok || n.(*atomic.Int32).Load() != 1 {
		return fmt.Errorf("signed %v times", n)
	}
	return key.PublicKey().Verify(message, signature)
}

// The master key changes during a call with the only blob: it is asked with once more, at once.
func TestKeyAsksOnceMoreWhenTheMasterKeyChanges(t *testing.T) {
	t.Parallel()
	for conflicts, good := range []bool{true, true, false} {
		card := cardtest.New(t, 1)
		client := dialCard(t, card, grep11.Both)
		made, err := client.Generate(t.Context(), tezos.P256, false)
		if err != nil {
			t.Fatal(err)
		}
		key, err := client.Key(made.PublicKey, made.Blob)
		if err != nil {
			t.Fatal(err)
		}
		if conflicts > 0 {
			card.SetFaults(&softcard.Fault{Call: "SignSingle", Times: conflicts, Err: softcard.Refusal(ep11.CodeIBMBlobkeyConflict)})
		}
		if _, err = key.Sign(t.Context(), tezos.Message{}); good != (err == nil) || err != nil && !grep11.Transient(err) {
			t.Errorf("after %d conflicts: %v", conflicts, err)
		}
	}
}

// errBadAnswer has scriptedRefusals give a signature that does not verify, as with the blob of another key.
var errBadAnswer = errors.New("bad signature")

// errShortAnswer has it give one of 63 bytes.
var errShortAnswer = errors.New("short signature")

// scriptedRefusals is a key of three blobs, for each of which the server has an answer;
// asked lists the blobs that came.
func scriptedRefusals(t *testing.T, answers map[byte]error) (key *grep11.Key, asked func() string) {
	t.Helper()
	return loggedRefusals(t, answers, grep11.Config{})
}

func loggedRefusals(t *testing.T, answers map[byte]error, cfg grep11.Config) (key *grep11.Key, asked func() string) {
	t.Helper()
	var mu sync.Mutex
	var got []byte
	client := dialScripted(t, cfg, func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		mu.Lock()
		defer mu.Unlock()
		name := r.GetPrivKeyBytes()[32]
		got = append(got, name)
		switch err := answers[name]; {
		case err == nil:
			return signed(r)
		case errors.Is(err, errBadAnswer):
			return &pb.SignSingleResponse{Signature: make([]byte, 64)}, nil
		case errors.Is(err, errShortAnswer):
			return &pb.SignSingleResponse{Signature: make([]byte, 63)}, nil
		default:
			return nil, err
		}
	})
	key = keyOf(t, client, namedBlob('a'))
	return key, func() string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { got = nil }()
		return string(got)
	}
}

// namedBlob has the name in its wrapping key id.
func namedBlob(name byte) ep11.Blob {
	blob := ep11test.Blob()
	blob[32] = name
	return blob
}

func TestKeyAsksWithTheOtherBlob(t *testing.T) {
	t.Parallel()
	mismatch := refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, "a")
	unsound := refuse(t, codes.Unknown, ep11.CodeIBMBlobError, "b")
	changed := refuse(t, codes.Unknown, ep11.CodeIBMBlobkeyConflict, "c")
	notPermitted := refuse(t, codes.Unknown, ep11.CodeKeyFunctionNotPermitted, "d")
	unavailable := status.Error(codes.Unavailable, "away")
	for name, test := range map[string]struct {
		answers map[byte]error
		asked   string
		then    string // what the next signature asks with
		want    string // within the error
	}{
		"the first is taken":                  {nil, "a", "a", ""},
		"the first is another key's":          {map[byte]error{'a': errBadAnswer}, "ab", "b", ""},
		"the second is another key's":         {map[byte]error{'a': mismatch, 'b': errBadAnswer}, "abc", "c", ""},
		"another key's goes last":             {map[byte]error{'a': mismatch, 'b': errBadAnswer, 'c': mismatch}, "abc", "acb", "does not verify"},
		"another key's, then trouble":         {map[byte]error{'a': errBadAnswer, 'b': unavailable}, "ab", "b", "Unavailable"},
		"all are other keys'":                 {map[byte]error{'a': errBadAnswer, 'b': errBadAnswer, 'c': errBadAnswer}, "abc", "abc", "does not verify"},
		"the second is taken, and kept":       {map[byte]error{'a': mismatch}, "ab", "b", ""},
		"the third is taken, and kept":        {map[byte]error{'a': mismatch, 'b': unsound}, "abc", "c", ""},
		"changed during the call":             {map[byte]error{'a': changed}, "ab", "b", ""},
		"none is taken: the first error":      {map[byte]error{'a': mismatch, 'b': unsound, 'c': unsound}, "abc", "abc", "CKR_IBM_WKID_MISMATCH"},
		"none is taken, but may be":           {map[byte]error{'a': mismatch, 'b': changed, 'c': unsound}, "abcabc", "abcabc", "CKR_IBM_BLOBKEY_CONFLICT"},
		"another refusal ends it":             {map[byte]error{'a': notPermitted}, "a", "a", "CKR_KEY_FUNCTION_NOT_PERMITTED"},
		"a lost connection ends it":           {map[byte]error{'a': unavailable}, "a", "a", "Unavailable"},
		"another refusal of the second":       {map[byte]error{'a': mismatch, 'b': notPermitted}, "ab", "ab", "CKR_KEY_FUNCTION_NOT_PERMITTED"},
		"a lost connection before the second": {map[byte]error{'a': mismatch, 'b': unavailable}, "ab", "ab", "Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, asked := scriptedRefusals(t, test.answers)
			key, _, err := key.With(namedBlob('a'), namedBlob('b'), namedBlob('c'))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{test.asked, test.then} {
				_, err := key.Sign(t.Context(), tezos.Message{})
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("Sign: %v, want %q", err, test.want)
				}
				if got := asked(); got != want {
					t.Errorf("asked with %q, want %q", got, want)
				}
			}
		})
	}
}

// Other blobs replace what was, except the blob in use.
func TestWith(t *testing.T) {
	t.Parallel()
	mismatch := refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, "")
	answers := map[byte]error{'b': mismatch, 'c': mismatch, 'd': mismatch}
	key, asked := scriptedRefusals(t, answers)
	if _, err := key.Sign(t.Context(), tezos.Message{}); err != nil || asked() != "a" {
		t.Fatalf("the blob in use does not sign: %v", err)
	}
	answers['a'] = mismatch
	for _, step := range []struct {
		blobs string
		fresh bool
		same  bool // nothing changes
		asked string
	}{
		{"", false, true, "a"},
		{"a", false, true, "a"},
		{"ab", true, false, "ab"},
		{"ab", false, true, "ab"},
		{"ba", false, true, "ab"},
		{"bc", true, false, "abc"},
		{"d", true, false, "ad"},
		{"", false, false, "a"},
	} {
		var blobs []ep11.Blob
		for _, name := range []byte(step.blobs) {
			blobs = append(blobs, namedBlob(name))
		}
		changed, fresh, err := key.With(blobs...)
		if err != nil || fresh != step.fresh || (changed == key) != step.same {
			t.Fatalf("With %q: %v, %v, the same key %v; want %v, %v", step.blobs, fresh, err, changed == key, step.fresh, step.same)
		}
		key = changed
		_, _ = key.Sign(t.Context(), tezos.Message{})
		if got := asked(); got != step.asked {
			t.Errorf("after %q asked with %q, want %q", step.blobs, got, step.asked)
		}
	}
	if _, _, err := key.With(namedBlob('b'), namedBlob('c')[:100]); err == nil {
		t.Error("a blob cut short was taken")
	}
	_, _ = key.Sign(t.Context(), tezos.Message{})
	if got := asked(); got != "a" {
		t.Errorf("after refused blobs asked with %q, want what was", got)
	}
}

// Whoever gave a blob may change the bytes.
func TestWithKeepsItsOwnBytes(t *testing.T) {
	t.Parallel()
	key, asked := scriptedRefusals(t, map[byte]error{'a': refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, "")})
	blob := namedBlob('b')
	key, _, err := key.With(blob)
	if err != nil {
		t.Fatal(err)
	}
	clear(blob)
	if _, err := key.Sign(t.Context(), tezos.Message{}); err != nil || asked() != "b" {
		t.Errorf("Sign: %v", err)
	}
}

// A blob that gave no good signature yet does not stand before those of keys.json, and one that gave
// a bad one goes: the blobs of two keys were exchanged, and are put right.
func TestWithoutTheBlobOfAnotherKey(t *testing.T) {
	t.Parallel()
	mismatch := refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, "")
	for name, test := range map[string]struct {
		answers map[byte]error
		blobs   []string // of keys.json, one after the other
		asked   []string // by a signature each time
	}{
		"the only blob":          {map[byte]error{'a': errBadAnswer}, []string{"b"}, []string{"a", "b"}},
		"the next blob":          {map[byte]error{'a': mismatch, 'b': errBadAnswer}, []string{"ab", "ac", "c"}, []string{"a", "ab", "ac", "c"}},
		"it stays, as the last":  {map[byte]error{'a': mismatch, 'b': errBadAnswer}, []string{"ab", "abc"}, []string{"a", "ab", "ac"}},
		"it alone stays":         {map[byte]error{'a': errBadAnswer}, []string{"", "a"}, []string{"a", "a", "a"}},
		"not asked yet":          {map[byte]error{'a': mismatch, 'b': mismatch, 'c': mismatch}, []string{"bc", "ba"}, []string{"a", "bca", "ba"}},
		"refused, then promoted": {map[byte]error{'a': mismatch}, []string{"ab", "b"}, []string{"a", "ab", "b"}},
	} {
		key, asked := scriptedRefusals(t, test.answers)
		for i, want := range test.asked {
			if i > 0 {
				var blobs []ep11.Blob
				for _, name := range []byte(test.blobs[i-1]) {
					blobs = append(blobs, namedBlob(name))
				}
				var err error
				if key, _, err = key.With(blobs...); err != nil {
					t.Fatal(err)
				}
			}
			_, err := key.Sign(t.Context(), tezos.Message{})
			if got := asked(); got != want {
				t.Errorf("%s: signature %d asked with %q, want %q: %v", name, i, got, want, err)
			}
		}
	}
}

// A blob that gives bad signatures is told of, and not at each of them.
func TestBadBlobIsToldOnce(t *testing.T) {
	t.Parallel()
	log := new(logtest.Buffer)
	cfg := grep11.Config{Log: slog.New(slog.NewTextHandler(log, nil))}
	key, _ := loggedRefusals(t, map[byte]error{'a': errBadAnswer}, cfg)
	for range 3 {
		if _, err := key.Sign(t.Context(), tezos.Message{}); !errors.Is(err, tezos.ErrBadSignature) {
			t.Errorf("got %v, want %v", err, tezos.ErrBadSignature)
		}
	}
	want := []string{"WARN key blob gives bad signatures: it may be that of another key"}
	if got := messages(log); !slices.Equal(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// A blob that has proven itself is not blamed for what the card makes of it later.
func TestProvenBlobStaysTheFirst(t *testing.T) {
	t.Parallel()
	answers := map[byte]error{}
	key, asked := scriptedRefusals(t, answers)
	key, _, err := key.With(namedBlob('a'), namedBlob('b'))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Sign(t.Context(), tezos.Message{}); err != nil {
		t.Fatal(err)
	}
	answers['a'], answers['b'] = errShortAnswer, refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, "")
	if _, err := key.Sign(t.Context(), tezos.Message{}); !errors.Is(err, tezos.ErrBadSignature) || asked() != "aab" {
		t.Errorf("a signature cut short: %v", err)
	}
	answers['a'] = errBadAnswer
	message := tezos.NewMessage([]byte("spoiled"))
	if signature, err := key.Sign(t.Context(), message); err == nil && key.PublicKey().Verify(message, signature) == nil {
		t.Error("a spoiled signature verifies: the test is wrong")
	}
	delete(answers, 'a')
	if _, err := key.Sign(t.Context(), message); err != nil || asked() != "aa" {
		t.Errorf("%v", err)
	}
}

func TestRewrap(t *testing.T) {
	t.Parallel()
	for _, dialect := range []grep11.Dialect{grep11.Both, grep11.V1, grep11.V2} {
		card, client, _ := rotatedCard(t, dialect)
		for i, kind := range importKinds {
			made, err := client.Generate(t.Context(), kind, false)
			if err != nil {
				t.Fatal(err)
			}
			wantCode(t, client, made.Blob, ep11.CodeIBMWKNotInitialized)
			next := rotate(t, card, client, byte(i+2), made.Blob)
			signs(t, client, made)
			if err := card.Finalise(); err != nil {
				t.Fatal(err)
			}
			signs(t, client, grep11.Generated{Blob: next, PublicKey: made.PublicKey})
			wantCode(t, client, next, ep11.CodeIBMWKNotInitialized)
		}
		made, err := client.Generate(t.Context(), tezos.P256, false)
		if err != nil {
			t.Fatal(err)
		}
		rotate(t, card, client, 100, made.Blob)
		foreign := slices.Clone(made.Blob)
		foreign[32] ^= 1
		wantCode(t, client, foreign, ep11.CodeIBMWKIDMismatch)
		broken := slices.Clone(made.Blob)
		broken[100] ^= 1
		wantCode(t, client, broken, ep11.CodeIBMBlobError)
	}
}

// wantCode wants Rewrap to fail with the code.
func wantCode(t *testing.T, client *grep11.Client, blob ep11.Blob, want ep11.Code) {
	t.Helper()
	_, err := client.Rewrap(t.Context(), blob)
	if e, ok := errors.AsType[*grep11.Error](err); !ok || e.Code != want {
		t.Errorf("Rewrap: %v, want %v", err, want)
	}
}

// What a server sends as the new blob is not taken unseen.
func TestRewrapChecksTheAnswer(t *testing.T) {
	t.Parallel()
	edited := func(edit func(ep11.Blob)) ep11.Blob {
		blob := namedBlob('b')
		edit(blob)
		return blob
	}
	for name, test := range map[string]struct {
		response *pb.RewrapKeyBlobResponse
		want     string
	}{
		"no blob":           {&pb.RewrapKeyBlobResponse{}, "no blob"},
		"two blobs":         {&pb.RewrapKeyBlobResponse{RewrappedKeyBytes: namedBlob('b'), RewrappedKey: &pb.KeyBlob{KeyBlobs: [][]byte{namedBlob('c')}}}, "two different blobs"},
		"the same blob":     {&pb.RewrapKeyBlobResponse{RewrappedKeyBytes: namedBlob('a')}, "same master key"},
		"cut short":         {&pb.RewrapKeyBlobResponse{RewrappedKeyBytes: namedBlob('b')[:100]}, "100 bytes: want 128"},
		"shorter":           {&pb.RewrapKeyBlobResponse{RewrappedKeyBytes: namedBlob('b')[:496]}, "496 bytes, but the blob before has 512"},
		"no marker":         {&pb.RewrapKeyBlobResponse{RewrappedKeyBytes: edited(func(b ep11.Blob) { b[64] = 0 })}, "0x1234"},
		"extractable":       {&pb.RewrapKeyBlobResponse{RewrappedKeyBytes: edited(func(b ep11.Blob) { b[55] = 0x25 })}, "attributes 0x125, but the blob before has 0x126"},
		"bound to a login":  {&pb.RewrapKeyBlobResponse{RewrappedKeyBytes: edited(func(b ep11.Blob) { b[0] = 1 })}, "login session"},
		"sound, of v1 only": {&pb.RewrapKeyBlobResponse{RewrappedKeyBytes: namedBlob('b')}, ""},
		"sound, of v2 only": {&pb.RewrapKeyBlobResponse{RewrappedKey: &pb.KeyBlob{KeyBlobs: [][]byte{namedBlob('b')}}}, ""},
	} {
		address, _ := serve(t, "127.0.0.1:0", (&rewrapper{response: test.response}).register)
		got, err := dial(t, grep11.Config{Address: address}).Rewrap(t.Context(), namedBlob('a'))
		switch {
		case test.want == "" && (err != nil || !bytes.Equal(got, namedBlob('b'))):
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || got != nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

type rewrapper struct {
	pb.UnimplementedCryptoServer
	response *pb.RewrapKeyBlobResponse
}

func (r *rewrapper) register(server *grpc.Server) { pb.RegisterCryptoServer(server, r) }

func (r *rewrapper) RewrapKeyBlob(context.Context, *pb.RewrapKeyBlobRequest) (*pb.RewrapKeyBlobResponse, error) {
	return r.response, nil
}
