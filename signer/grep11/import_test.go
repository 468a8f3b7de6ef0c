package grep11_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"

	ibmep11 "github.com/IBM-Cloud/hpcs-grep11-go/ep11"
	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"google.golang.org/grpc"

	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// importCard is an ibmCard that also imports EC keys. A test may change its answers.
type importCard struct {
	*ibmCard
	refuse   map[string]ibmep11.Return // by the name of the call
	change   func(*ibm.UnwrapKeyResponse)
	ivs      map[string]bool
	template map[ibmep11.Attribute]*ibm.AttributeValue // of the last UnwrapKey
	plain    []byte                                    // of the last EncryptSingle
}

func (c *importCard) refused(call string) error {
	if code, ok := c.refuse[call]; ok {
		return ibmError(code, "refused")
	}
	return nil
}

func (c *importCard) GenerateKey(_ context.Context, r *ibm.GenerateKeyRequest) (*ibm.GenerateKeyResponse, error) {
	if err := c.refused("GenerateKey"); err != nil {
		return nil, err
	}
	t := r.GetTemplate()
	if r.GetMech().GetMechanism() != ibmep11.CKM_AES_KEY_GEN || t[ibmep11.CKA_VALUE_LEN].GetAttributeI() != 32 ||
		len(t) != 6 {
		return nil, ibmError(ibmep11.CKR_TEMPLATE_INCOMPLETE, "AES key")
	}
	for _, want := range []ibmep11.Attribute{
		ibmep11.CKA_WRAP, ibmep11.CKA_UNWRAP, ibmep11.CKA_ENCRYPT, ibmep11.CKA_DECRYPT,
	} {
		if !t[want].GetAttributeTF() {
			return nil, ibmError(ibmep11.CKR_TEMPLATE_INCOMPLETE, "AES key")
		}
	}
	if got, ok := t[ibmep11.CKA_EXTRACTABLE].GetOneAttr().(*ibm.AttributeValue_AttributeTF); !ok || got.AttributeTF {
		return nil, ibmError(ibmep11.CKR_TEMPLATE_INCONSISTENT, "AES key")
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	blob, err := c.keep(key, 0x26)
	return &ibm.GenerateKeyResponse{KeyBytes: blob, CheckSum: key[:3]}, err
}

// keep stores a key under a new blob, whose attributes are SIGN and low.
func (c *importCard) keep(key any, low byte) ([]byte, error) {
	blob := make([]byte, 256)
	if _, err := rand.Read(blob); err != nil {
		return nil, err
	}
	copy(blob, ep11test.Blob()[:66])
	blob[55] = low
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[string(blob)] = key
	return blob, nil
}

// cbc returns the cipher for a request with AES_CBC_PAD.
func (c *importCard) cbc(
	m *ibm.Mechanism, blob []byte, mode func(cipher.Block, []byte) cipher.BlockMode,
) (cipher.BlockMode, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, ok := c.keys[string(blob)].([]byte)
	if !ok {
		return nil, ibmError(ibmep11.CKR_IBM_BLOB_ERROR, "no such key")
	}
	if m.GetMechanism() != ibmep11.CKM_AES_CBC_PAD || len(m.GetParameterB()) != aes.BlockSize {
		return nil, ibmError(ibmep11.CKR_MECHANISM_PARAM_INVALID, "no AES_CBC_PAD")
	}
	c.ivs[string(m.GetParameterB())] = true
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return mode(block, m.GetParameterB()), nil
}

func (c *importCard) EncryptSingle(_ context.Context, r *ibm.EncryptSingleRequest) (*ibm.EncryptSingleResponse, error) {
	if err := c.refused("EncryptSingle"); err != nil {
		return nil, err
	}
	mode, err := c.cbc(r.GetMech(), r.GetKey(), cipher.NewCBCEncrypter)
	if err != nil {
		return nil, err
	}
	c.plain = bytes.Clone(r.GetPlain())
	padding := aes.BlockSize - len(r.GetPlain())%aes.BlockSize
	padded := append(bytes.Clone(r.GetPlain()), bytes.Repeat([]byte{byte(padding)}, padding)...)
	mode.CryptBlocks(padded, padded)
	return &ibm.EncryptSingleResponse{Ciphered: padded}, nil
}

// tzImport is the form in which a published importer of Tezos keys sends a key
// (github.com/jyg007/hpcstezos, importtzsk2hsm.go).
type tzImport struct {
	Version int
	Type    struct{ Algorithm, Curve asn1.ObjectIdentifier }
	Key     []byte
}

type tzImportKey struct {
	Version int
	Secret  []byte
	Public  asn1.BitString `asn1:"optional,explicit,tag:1"`
}

func (c *importCard) UnwrapKey(_ context.Context, r *ibm.UnwrapKeyRequest) (*ibm.UnwrapKeyResponse, error) {
	if err := c.refused("UnwrapKey"); err != nil {
		return nil, err
	}
	mode, err := c.cbc(r.GetMech(), r.GetKeK(), cipher.NewCBCDecrypter)
	if err != nil {
		return nil, err
	}
	plain := bytes.Clone(r.GetWrapped())
	mode.CryptBlocks(plain, plain)
	plain = plain[:len(plain)-int(plain[len(plain)-1])]
	private, info, err := readTzImport(plain)
	if err != nil {
		return nil, ibmError(ibmep11.CKR_WRAPPED_KEY_INVALID, err.Error())
	}
	c.template = r.GetTemplate()
	blob, err := c.keep(private, 0x04)
	if err != nil {
		return nil, err
	}
	checksum := append(append(bytes.Clone(info), trailer()...), 0, 0, 0, 0xff)
	response := &ibm.UnwrapKeyResponse{
		UnwrappedBytes: blob, CheckSum: checksum, Unwrapped: &ibm.KeyBlob{KeyBlobs: [][]byte{blob}},
	}
	if c.change != nil {
		c.change(response)
	}
	return response, nil
}

func readTzImport(der []byte) (private any, info []byte, err error) {
	var outer tzImport
	var inner tzImportKey
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil || len(rest) != 0 {
		return nil, nil, errors.New("not PKCS #8")
	}
	rest, err = asn1.Unmarshal(outer.Key, &inner)
	if err != nil || len(rest) != 0 || outer.Version != 0 || inner.Version != 1 || len(inner.Secret) != 32 ||
		outer.Type.Algorithm.String() != "1.2.840.10045.2.1" {
		return nil, nil, errors.New("not a key of RFC 5915")
	}
	switch outer.Type.Curve.String() {
	case "1.3.101.112":
		key := ed25519.NewKeyFromSeed(inner.Secret)
		return key, append(head(headEd25519), inner.Public.Bytes...), nil
	case "1.3.132.0.10":
		return secp256k1.PrivKeyFromBytes(inner.Secret), append(head(headSecp256k1), inner.Public.Bytes...), nil
	case "1.2.840.10045.3.1.7":
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), inner.Secret)
		return key, append(head(headP256), inner.Public.Bytes...), err
	}
	return nil, nil, errors.New("curve")
}

