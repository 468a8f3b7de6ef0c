package softcard_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

// dialects are the ways in which a request may carry a key.
var dialects = map[string]func(blob []byte) ([]byte, *pb.KeyBlob){
	"v1":   func(blob []byte) ([]byte, *pb.KeyBlob) { return blob, nil },
	"v2":   func(blob []byte) ([]byte, *pb.KeyBlob) { return nil, keyBlob(blob) },
	"both": func(blob []byte) ([]byte, *pb.KeyBlob) { return blob, keyBlob(blob) },
}

func TestEveryCurveSignsAndVerifiesInEitherDialect(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for _, curve := range testCurves {
		for name, fill := range dialects {
			t.Run(curve.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				pair := curve.pair(t, over(c))
				data := sha256.Sum256([]byte(curve.name + name))
				raw, message := fill(pair.GetPrivKeyBytes())
				signed, err := c.SignSingle(t.Context(), &pb.SignSingleRequest{
					Mech: mech(curve.mech), Data: data[:], PrivKeyBytes: raw, PrivKey: message,
				})
				if err != nil {
					t.Fatal(err)
				}
				if !curve.verifies(t, pair.GetPubKeyBytes(), data[:], signed.GetSignature()) {
					t.Errorf("signature %x does not verify", signed.GetSignature())
				}
				raw, message = fill(pair.GetPubKeyBytes())
				_, err = c.VerifySingle(t.Context(), &pb.VerifySingleRequest{
					Mech: mech(curve.mech), Data: data[:], Signature: signed.GetSignature(), PubKeyBytes: raw, PubKey: message,
				})
				if err != nil {
					t.Errorf("VerifySingle: %v", err)
				}
			})
		}
	}
}

// signingMechanisms are those of ECDSA and Ed25519, each with its hash.
var signingMechanisms = []struct {
	id      uint64
	hash    crypto.Hash
	edwards bool
}{
	{id: ep11.MechECDSA},
	{id: ep11.MechECDSASHA1, hash: crypto.SHA1},
	{id: ep11.MechECDSASHA224, hash: crypto.SHA224},
	{id: ep11.MechECDSASHA256, hash: crypto.SHA256},
	{id: ep11.MechECDSASHA384, hash: crypto.SHA384},
	{id: ep11.MechECDSASHA512, hash: crypto.SHA512},
	{id: ep11.MechIBMECDSASHA224, hash: crypto.SHA224},
	{id: ep11.MechIBMECDSASHA256, hash: crypto.SHA256},
	{id: ep11.MechIBMECDSASHA384, hash: crypto.SHA384},
	{id: ep11.MechIBMECDSASHA512, hash: crypto.SHA512},
	{id: ep11.MechIBMEd25519SHA512, edwards: true},
}

// flow signs and verifies the parts of a message.
type flow struct {
	sign   func(ctx context.Context, c pb.CryptoClient, m *pb.Mechanism, key []byte, parts [][]byte) ([]byte, error)
	verify func(ctx context.Context, c pb.CryptoClient, m *pb.Mechanism, key []byte, parts [][]byte, signature []byte) error
}

// wholeFlows are the flows of a mechanism that does not hash and takes its data at once.
var wholeFlows = map[string]flow{
	"Single":  {sign: signSingle, verify: verifySingle},
	"Init-op": {sign: signInitOp, verify: verifyInitOp},
}

// flows are all three flows of EP11.
var flows = map[string]flow{
	"Single":            {sign: signSingle, verify: verifySingle},
	"Init-op":           {sign: signInitOp, verify: verifyInitOp},
	"Init-Update-Final": {sign: signParts, verify: verifyParts},
}

func flowsOf(hash crypto.Hash) map[string]flow {
	if hash == 0 {
		return wholeFlows
	}
	return flows
}

func signSingle(ctx context.Context, c pb.CryptoClient, m *pb.Mechanism, key []byte, parts [][]byte) ([]byte, error) {
	r, err := c.SignSingle(ctx, &pb.SignSingleRequest{Mech: m, PrivKeyBytes: key, Data: bytes.Join(parts, nil)})
	return r.GetSignature(), err
}

