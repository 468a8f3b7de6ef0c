package softcard_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// domain is a card with registers that the test drives: one of a folder or one of New.
type domain struct {
	card                   *softcard.Card
	load, commit, finalise func() error
}

func domains(t *testing.T) map[string]domain {
	t.Helper()
	dir := cardtest.Folder(t)
	ofFolder := cardtest.Open(t, dir)
	ofNew, n := cardtest.New(t, 1), byte(1)
	load := func() error {
		n++
		return ofNew.LoadNext(bytes.Repeat([]byte{n}, 32))
	}
	return map[string]domain{
		"folder": {ofFolder, dir.LoadNext, dir.CommitNext, dir.Finalise},
		"New":    {ofNew, load, ofNew.CommitNext, ofNew.Finalise},
	}
}

// Two whole rotations, with a private, a secret and a public key.
func TestRotation(t *testing.T) {
	t.Parallel()
	for name, d := range domains(t) {
		c := cardtest.Client(t, d.card)
		pair := testCurves[1].pair(t, over(c))
		secret, err := c.GenerateKey(t.Context(), &pb.GenerateKeyRequest{
			Mech: mech(ep11.MechAESKeyGen), Template: all().but(template{ep11.AttrValueLen: 32}).attributes(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		keys := [][]byte{pair.GetPrivKeyBytes(), pair.GetPubKeyBytes(), secret.GetKeyBytes()}
		for range 2 {
			keys = d.rotate(t, name, c, keys)
		}
	}
}

// try uses the three keys and returns the first refusal.
func try(t *testing.T, c pb.CryptoClient, keys [][]byte) [3]error {
	t.Helper()
	signed, err := c.SignSingle(t.Context(), &pb.SignSingleRequest{Mech: mech(ep11.MechECDSA), PrivKeyBytes: keys[0], Data: make([]byte, 32)})
	var errs [3]error
	errs[0] = err
	if err == nil {
		_, errs[1] = c.VerifySingle(t.Context(), &pb.VerifySingleRequest{
			Mech: mech(ep11.MechECDSA), PubKeyBytes: keys[1], Data: make([]byte, 32), Signature: signed.GetSignature(),
		})
	} else {
		_, errs[1] = c.VerifySingle(t.Context(), &pb.VerifySingleRequest{
			Mech: mech(ep11.MechECDSA), PubKeyBytes: keys[1], Data: make([]byte, 32), Signature: make([]byte, 64),
		})
	}
	_, errs[2] = c.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: withIV(ep11.MechAESCBCPad, zeroIV), KeyBytes: keys[2]})
	return errs
}

func mustDo(t *testing.T, errs [3]error, when string) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%s, key %d: %v", when, i, err)
		}
	}
}

func mustMismatch(t *testing.T, errs [3]error, when string) {
	t.Helper()
	for i, err := range errs {
		if got := codeOf(t, err); got != ep11.CodeIBMWKIDMismatch {
			t.Errorf("%s, key %d: %v", when, i, got)
		}
	}
}

