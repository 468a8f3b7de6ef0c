package witness

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/asn1"
	"testing"

	ibmep11 "github.com/IBM-Cloud/hpcs-grep11-go/ep11"
	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"pawl/internal/ep11"
	"pawl/softcard/cardtest"
)

// What IBM's later examples do and those of the module's version do not, through the
// version's generated client; its messages have no field for what is missing here.

// flow is IBM's client at the card.
type flow struct {
	t   *testing.T
	c   ibm.CryptoClient
	ctx context.Context //nolint:containedctx // of one test
}

func newFlow(t *testing.T) flow {
	t.Helper()
	return flow{t, ibm.NewCryptoClient(cardtest.Connect(t, newScene(t).card)), t.Context()}
}

func must[Response any](f flow) func(Response, error) Response {
	return func(r Response, err error) Response {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
		return r
	}
}

// values is a template as IBM's helper makes one.
func values(attributes ibmep11.EP11Attributes) map[ibmep11.Attribute]*ibm.AttributeValue {
	list := make(map[ibmep11.Attribute]*ibm.AttributeValue)
	for id, value := range attributes {
		switch v := value.(type) {
		case bool:
			list[id] = ibmTruth(v)
		case []byte:
			list[id] = &ibm.AttributeValue{OneAttr: &ibm.AttributeValue_AttributeB{AttributeB: v}}
		case ibmep11.KeyType:
			list[id] = &ibm.AttributeValue{OneAttr: &ibm.AttributeValue_AttributeI{AttributeI: int64(v)}}
		case ibmep11.ObjectClass:
			list[id] = &ibm.AttributeValue{OneAttr: &ibm.AttributeValue_AttributeI{AttributeI: int64(v)}}
		case int:
			list[id] = &ibm.AttributeValue{OneAttr: &ibm.AttributeValue_AttributeI{AttributeI: int64(v)}}
		}
	}
	return list
}

func padded() *ibm.Mechanism {
	return &ibm.Mechanism{Mechanism: ibmep11.CKM_AES_CBC_PAD, Parameter: &ibm.Mechanism_ParameterB{ParameterB: make([]byte, 16)}}
}

func (f flow) aes() *ibm.GenerateKeyResponse {
	f.t.Helper()
	return must[*ibm.GenerateKeyResponse](f)(f.c.GenerateKey(f.ctx, &ibm.GenerateKeyRequest{
		Mech: ibmMech(ep11.MechAESKeyGen),
		Template: values(ibmep11.EP11Attributes{
			ibmep11.CKA_VALUE_LEN: 32, ibmep11.CKA_WRAP: true, ibmep11.CKA_UNWRAP: true, ibmep11.CKA_ENCRYPT: true, ibmep11.CKA_DECRYPT: true,
			ibmep11.CKA_SIGN: true, ibmep11.CKA_VERIFY: true, ibmep11.CKA_EXTRACTABLE: true,
		}),
	}))
}

// TestImportAndExportOfAnAESKey: a clear key goes in and the same comes out.
func TestImportAndExportOfAnAESKey(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	base, clear := f.aes(), bytes.Repeat([]byte{0x84}, 32)
	sealed := must[*ibm.EncryptSingleResponse](f)(f.c.EncryptSingle(f.ctx, &ibm.EncryptSingleRequest{Mech: padded(), Key: base.KeyBytes, Plain: clear}))
	brought := must[*ibm.UnwrapKeyResponse](f)(f.c.UnwrapKey(f.ctx, &ibm.UnwrapKeyRequest{
		Wrapped: sealed.Ciphered, KeK: base.KeyBytes, Mech: padded(),
		Template: values(ibmep11.EP11Attributes{
			ibmep11.CKA_VALUE_LEN: 32, ibmep11.CKA_ENCRYPT: true, ibmep11.CKA_DECRYPT: true, ibmep11.CKA_EXTRACTABLE: true,
			ibmep11.CKA_KEY_TYPE: ibmep11.CKK_AES, ibmep11.CKA_CLASS: ibmep11.CKO_SECRET_KEY,
		}),
	}))
	wrapped := must[*ibm.WrapKeyResponse](f)(f.c.WrapKey(f.ctx, &ibm.WrapKeyRequest{Mech: padded(), Key: brought.UnwrappedBytes, KeK: base.KeyBytes}))
	taken := must[*ibm.DecryptSingleResponse](f)(f.c.DecryptSingle(f.ctx, &ibm.DecryptSingleRequest{Mech: padded(), Key: base.KeyBytes, Ciphered: wrapped.Wrapped}))
	if !bytes.Equal(taken.Plain, clear) {
		t.Errorf("%x, want %x", taken.Plain, clear)
	}
}

