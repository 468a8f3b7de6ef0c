package softcard_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// digestVectors are the digests of "abc": FIPS 180-4's examples, FIPS 202's examples for
// SHA-3.
var digestVectors = map[uint64]string{
	ep11.MechSHA1:          "a9993e364706816aba3e25717850c26c9cd0d89d",
	ep11.MechSHA224:        "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
	ep11.MechSHA256:        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	ep11.MechSHA384:        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
	ep11.MechSHA512:        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	ep11.MechSHA512T224:    "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa",
	ep11.MechSHA512T256:    "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
	ep11.MechIBMSHA512T224: "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa",
	ep11.MechIBMSHA512T256: "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
	ep11.MechIBMSHA3T224:   "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
	ep11.MechIBMSHA3T256:   "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
	ep11.MechIBMSHA3T384:   "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25",
	ep11.MechIBMSHA3T512:   "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
}

func TestDigests(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for id, want := range digestVectors {
		single, err := b.DigestSingle(t.Context(), &pb.DigestSingleRequest{Mech: mech(id), Data: []byte("abc")})
		if got := hex.EncodeToString(single.GetDigest()); err != nil || got != want {
			t.Errorf("0x%x: %s, want %s: %v", id, got, want, err)
		}
		begun, err := b.DigestInit(t.Context(), &pb.DigestInitRequest{Mech: mech(id)})
		if err != nil {
			t.Fatal(err)
		}
		at, err := b.Digest(t.Context(), &pb.DigestRequest{State: begun.GetState(), Data: []byte("abc")})
		if got := hex.EncodeToString(at.GetDigest()); err != nil || got != want {
			t.Errorf("0x%x, DigestInit and Digest: %s: %v", id, got, err)
		}
		state := begun.GetState()
		for _, part := range []string{"a", "bc"} {
			r, err := b.DigestUpdate(t.Context(), &pb.DigestUpdateRequest{State: state, Data: []byte(part)})
			if err != nil {
				t.Fatal(err)
			}
			if state = r.GetState(); len(state) > 1024 { // a client keeps this much
				t.Errorf("0x%x: a state of %d bytes", id, len(state))
			}
		}
		last, err := b.DigestFinal(t.Context(), &pb.DigestFinalRequest{State: state})
		if got := hex.EncodeToString(last.GetDigest()); err != nil || got != want {
			t.Errorf("0x%x, in parts: %s: %v", id, got, err)
		}
	}
	_, err := b.DigestSingle(t.Context(), &pb.DigestSingleRequest{Mech: mech(ep11.MechECDSASHA256)})
	wantCode(t, err, ep11.CodeMechanismInvalid)
	_, err = b.DigestSingle(t.Context(), &pb.DigestSingleRequest{Mech: mech(ep11.MechSHA256)})
	wantCode(t, err, ep11.CodeArgumentsBad)
	begun, err := b.DigestInit(t.Context(), &pb.DigestInitRequest{Mech: mech(ep11.MechSHA256)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Digest(t.Context(), &pb.DigestRequest{State: begun.GetState()})
	wantCode(t, err, ep11.CodeArgumentsBad)
	_, err = b.DigestUpdate(t.Context(), &pb.DigestUpdateRequest{State: begun.GetState()})
	wantCode(t, err, ep11.CodeArgumentsBad)
	_, err = b.DigestInit(t.Context(), &pb.DigestInitRequest{Mech: withIV(ep11.MechSHA256, zeroIV)})
	wantCode(t, err, ep11.CodeMechanismParamInvalid)
}

// The output that IBM's example expects.
func TestIBMsDigest(t *testing.T) {
	t.Parallel()
	data := []byte("This is data that is longer than 64 bytes. This is the data that is longer than 64 bytes.")
	r, err := newBench(t).DigestSingle(t.Context(), &pb.DigestSingleRequest{Mech: mech(ep11.MechSHA256), Data: data})
	if got := hex.EncodeToString(r.GetDigest()); err != nil || got != "b036abead70a9739648ab94d556bf120494eab3a470b5ee12be559b9dbc8c408" {
		t.Errorf("%s: %v", got, err)
	}
}

func TestDigestKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	begun, err := b.DigestInit(t.Context(), &pb.DigestInitRequest{Mech: mech(ep11.MechSHA256)})
	if err != nil {
		t.Fatal(err)
	}
	key := b.bringSecret(ep11.KeyTypeGenericSecret, []byte("abc"))
	request := &pb.DigestKeyRequest{State: begun.GetState(), KeyBytes: key}
	for _, r := range []*pb.DigestKeyRequest{request, inV2(request)} {
		taken, err := b.DigestKey(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		last, err := b.DigestFinal(t.Context(), &pb.DigestFinalRequest{State: taken.GetState()})
		if got := hex.EncodeToString(last.GetDigest()); err != nil || got != digestVectors[ep11.MechSHA256] {
			t.Errorf("%s: %v", got, err)
		}
	}
	for name, test := range map[string]struct {
		key  []byte
		want ep11.Code
	}{
		"an EC key":           {testCurves[0].pair(t, direct(b.card)).GetPrivKeyBytes(), ep11.CodeKeyIndigestible},
		"not USE_AS_DATA":     {b.aes(32, all().but(template{ep11.AttrIBMUseAsData: nil})), ep11.CodeKeyFunctionNotPermitted},
		"no key":              {nil, ep11.CodeArgumentsBad},
		"what is no key blob": {bytes.Repeat([]byte{1}, 256), ep11.CodeIBMBlobError},
	} {
		_, err := b.DigestKey(t.Context(), &pb.DigestKeyRequest{State: begun.GetState(), KeyBytes: test.key})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