func (d domain) rotate(t *testing.T, name string, c pb.CryptoClient, keys [][]byte) (rewrapped [][]byte) {
	t.Helper()
	rewrap := func(key []byte) (*pb.RewrapKeyBlobResponse, error) {
		return c.RewrapKeyBlob(t.Context(), &pb.RewrapKeyBlobRequest{WrappedKeyBytes: key})
	}
	refused := func(when string) {
		t.Helper()
		_, err := rewrap(keys[0])
		if got := codeOf(t, err); got != ep11.CodeIBMWKNotInitialized {
			t.Errorf("%s: RewrapKeyBlob with the new register %s: %v", name, when, got)
		}
		mustDo(t, try(t, c, keys), name+", new register "+when)
	}
	refused("empty")
	if d.commit() == nil || d.finalise() == nil {
		t.Errorf("%s: an empty register was committed or finalised", name)
	}
	if err := d.load(); err != nil {
		t.Fatal(err)
	}
	refused("full, uncommitted")
	if d.load() == nil || d.finalise() == nil {
		t.Errorf("%s: a full register was loaded, or an uncommitted one finalised", name)
	}
	if err := d.commit(); err != nil {
		t.Fatal(err)
	}
	if d.commit() == nil || d.load() == nil {
		t.Errorf("%s: a committed register was committed or loaded", name)
	}
	for i, key := range keys {
		r, err := rewrap(key)
		if err != nil {
			t.Fatalf("%s, key %d: %v", name, i, err)
		}
		if len(r.GetRewrappedKeyBytes()) != len(key) {
			t.Errorf("%s, key %d: %d bytes, want %d", name, i, len(r.GetRewrappedKeyBytes()), len(key))
		}
		sameBlob(t, r.GetRewrappedKeyBytes(), r.GetRewrappedKey())
		rewrapped = append(rewrapped, r.GetRewrappedKeyBytes())
	}
	if bytes.Equal(rewrapped[0][32:48], keys[0][32:48]) || !bytes.Equal(rewrapped[0][48:56], keys[0][48:56]) {
		t.Errorf("%s: the header is %x, it was %x", name, rewrapped[0][32:56], keys[0][32:56])
	}
	mustDo(t, try(t, c, keys), name+", before it is finalised")
	mustMismatch(t, try(t, c, rewrapped), name+", rewrapped, before it is finalised")
	if err := d.finalise(); err != nil {
		t.Fatal(err)
	}
	mustDo(t, try(t, c, rewrapped), name+", rewrapped, finalised")
	mustMismatch(t, try(t, c, keys), name+", finalised")
	_, err := rewrap(rewrapped[0])
	wantCode(t, err, ep11.CodeIBMWKNotInitialized)
	return rewrapped
}