func signInitOp(ctx context.Context, c pb.CryptoClient, m *pb.Mechanism, key []byte, parts [][]byte) ([]byte, error) {
	begun, err := c.SignInit(ctx, &pb.SignInitRequest{Mech: m, PrivKeyBytes: key})
	if err != nil {
		return nil, err
	}
	r, err := c.Sign(ctx, &pb.SignRequest{State: begun.GetState(), Data: bytes.Join(parts, nil)})
	return r.GetSignature(), err
}

func signParts(ctx context.Context, c pb.CryptoClient, m *pb.Mechanism, key []byte, parts [][]byte) ([]byte, error) {
	begun, err := c.SignInit(ctx, &pb.SignInitRequest{Mech: m, PrivKey: keyBlob(key)})
	if err != nil {
		return nil, err
	}
	state := begun.GetState()
	for _, part := range parts {
		r, err := c.SignUpdate(ctx, &pb.SignUpdateRequest{State: state, Data: part})
		if err != nil {
			return nil, err
		}
		if state = r.GetState(); len(state) > 8192 {
			return nil, fmt.Errorf("state of %d bytes", len(state))
		}
	}
	r, err := c.SignFinal(ctx, &pb.SignFinalRequest{State: state})
	return r.GetSignature(), err
}

func verifySingle(ctx context.Context, c pb.CryptoClient, m *pb.Mechanism, key []byte, parts [][]byte, signature []byte) error {
	_, err := c.VerifySingle(ctx, &pb.VerifySingleRequest{
		Mech: m, PubKeyBytes: key, Data: bytes.Join(parts, nil), Signature: signature,
	})
	return err
}

func verifyInitOp(ctx context.Context, c pb.CryptoClient, m *pb.Mechanism, key []byte, parts [][]byte, signature []byte) error {
	begun, err := c.VerifyInit(ctx, &pb.VerifyInitRequest{Mech: m, PubKeyBytes: key})
	if err != nil {
		return err
	}
	_, err = c.Verify(ctx, &pb.VerifyRequest{State: begun.GetState(), Data: bytes.Join(parts, nil), Signature: signature})
	return err
}

func verifyParts(ctx context.Context, c pb.CryptoClient, m *pb.Mechanism, key []byte, parts [][]byte, signature []byte) error {
	begun, err := c.VerifyInit(ctx, &pb.VerifyInitRequest{Mech: m, PubKey: keyBlob(key)})
	if err != nil {
		return err
	}
	state := begun.GetState()
	for _, part := range parts {
		r, err := c.VerifyUpdate(ctx, &pb.VerifyUpdateRequest{State: state, Data: part})
		if err != nil {
			return err
		}
		if state = r.GetState(); len(state) > 8192 {
			return fmt.Errorf("state of %d bytes", len(state))
		}
	}
	_, err = c.VerifyFinal(ctx, &pb.VerifyFinalRequest{State: state, Signature: signature})
	return err
}

func TestEveryMechanismInEveryFlow(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	parts := [][]byte{[]byte("a message in "), {}, bytes.Repeat([]byte("several parts "), 50)}
	for _, curve := range testCurves {
		pair := curve.pair(t, over(c))
		for _, m := range signingMechanisms {
			if m.edwards != (curve.params == ep11.CurveEd25519) {
				continue
			}
			for name, flow := range flowsOf(m.hash) {
				t.Run(fmt.Sprintf("%s/%x/%s", curve.name, m.id, name), func(t *testing.T) {
					t.Parallel()
					signature, err := flow.sign(t.Context(), c, mech(m.id), pair.GetPrivKeyBytes(), parts)
					if err != nil {
						t.Fatal(err)
					}
					if !curve.verifies(t, pair.GetPubKeyBytes(), digest(m.hash, bytes.Join(parts, nil)), signature) {
						t.Error("the signature does not verify outside the card")
					}
					if err := flow.verify(t.Context(), c, mech(m.id), pair.GetPubKeyBytes(), parts, signature); err != nil {
						t.Errorf("verification: %v", err)
					}
					changed := append([][]byte{[]byte("x")}, parts...)
					wantCode(t, flow.verify(t.Context(), c, mech(m.id), pair.GetPubKeyBytes(), changed, signature), ep11.CodeSignatureInvalid)
				})
			}
		}
	}
}

