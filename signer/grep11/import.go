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
	ivSize     = 16 // a block of AES, the parameter of CKM_AES_CBC_PAD

	maxKeyInfo = 256 // room enough for privateKeyInfo: 138 bytes for P-256, the longest
)

// Import brings a clear private key into the HSM, for signing only and never to be
// extracted: the HSM makes an AES key, encrypts the key with it, and unwraps that. The
// answer is checked as that of Generate is, and its public key is that of the key.
//
// The clear key passes through this process and, within TLS, to the server. What is
// made of it here is zeroed before Import returns; buffers of gRPC and TLS are beyond
// its reach. The caller zeroes the key.
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

// privateKeyInfo encodes a key as EP11 reads it: PKCS #8 (RFC 5958) around a key of RFC 5915.
// The algorithm is id-ecPublicKey for every curve, Ed25519 too, for which RFC 8410 has another
// form.
func privateKeyInfo(curve string, key *tezos.SecretKey) ([]byte, error) {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, maxKeyInfo)) // no copy of the key stays behind
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

// wrapIn has the HSM take clear bytes as a key with these attributes.
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

// inDialect returns a key for both fields of a request; the dialect may leave one empty.
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

// keptBlob returns the blob of an answer if it is sound and not extractable.
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

// readImported checks that the key within the HSM is the one that was sent.
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

// bitCountSize is the size of the length in bits at the end of a key's checksum.
const bitCountSize = 4

// importedSPKI reads the public key of an imported key. It is in the attributes, or in the
// checksum, where its MAC and the key's length in bits follow it (EP11 manual, "m_UnwrapKey").
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