func serveImport(t *testing.T, card *importCard) *grep11.Client {
	t.Helper()
	card.ibmCard, card.ivs = newIBMCard(), make(map[string]bool)
	address, _ := serve(t, "127.0.0.1:0", func(s *grpc.Server) { ibm.RegisterCryptoServer(s, card) })
	return dial(t, grep11.Config{Address: address})
}

func secretOf(t *testing.T, kind tezos.KeyKind) *tezos.SecretKey {
	t.Helper()
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	raw[0] = 0x7f // below every group order
	key, err := tezos.NewSecretKey(kind, raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var importKinds = []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256}

// The card runs on IBM's generated server code, and reads the key as the published importer
// writes it. The imported key signs. Each import has a fresh IV.
func TestImportOnIBMsServer(t *testing.T) {
	t.Parallel()
	card := &importCard{}
	client := serveImport(t, card)
	for _, kind := range importKinds {
		secret := secretOf(t, kind)
		imported, err := client.Import(t.Context(), secret)
		if err != nil {
			t.Fatalf("%v: %v", kind, err)
		}
		if imported.PublicKey != secret.PublicKey() {
			t.Errorf("%v: public key %v, want %v", kind, imported.PublicKey, secret.PublicKey())
		}
		if !bytes.HasSuffix(imported.SPKI, secret.PublicKey().Point()) || imported.SPKI[0] != 0x30 ||
			int(imported.SPKI[1])+2 != len(imported.SPKI) {
			t.Errorf("%v: SPKI %x", kind, imported.SPKI)
		}
		key, err := client.Key(imported.PublicKey, imported.Blob)
		if err != nil {
			t.Fatal(err)
		}
		message := tezos.NewMessage([]byte("imported"))
		signature, err := key.Sign(t.Context(), message)
		if err != nil {
			t.Fatalf("%v: %v", kind, err)
		}
		if err := imported.PublicKey.Verify(message, signature); err != nil {
			t.Errorf("%v: %v", kind, err)
		}
	}
	if len(card.ivs) != len(importKinds) {
		t.Errorf("%d initialisation vectors for %d imports", len(card.ivs), len(importKinds))
	}
}

func TestImportAsksForASigningKeyThatStays(t *testing.T) {
	t.Parallel()
	card := &importCard{}
	if _, err := serveImport(t, card).Import(t.Context(), secretOf(t, tezos.P256)); err != nil {
		t.Fatal(err)
	}
	flags := map[ibmep11.Attribute]bool{
		ibmep11.CKA_SIGN: true, ibmep11.CKA_PRIVATE: true, ibmep11.CKA_SENSITIVE: true, ibmep11.CKA_EXTRACTABLE: false,
	}
	for attribute, want := range flags {
		got, ok := card.template[attribute].GetOneAttr().(*ibm.AttributeValue_AttributeTF)
		if !ok || got.AttributeTF != want {
			t.Errorf("%v is %v, want %t", attribute, card.template[attribute], want)
		}
	}
	if card.template[ibmep11.CKA_CLASS].GetAttributeI() != 3 || card.template[ibmep11.CKA_KEY_TYPE].GetAttributeI() != 3 ||
		len(card.template) != 6 {
		t.Errorf("template %v", card.template)
	}
}

// What is sent for P-256 is PKCS #8: crypto/x509 can read it.
func TestImportSendsPKCS8(t *testing.T) {
	t.Parallel()
	card := &importCard{}
	secret := secretOf(t, tezos.P256)
	if _, err := serveImport(t, card).Import(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(card.plain)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		t.Fatalf("%v %T", err, parsed)
	}
	if scalar, err := key.Bytes(); err != nil || !bytes.Equal(scalar, secret.Bytes()) {
		t.Errorf("another scalar, %v", err)
	}
}

// When the server refuses a call, the error names the code and Import returns no blob.
func TestImportNamesTheCode(t *testing.T) {
	t.Parallel()
	for call, code := range map[string]ibmep11.Return{
		"GenerateKey":   ibmep11.CKR_MECHANISM_INVALID,
		"EncryptSingle": ibmep11.CKR_KEY_FUNCTION_NOT_PERMITTED,
		"UnwrapKey":     ibmep11.CKR_CURVE_NOT_SUPPORTED,
	} {
		client := serveImport(t, &importCard{refuse: map[string]ibmep11.Return{call: code}})
		imported, err := client.Import(t.Context(), secretOf(t, tezos.Secp256k1))
		refusal, ok := errors.AsType[*grep11.Error](err)
		if !ok || refusal.RPC != call || uint64(refusal.Code) != uint64(code) || imported.Blob != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// Import accepts no key other than the one sent, and none that is extractable, whatever the
// server answers.
func TestImportRefusesAnUnsoundAnswer(t *testing.T) {
	t.Parallel()
	info := func(key tezos.PublicKey) []byte { return append(head(headP256), key.Point()...) }
	for name, c := range map[string]struct {
		change func(*ibm.UnwrapKeyResponse)
		want   string
	}{
		"another key": {func(r *ibm.UnwrapKeyResponse) { r.CheckSum = info(publicKeys(t)[tezos.P256]) }, "was sent"},
		"another in the attributes": {func(r *ibm.UnwrapKeyResponse) {
			r.Unwrapped.Attributes = map[ibmep11.Attribute]*ibm.AttributeValue{
				ibmep11.CKA_PUBLIC_KEY_INFO: {OneAttr: &ibm.AttributeValue_AttributeB{AttributeB: info(publicKeys(t)[tezos.P256])}},
			}
		}, "was sent"},
		"no public key": {func(r *ibm.UnwrapKeyResponse) { r.CheckSum = nil }, "no public key to compare"},
		"a short checksum": {
			func(r *ibm.UnwrapKeyResponse) { r.CheckSum = []byte{1, 2, 3} }, "not a SubjectPublicKeyInfo",
		},
		"five bytes behind": {
			func(r *ibm.UnwrapKeyResponse) { r.CheckSum = append(r.CheckSum, 0) }, "not a SubjectPublicKeyInfo",
		},
		"no blob": {func(r *ibm.UnwrapKeyResponse) { r.UnwrappedBytes, r.Unwrapped = nil, nil }, "no blob"},
		"two different blobs": {
			func(r *ibm.UnwrapKeyResponse) { r.UnwrappedBytes = append(r.UnwrappedBytes[:255:255], 9) }, "two different blobs",
		},
		"a truncated blob": {
			func(r *ibm.UnwrapKeyResponse) { r.UnwrappedBytes, r.Unwrapped = r.UnwrappedBytes[:100], nil }, "100 bytes",
		},
		"extractable, unasked": {
			func(r *ibm.UnwrapKeyResponse) { r.Unwrapped = nil; r.UnwrappedBytes[55] |= 1 }, "extractable unasked",
		},
		"session-bound": {
			func(r *ibm.UnwrapKeyResponse) { r.Unwrapped = nil; r.UnwrappedBytes[0] = 1 }, "bound the key to a login session",
		},
		"without the bit count": {func(r *ibm.UnwrapKeyResponse) { r.CheckSum = r.CheckSum[:len(r.CheckSum)-4] }, ""},
		"only the public key":   {func(r *ibm.UnwrapKeyResponse) { r.CheckSum = r.CheckSum[:91] }, ""},
	} {
		client := serveImport(t, &importCard{change: c.change})
		imported, err := client.Import(t.Context(), secretOf(t, tezos.P256))
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "UnwrapKey: ") ||
			imported.Blob != nil {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