func TestHashingMechanismKeepsNoData(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	curve := testCurves[2]
	pair := curve.pair(t, over(c))
	parts := [][]byte{make([]byte, 1<<20), make([]byte, 1<<20)}
	signature, err := signParts(t.Context(), c, mech(ep11.MechECDSASHA512), pair.GetPrivKeyBytes(), parts)
	if err != nil {
		t.Fatal(err)
	}
	if !curve.verifies(t, pair.GetPubKeyBytes(), digest(crypto.SHA512, make([]byte, 2<<20)), signature) {
		t.Error("the signature of 2 MiB does not verify")
	}
}

func TestOnlyMechanismsThatHashHaveParts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := cardtest.Client(t, b.card)
	pairs := map[uint64]*pb.GenerateKeyPairResponse{ep11.MechRSAPKCS: b.rsaPair(1024, 65537, nil, nil)}
	for _, curve := range testCurves {
		pairs[curve.mech] = curve.pair(t, over(c))
		if _, err := signInitOp(t.Context(), c, mech(curve.mech), pairs[curve.mech].GetPrivKeyBytes(), [][]byte{make([]byte, 100_000)}); err != nil {
			t.Errorf("%s, 100000 bytes at once: %v", curve.name, err)
		}
	}
	for id, pair := range pairs {
		_, err := signParts(t.Context(), c, mech(id), pair.GetPrivKeyBytes(), [][]byte{make([]byte, 32)})
		wantCode(t, err, ep11.CodeMechanismInvalid)
		err = verifyParts(t.Context(), c, mech(id), pair.GetPubKeyBytes(), [][]byte{make([]byte, 32)}, make([]byte, 64))
		wantCode(t, err, ep11.CodeMechanismInvalid)
	}
}

func TestStateBeginsAnyNumberOfOperations(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	curve := testCurves[0]
	pair := curve.pair(t, over(c))
	begun, err := c.SignInit(t.Context(), &pb.SignInitRequest{Mech: mech(curve.mech), PrivKeyBytes: pair.GetPrivKeyBytes()})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"one", "two"} {
		signed, err := c.Sign(t.Context(), &pb.SignRequest{State: begun.GetState(), Data: []byte(data)})
		if err != nil {
			t.Fatal(err)
		}
		if !curve.verifies(t, pair.GetPubKeyBytes(), []byte(data), signed.GetSignature()) {
			t.Errorf("%q: does not verify", data)
		}
	}
}

func TestHighSIsAsFrequentAsLowS(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for _, curve := range ecdsaCurves {
		t.Run(curve.name, func(t *testing.T) {
			t.Parallel()
			pair := curve.pair(t, over(c))
			high := 0
			for i := range 64 {
				data := sha256.Sum256([]byte{byte(i)})
				signature, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), [][]byte{data[:]})
				if err != nil {
					t.Fatal(err)
				}
				if !curve.verifies(t, pair.GetPubKeyBytes(), data[:], signature) {
					t.Fatalf("signature %d does not verify", i)
				}
				if curve.highS(t, signature) {
					high++
				}
			}
			if high < 16 || high > 48 {
				t.Errorf("%d of 64 signatures have high S, want 16 to 48", high)
			}
		})
	}
}

func TestECDSAIsRandomised(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for _, curve := range ecdsaCurves {
		pair := curve.pair(t, over(c))
		seen := make(map[string]bool)
		for range 16 {
			signature, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), [][]byte{make([]byte, 32)})
			if err != nil {
				t.Fatal(err)
			}
			seen[string(signature[:32])] = true
		}
		if len(seen) != 16 {
			t.Errorf("%s: 16 signatures of one digest have %d different r", curve.name, len(seen))
		}
	}
}

