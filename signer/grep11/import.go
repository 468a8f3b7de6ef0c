package grep11

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

const (
	aesKeySize = 32 // bytes of CKM_AES_KEY_GEN: AES-256
	ivSize     = 16 // bytes: an AES block, the parameter of CKM_AES_CBC_PAD

	maxKeyInfo = 256 // bytes; privateKeyInfo writes at most 138, for P-256
)

// Import brings a clear private key into the HSM. There it can only sign, and never be
// extracted. The HSM makes an AES key, encrypts the private key with it, and unwraps the
// result. Import checks the answer as Generate does, and that its public key is the key's.
//
// The clear key passes through this process and, within TLS, to the server. Import zeroes
// its own copies before it returns; it cannot reach the buffers of gRPC and TLS. The caller
// zeroes the key.
func (c *Client) Import(ctx context.Context, key *tezos.SecretKey) (Generated, error) {
	public := key.PublicKey()
	method, err := methodOf(public.Kind())
	if err != nil {
		return Generated{}, err
	}
	clearText, err := privateKeyInfo(method.curve, key)
	if err != nil {
		return Generated{}, err
	}
	defer clear(clearText)
	response, err := c.wrapIn(ctx, clearText, map[uint64]*pb.AttributeValue{
		ep11.AttrClass:       number(ep11.ClassPrivateKey),
		ep11.AttrKeyType:     number(ep11.KeyTypeEC),
		ep11.AttrSign:        truth(true),
		ep11.AttrPrivate:     truth(true),
		ep11.AttrSensitive:   truth(true),
		ep11.AttrExtractable: truth(false),
	})
	if err != nil {
		return Generated{}, err
	}
	imported, err := readImported(response, public)
	if err != nil {
		return Generated{}, fmt.Errorf("UnwrapKey: %v", err)
	}
	return imported, nil
}

// privateKeyInfo writes a key in the form that EP11 reads: PKCS #8 (RFC 5958) with a key of
// RFC 5915 inside. The algorithm is id-ecPublicKey for every curve, even for Ed25519, where
// it deviates from RFC 8410.
func privateKeyInfo(curve string, key *tezos.SecretKey) ([]byte, error) {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, maxKeyInfo)) // never grows, so it leaves no copy of the key
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes([]byte(idECPublicKey + curve)) })
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1OctetString(key.Bytes())
				b.AddASN1(asn1.Tag(1).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
					b.AddASN1BitString(key.PublicKey().Point())
				})
			})
		})
	})
	return b.Bytes()
}

// wrapIn makes a key of clear bytes in the HSM, with the attributes of template.
func (c *Client) wrapIn(
	ctx context.Context, clearText []byte, template map[uint64]*pb.AttributeValue,
) (*pb.UnwrapKeyResponse, error) {
	kek, err := c.generateKey(ctx, ep11.MechAESKeyGen, map[uint64]*pb.AttributeValue{
		ep11.AttrValueLen:    number(aesKeySize),
		ep11.AttrWrap:        truth(true),
		ep11.AttrUnwrap:      truth(true),
		ep11.AttrEncrypt:     truth(true),
		ep11.AttrDecrypt:     truth(true),
		ep11.AttrExtractable: truth(false),
	})
	if err != nil {
		return nil, err
	}
	iv := make([]byte, ivSize)
	if _, err := rand.Read(iv); err != nil {
		return nil, err
	}
	mechanism := &pb.Mechanism{Mechanism: ep11.MechAESCBCPad, Parameter: &pb.Mechanism_ParameterB{ParameterB: iv}}
	encrypt := &pb.EncryptSingleRequest{Mech: mechanism, Plain: clearText}
	encrypt.KeyBytes, encrypt.Key = c.inDialect(kek)
	encrypted, err := call(ctx, c, "EncryptSingle", c.crypto.EncryptSingle, encrypt)
	if err != nil {
		return nil, wordless(err)
	}
	defer clear(encrypted.GetCiphered())
	unwrap := &pb.UnwrapKeyRequest{Mech: mechanism, Wrapped: encrypted.GetCiphered(), Template: template}
	unwrap.KeKBytes, unwrap.KeK = c.inDialect(kek)
	return call(ctx, c, "UnwrapKey", c.crypto.UnwrapKey, unwrap)
}

// generateKey makes a symmetric key in the HSM and returns its blob.
func (c *Client) generateKey(
	ctx context.Context, mechanism uint64, template map[uint64]*pb.AttributeValue,
) (ep11.Blob, error) {
	request := &pb.GenerateKeyRequest{Mech: &pb.Mechanism{Mechanism: mechanism}, Template: template}
	response, err := call(ctx, c, "GenerateKey", c.crypto.GenerateKey, request)
	if err != nil {
		return nil, err
	}
	blob, err := keptBlob(response.GetKey(), response.GetKeyBytes())
	if err != nil {
		return nil, fmt.Errorf("GenerateKey: %v", err)
	}
	return blob, nil
}

// inDialect returns the values of the two fields that can carry a key in a request. The
// dialect may leave one empty.
func (c *Client) inDialect(blob ep11.Blob) ([]byte, *pb.KeyBlob) {
	switch c.dialect {
	case V1:
		return blob, nil
	case V2:
		return nil, &pb.KeyBlob{KeyBlobs: [][]byte{blob}}
	case Both:
	}
	return blob, &pb.KeyBlob{KeyBlobs: [][]byte{blob}}
}

// keptBlob returns the blob of an answer. It fails unless the blob is sound and not extractable.
func keptBlob(message *pb.KeyBlob, raw []byte) (ep11.Blob, error) {
	blob, err := onlyBlob(message, raw)
	if err != nil {
		return nil, err
	}
	if err := checkNew(blob, false); err != nil {
		return nil, err
	}
	return blob, nil
}

// readImported reads the answer to an import, and checks that the HSM has the key that was sent.
func readImported(response *pb.UnwrapKeyResponse, want tezos.PublicKey) (Generated, error) {
	blob, err := keptBlob(response.GetUnwrapped(), response.GetUnwrappedBytes())
	if err != nil {
		return Generated{}, err
	}
	key, spki, err := importedSPKI(response)
	if err != nil {
		return Generated{}, err
	}
	if key != want {
		return Generated{}, fmt.Errorf("the HSM has the key %v, %v was sent", key.Hash(), want.Hash())
	}
	return Generated{Blob: blob, PublicKey: key, SPKI: spki}, nil
}

// bitCountSize is the size in bytes of the bit length at the end of a key's checksum.
const bitCountSize = 4

// importedSPKI reads the public key of an imported key. It stands in the attributes or in
// the checksum. In the checksum its MAC and the bit length of the key follow (EP11 manual,
// "m_UnwrapKey").
func importedSPKI(response *pb.UnwrapKeyResponse) (tezos.PublicKey, []byte, error) {
	if spki := response.GetUnwrapped().GetAttributes()[ep11.AttrPublicKeyInfo].GetAttributeB(); len(spki) > 0 {
		key, _, err := parseSPKI(spki)
		return key, spki, err
	}
	checksum := response.GetCheckSum()
	if len(checksum) == 0 {
		return tezos.PublicKey{}, nil, errors.New("the server sent no public key to compare")
	}
	if key, spki, err := parseSPKI(checksum); err == nil {
		return key, bytes.Clone(spki), nil
	}
	return parseSPKI(checksum[:max(0, len(checksum)-bitCountSize)])
}

func number(n int64) *pb.AttributeValue {
	return &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeI{AttributeI: n}}
}
