package grep11_test

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

func generateWith(t *testing.T, response *pb.GenerateKeyPairResponse) (grep11.Generated, error) {
	t.Helper()
	address, _ := serve(t, "127.0.0.1:0", (&scripted{generate: func(
		*pb.GenerateKeyPairRequest,
	) (*pb.GenerateKeyPairResponse, error) {
		return response, nil
	}}).register)
	return dial(t, grep11.Config{Address: address}).Generate(t.Context(), tezos.Ed25519, false)
}

func ed25519Info(t *testing.T) []byte {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(head(headEd25519), public...)
}

func TestGenerateReadsEitherFormOfTheAnswer(t *testing.T) {
	t.Parallel()
	info, blob := ed25519Info(t), ep11test.Blob()
	public := append(bytes.Clone(info), trailer()...)
	withInfo := map[uint64]*pb.AttributeValue{
		ep11.AttrPublicKeyInfo: {OneAttr: &pb.AttributeValue_AttributeB{AttributeB: info}},
	}
	tests := map[string]*pb.GenerateKeyPairResponse{
		"v1": {PrivKeyBytes: blob, PubKeyBytes: public},
		"v2": {
			PrivKey: &pb.KeyBlob{KeyBlobs: [][]byte{blob}}, PubKey: &pb.KeyBlob{KeyBlobs: [][]byte{public}},
		},
		"both": {
			PrivKeyBytes: blob, PrivKey: &pb.KeyBlob{KeyBlobs: [][]byte{blob}}, PubKeyBytes: public,
			PubKey: &pb.KeyBlob{KeyBlobs: [][]byte{public}},
		},
		"attribute only": {PrivKeyBytes: blob, PubKey: &pb.KeyBlob{Attributes: withInfo}},
		"attribute first": {
			PrivKeyBytes: blob, PubKey: &pb.KeyBlob{Attributes: withInfo}, PubKeyBytes: []byte("of no interest"),
		},
		"KeyBlob without a blob":  {PrivKeyBytes: blob, PrivKey: &pb.KeyBlob{}, PubKeyBytes: public, PubKey: &pb.KeyBlob{}},
		"public without MAC":      {PrivKeyBytes: blob, PubKeyBytes: info},
		"second blob of KeyBlobs": {PrivKey: &pb.KeyBlob{KeyBlobs: [][]byte{blob, {1}}}, PubKeyBytes: public},
	}
	for name, response := range tests {
		generated, err := generateWith(t, response)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(generated.Blob, blob) || !bytes.Equal(generated.SPKI, info) ||
			!bytes.Equal(generated.PublicKey.Bytes(), info[len(info)-32:]) {
			t.Errorf("%s: got blob of %d bytes, SPKI %x, key %x", name, len(generated.Blob), generated.SPKI,
				generated.PublicKey.Bytes())
		}
	}
}

func TestGenerateRefusesAnUnsoundAnswer(t *testing.T) {
	t.Parallel()
	info, blob := ed25519Info(t), ep11test.Blob()
	other, extractable, bound, noMarker := ep11test.Blob(), ep11test.Blob(), ep11test.Blob(), ep11test.Blob()
	other[511]++
	extractable[55] |= 1
	bound[0] = 1
	noMarker[65] = 0
	p256 := append(head(headP256), head("04"+p256X+p256Y)...)
	tests := map[string]struct {
		response *pb.GenerateKeyPairResponse
		want     string
	}{
		"nothing": {&pb.GenerateKeyPairResponse{}, "private key: the server sent no blob"},
		"two different blobs": {
			&pb.GenerateKeyPairResponse{PrivKeyBytes: blob, PrivKey: &pb.KeyBlob{KeyBlobs: [][]byte{other}}, PubKeyBytes: info},
			"private key: the server sent two different blobs",
		},
		"two different keys": {
			&pb.GenerateKeyPairResponse{PrivKeyBytes: blob, PubKeyBytes: info, PubKey: &pb.KeyBlob{KeyBlobs: [][]byte{p256}}},
			"public key: the server sent two different blobs",
		},
		"no public key": {&pb.GenerateKeyPairResponse{PrivKeyBytes: blob}, "public key: the server sent no blob"},
		"not a blob": {
			&pb.GenerateKeyPairResponse{PrivKeyBytes: noMarker, PubKeyBytes: info}, "where an EP11 blob has 0x1234",
		},
		"public as private": {
			&pb.GenerateKeyPairResponse{PrivKeyBytes: append(info, trailer()...), PubKeyBytes: info},
			"where an EP11 blob has 0x1234",
		},
		"extractable unasked": {
			&pb.GenerateKeyPairResponse{PrivKeyBytes: extractable, PubKeyBytes: info}, "extractable unasked",
		},
		"session-bound": {
			&pb.GenerateKeyPairResponse{PrivKeyBytes: bound, PubKeyBytes: info}, "bound the key to a login session",
		},
		"another kind": {
			&pb.GenerateKeyPairResponse{PrivKeyBytes: blob, PubKeyBytes: p256}, "asked for a tz1 key, got tz3",
		},
		"not a key": {
			&pb.GenerateKeyPairResponse{PrivKeyBytes: blob, PubKeyBytes: []byte("not a key")}, "not a SubjectPublicKeyInfo",
		},
	}
	for name, test := range tests {
		generated, err := generateWith(t, test.response)
		if err == nil || !strings.HasPrefix(err.Error(), "GenerateKeyPair: ") || !strings.Contains(err.Error(), test.want) ||
			generated.Blob != nil || generated.SPKI != nil {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
			continue
		}
		ep11test.CheckHidden(t, name, err.Error())
	}
}