// TestImportOfAnECKey is how a Tezos key comes into the HSM.
func TestImportOfAnECKey(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	base := f.aes()
	key, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	point := key.PubKey().SerializeUncompressed()
	inner, err := asn1.Marshal(struct {
		Version int
		Secret  []byte
		Public  asn1.BitString `asn1:"explicit,tag:1"`
	}{1, key.Serialize(), asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})
	if err != nil {
		t.Fatal(err)
	}
	type identifier struct{ Algorithm, Curve asn1.ObjectIdentifier }
	der, err := asn1.Marshal(struct {
		Version    int
		Identifier identifier
		Key        []byte
	}{0, identifier{asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, asn1.ObjectIdentifier{1, 3, 132, 0, 10}}, inner})
	if err != nil {
		t.Fatal(err)
	}
	sealed := must[*ibm.EncryptSingleResponse](f)(f.c.EncryptSingle(f.ctx, &ibm.EncryptSingleRequest{Mech: padded(), Key: base.KeyBytes, Plain: der}))
	brought := must[*ibm.UnwrapKeyResponse](f)(f.c.UnwrapKey(f.ctx, &ibm.UnwrapKeyRequest{
		Wrapped: sealed.Ciphered, KeK: base.KeyBytes, Mech: padded(),
		Template: values(ibmep11.EP11Attributes{
			ibmep11.CKA_CLASS: ibmep11.CKO_PRIVATE_KEY, ibmep11.CKA_KEY_TYPE: ibmep11.CKK_EC, ibmep11.CKA_SIGN: true, ibmep11.CKA_EXTRACTABLE: false,
		}),
	}))
	if !bytes.Contains(brought.CheckSum, point) {
		t.Errorf("the check sum %x does not hold the public key %x", brought.CheckSum, point)
	}
	data := make([]byte, 32)
	signed := must[*ibm.SignSingleResponse](f)(f.c.SignSingle(f.ctx, &ibm.SignSingleRequest{PrivKey: brought.UnwrappedBytes, Mech: ibmMech(ep11.MechECDSA), Data: data}))
	if err := curves[1].verifies(brought.CheckSum, data, signed.Signature); err != nil {
		t.Error(err)
	}
	_, err = f.c.WrapKey(f.ctx, &ibm.WrapKeyRequest{Mech: padded(), Key: brought.UnwrappedBytes, KeK: base.KeyBytes})
	if code, ok := codeOf(err); !ok || code != ep11.CodeKeyUnextractable {
		t.Errorf("taking it out: %v", err)
	}
}

// TestHMACInParts signs with an AES key, as IBM's later examples do.
func TestHMACInParts(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	key, data := f.aes(), []byte("This data needs to be signed")
	c := ibmCalls{f.c}
	want := must[[]byte](f)(c.signSingle(f.ctx, ep11.MechSHA256HMAC, key.KeyBytes, data))
	state := must[[]byte](f)(c.signInit(f.ctx, ep11.MechSHA256HMAC, key.KeyBytes))
	state = must[[]byte](f)(c.signUpdate(f.ctx, state, data[:8]))
	state = must[[]byte](f)(c.signUpdate(f.ctx, state, data[8:]))
	if got := must[[]byte](f)(c.signFinal(f.ctx, state)); !bytes.Equal(got, want) {
		t.Errorf("in parts %x, at once %x", got, want)
	}
	if err := c.verifySingle(f.ctx, ep11.MechSHA256HMAC, key.KeyBytes, data, want); err != nil {
		t.Error(err)
	}
	wrapped := must[*ibm.WrapKeyResponse](f)(f.c.WrapKey(f.ctx, &ibm.WrapKeyRequest{Mech: padded(), Key: key.KeyBytes, KeK: key.KeyBytes}))
	clear := must[*ibm.DecryptSingleResponse](f)(f.c.DecryptSingle(f.ctx, &ibm.DecryptSingleRequest{Mech: padded(), Key: key.KeyBytes, Ciphered: wrapped.Wrapped}))
	mac := hmac.New(sha256.New, clear.Plain)
	mac.Write(data)
	if !bytes.Equal(mac.Sum(nil), want) {
		t.Errorf("%x, crypto/hmac gives %x", want, mac.Sum(nil))
	}
}

// TestAttributesOfAKey reads and changes what a key may do.
func TestAttributesOfAKey(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	key := f.aes()
	changed := must[*ibm.SetAttributeValueResponse](f)(f.c.SetAttributeValue(f.ctx, &ibm.SetAttributeValueRequest{
		Object: key.KeyBytes, Attributes: values(ibmep11.EP11Attributes{ibmep11.CKA_ENCRYPT: false}),
	}))
	read := must[*ibm.GetAttributeValueResponse](f)(f.c.GetAttributeValue(f.ctx, &ibm.GetAttributeValueRequest{
		Object: changed.Object, Attributes: values(ibmep11.EP11Attributes{ibmep11.CKA_ENCRYPT: false, ibmep11.CKA_DECRYPT: false}),
	}))
	if read.Attributes[ibmep11.CKA_ENCRYPT].GetAttributeTF() || !read.Attributes[ibmep11.CKA_DECRYPT].GetAttributeTF() {
		t.Errorf("%v", read.Attributes)
	}
	_, err := f.c.EncryptSingle(f.ctx, &ibm.EncryptSingleRequest{Mech: padded(), Key: changed.Object, Plain: []byte("data")})
	if code, ok := codeOf(err); !ok || code != ep11.CodeKeyFunctionNotPermitted {
		t.Errorf("%v", err)
	}
}