func TestRewrapRefusesWhatItCannotOpen(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	foreign := newBench2(t)
	if err := card.LoadNext(bytes.Repeat([]byte{9}, 32)); err != nil {
		t.Fatal(err)
	}
	if err := card.CommitNext(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		blob []byte
		want ep11.Code
	}{
		"nothing":            {nil, ep11.CodeArgumentsBad},
		"no blob":            {make([]byte, 256), ep11.CodeIBMBlobError},
		"another card's key": {foreign, ep11.CodeIBMWKIDMismatch},
	} {
		_, err := softcard.Service(card).RewrapKeyBlob(t.Context(), &pb.RewrapKeyBlobRequest{WrappedKeyBytes: test.blob})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// The other fields of the KeyBlob that a client of the second generation sends come back
// unchanged.
func TestRewrapGivesTheKeyBlobBack(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	pair := testCurves[0].pair(t, direct(card))
	if err := card.LoadNext(bytes.Repeat([]byte{9}, 32)); err != nil {
		t.Fatal(err)
	}
	if err := card.CommitNext(); err != nil {
		t.Fatal(err)
	}
	r, err := softcard.Service(card).RewrapKeyBlob(t.Context(), &pb.RewrapKeyBlobRequest{WrappedKey: pair.GetPrivKey()})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.GetRewrappedKey().GetAttributes()) != len(pair.GetPrivKey().GetAttributes()) {
		t.Errorf("%d attributes, want %d", len(r.GetRewrappedKey().GetAttributes()), len(pair.GetPrivKey().GetAttributes()))
	}
	if bytes.Equal(r.GetRewrappedKey().GetKeyBlobs()[0], pair.GetPrivKey().GetKeyBlobs()[0]) {
		t.Error("the key is the old one")
	}
}

// Something encrypted under the old key is not given out; a signature is.
func TestChangeOfTheMasterKeyDuringACall(t *testing.T) {
	t.Parallel()
	change := func(card *softcard.Card) {
		for _, step := range []func() error{
			func() error { return card.LoadNext(bytes.Repeat([]byte{99}, 32)) }, card.CommitNext, card.Finalise,
		} {
			if err := step(); err != nil {
				t.Error(err)
			}
		}
	}
	card := cardtest.New(t, 1)
	card.OnSign = func([]byte, []byte) { change(card) }
	c := cardtest.Client(t, card)
	pair := testCurves[0].pair(t, over(c))
	signed := &pb.SignSingleRequest{Mech: mech(ep11.MechIBMEd25519SHA512), PrivKeyBytes: pair.GetPrivKeyBytes(), Data: []byte("data")}
	if _, err := c.SignSingle(t.Context(), signed); err != nil {
		t.Errorf("a signature: %v", err)
	}
	_, err := c.SignSingle(t.Context(), signed)
	wantCode(t, err, ep11.CodeIBMWKIDMismatch)

	for name, call := range map[string]func(pb.CryptoClient) error{
		"GenerateKey": func(c pb.CryptoClient) error {
			_, err := c.GenerateKey(t.Context(), &pb.GenerateKeyRequest{Mech: mech(ep11.MechAESKeyGen), Template: template{ep11.AttrValueLen: 32}.attributes(t)})
			return err
		},
		"DigestInit": func(c pb.CryptoClient) error {
			_, err := c.DigestInit(t.Context(), &pb.DigestInitRequest{Mech: mech(ep11.MechSHA256)})
			return err
		},
	} {
		slow := cardtest.New(t, 77)
		slow.Delay = 300 * time.Millisecond
		timer := time.AfterFunc(100*time.Millisecond, func() { change(slow) })
		c := cardtest.Client(t, slow)
		if got := codeOf(t, call(c)); got != ep11.CodeIBMBlobkeyConflict {
			t.Errorf("%s: %v", name, got)
		}
		timer.Stop()
		if err := call(c); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
	}
}

// A client that has both blobs and follows the return codes misses no signature.
func TestSignaturesGoOnDuringARotation(t *testing.T) {
	t.Parallel()
	d := domains(t)["folder"]
	c := cardtest.Client(t, d.card)
	pair := testCurves[0].pair(t, over(c))
	blobs := [][]byte{pair.GetPrivKeyBytes()}
	sign := func(blob []byte) error {
		_, err := c.SignSingle(context.Background(), &pb.SignSingleRequest{Mech: mech(ep11.MechIBMEd25519SHA512), PrivKeyBytes: blob, Data: []byte("data")})
		return err
	}
	if err := d.load(); err != nil {
		t.Fatal(err)
	}
	if err := d.commit(); err != nil {
		t.Fatal(err)
	}
	r, err := c.RewrapKeyBlob(t.Context(), &pb.RewrapKeyBlobRequest{WrappedKeyBytes: blobs[0]})
	if err != nil {
		t.Fatal(err)
	}
	blobs = append(blobs, r.GetRewrappedKeyBytes())
	begun, stop, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		close(begun)
		at := 0
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			err := sign(blobs[at])
			for range 2 { // a conflict, then a mismatch
				switch {
				case err == nil:
				case codeOf(t, err) == ep11.CodeIBMBlobkeyConflict:
					err = sign(blobs[at])
				case codeOf(t, err) == ep11.CodeIBMWKIDMismatch && at == 0:
					at = 1
					err = sign(blobs[at])
				}
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	<-begun
	for range 50 {
		if err := sign(blobs[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.finalise(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := sign(blobs[1]); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWKIDIsThatOfTheFile(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256(bytes.Repeat([]byte{5}, 32))
	card := cardtest.New(t, 4)
	for _, step := range []func() error{
		func() error { return card.LoadNext(bytes.Repeat([]byte{5}, 32)) }, card.CommitNext, card.Finalise,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	pair := testCurves[0].pair(t, direct(card))
	if !bytes.Equal(pair.GetPrivKeyBytes()[32:48], sum[:16]) {
		t.Errorf("%x, want %x", pair.GetPrivKeyBytes()[32:48], sum[:16])
	}
}