func TestECDSATakesDataOfAnyLength(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for _, curve := range ecdsaCurves {
		pair := curve.pair(t, over(c))
		for _, n := range []int{1, 20, 28, 31, 32, 33, 48, 64, 1000} {
			data := bytes.Repeat([]byte{0xa5}, n)
			signature, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), [][]byte{data})
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", curve.name, n, err)
			}
			if !curve.verifies(t, pair.GetPubKeyBytes(), data, signature) {
				t.Errorf("%s, %d bytes: does not verify", curve.name, n)
			}
			if err := verifySingle(t.Context(), c, mech(curve.mech), pair.GetPubKeyBytes(), [][]byte{data}, signature); err != nil {
				t.Errorf("%s, %d bytes: %v", curve.name, n, err)
			}
		}
	}
}

func TestOnSignIsToldEachSignatureBeforeItIsSent(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	var mu sync.Mutex
	told := make(map[string]string)
	card.OnSign = func(data, signature []byte) {
		mu.Lock()
		defer mu.Unlock()
		told[string(signature)] = string(data)
	}
	c := cardtest.Client(t, card)
	curve := testCurves[1]
	pair := curve.pair(t, over(c))
	var wait sync.WaitGroup
	for i := range 32 {
		wait.Go(func() {
			data := bytes.Repeat([]byte{byte(i)}, 32)
			signature, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), [][]byte{data})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || told[string(signature)] != string(data) {
				t.Errorf("signature %d was not told before it came: %v", i, err)
			}
		})
	}
	wait.Wait()
	if _, err := signParts(t.Context(), c, mech(ep11.MechECDSASHA256), pair.GetPrivKeyBytes(), [][]byte{[]byte("abc")}); err != nil {
		t.Fatal(err)
	}
	if len(told) != 33 {
		t.Errorf("told %d signatures, want 33", len(told))
	}
	_, err := signSingle(t.Context(), c, mech(curve.mech), []byte("no blob"), [][]byte{make([]byte, 32)})
	if err == nil || len(told) != 33 {
		t.Errorf("a refused call was told: %v", err)
	}
}

func TestEveryOtherCallIsNotSupported(t *testing.T) {
	t.Parallel()
	conn := cardtest.Connect(t, cardtest.Serve(t, cardtest.New(t, 1), "").Address)
	for _, name := range []string{"NoSuchCall", "Login", "Logout"} {
		err := conn.Invoke(t.Context(), "/grep11.Crypto/"+name, &pb.LogoutRequest{}, &pb.LogoutResponse{})
		if got := codeOf(t, err); got != ep11.CodeFunctionNotSupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := conn.Invoke(t.Context(), "/other.Service/Call", &pb.LogoutRequest{}, &pb.LogoutResponse{})
	wantCode(t, err, ep11.CodeFunctionNotSupported)
}

// garbage sends bytes that are not a protobuf message.
type garbage struct{}

func (garbage) Marshal(any) ([]byte, error) { return []byte{0xff, 0xff, 0xff}, nil }
func (garbage) Unmarshal([]byte, any) error { return nil }
func (garbage) Name() string                { return "proto" }

func TestUnreadableMessageIsAGrep11Error(t *testing.T) {
	t.Parallel()
	conn := cardtest.Connect(t, cardtest.Serve(t, cardtest.New(t, 1), "").Address)
	for _, method := range pb.Crypto_ServiceDesc.Methods {
		err := conn.Invoke(t.Context(), "/grep11.Crypto/"+method.MethodName, &pb.LogoutRequest{}, &pb.LogoutResponse{}, grpc.ForceCodec(garbage{}))
		if got := codeOf(t, err); got != 0x80040002 { // CKR_IBM_GREP11_CANNOT_UNMARSHAL
			t.Errorf("%s: %v", method.MethodName, err)
		}
	}
}
