package grep11_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// scriptedSecret is the private key of keyOf's key, in every process of the test.
var scriptedSecret = bytes.Repeat([]byte{1}, 32)

// keyOf makes a tz3 key of client, which signed signs for.
func keyOf(t *testing.T, client *grep11.Client, blobs ...ep11.Blob) *grep11.Key {
	t.Helper()
	key, err := client.Key(scriptedKey(t), blobs...)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func scriptedKey(t *testing.T) tezos.PublicKey {
	t.Helper()
	secret, err := tezos.NewSecretKey(tezos.P256, scriptedSecret)
	if err != nil {
		t.Fatal(err)
	}
	return secret.PublicKey()
}

// signed is a server's answer with a signature that verifies.
func signed(r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scriptedSecret)
	if err != nil {
		return nil, err
	}
	first, second, err := ecdsa.Sign(rand.Reader, key, r.GetData())
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	first.FillBytes(signature[:32])
	second.FillBytes(signature[32:])
	return &pb.SignSingleResponse{Signature: signature}, nil
}
