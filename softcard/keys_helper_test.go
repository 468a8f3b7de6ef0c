package softcard_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// bench is a card with a wrapping key, to import and export keys with.
type bench struct {
	pb.CryptoServer
	tb   testing.TB
	card *softcard.Card
	kek  []byte // AES-256, with every usage
}

func newBench(tb testing.TB) *bench {
	tb.Helper()
	card := cardtest.New(tb, 1)
	b := &bench{CryptoServer: softcard.Service(card), tb: tb, card: card}
	b.kek = b.aes(32, all())
	return b
}

// all is a template with every usage of a secret key.
func all() template {
	return template{
		ep11.AttrEncrypt: true, ep11.AttrDecrypt: true, ep11.AttrWrap: true, ep11.AttrUnwrap: true,
		ep11.AttrSign: true, ep11.AttrVerify: true, ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true, ep11.AttrExtractable: true,
	}
}

// but returns the template with other values; nil removes an attribute.
func (m template) but(changes template) template {
	changed := maps.Clone(m)
	for id, value := range changes {
		changed[id] = value
		if value == nil {
			delete(changed, id)
		}
	}
	return changed
}

func (b *bench) generate(mechanism uint64, t template) (*pb.GenerateKeyResponse, error) {
	b.tb.Helper()
	return b.GenerateKey(b.tb.Context(), &pb.GenerateKeyRequest{Mech: mech(mechanism), Template: t.attributes(b.tb)})
}

func (b *bench) aes(size int, t template) []byte {
	b.tb.Helper()
	made, err := b.generate(ep11.MechAESKeyGen, t.but(template{ep11.AttrValueLen: size}))
	if err != nil {
		b.tb.Fatal(err)
	}
	return made.GetKeyBytes()
}

func withIV(mechanism uint64, iv []byte) *pb.Mechanism {
	return &pb.Mechanism{Mechanism: mechanism, Parameter: &pb.Mechanism_ParameterB{ParameterB: iv}}
}

var zeroIV = make([]byte, 16)

func (b *bench) encrypt(m *pb.Mechanism, key, plain []byte) []byte {
	b.tb.Helper()
	r, err := b.EncryptSingle(b.tb.Context(), &pb.EncryptSingleRequest{Mech: m, KeyBytes: key, Plain: plain})
	if err != nil {
		b.tb.Fatal(err)
	}
	return r.GetCiphered()
}

func (b *bench) decrypt(m *pb.Mechanism, key, ciphered []byte) []byte {
	b.tb.Helper()
	r, err := b.DecryptSingle(b.tb.Context(), &pb.DecryptSingleRequest{Mech: m, KeyBytes: key, Ciphered: ciphered})
	if err != nil {
		b.tb.Fatal(err)
	}
	return r.GetPlain()
}

func (b *bench) sign(m *pb.Mechanism, key, data []byte) ([]byte, error) {
	b.tb.Helper()
	r, err := b.SignSingle(b.tb.Context(), &pb.SignSingleRequest{Mech: m, PrivKeyBytes: key, Data: data})
	return r.GetSignature(), err
}

func (b *bench) verify(m *pb.Mechanism, key, data, signature []byte) error {
	b.tb.Helper()
	_, err := b.VerifySingle(b.tb.Context(), &pb.VerifySingleRequest{Mech: m, PubKeyBytes: key, Data: data, Signature: signature})
	return err
}

// bring imports a key as IBM's clients do.
func (b *bench) bring(plain []byte, t template) (*pb.UnwrapKeyResponse, error) {
	b.tb.Helper()
	iv := make([]byte, 16)
	if _, err := rand.Read(iv); err != nil {
		b.tb.Fatal(err)
	}
	wrapped := b.encrypt(withIV(ep11.MechAESCBCPad, iv), b.kek, plain)
	return b.UnwrapKey(b.tb.Context(), &pb.UnwrapKeyRequest{
		Mech: withIV(ep11.MechAESCBCPad, iv), KeKBytes: b.kek, Wrapped: wrapped, Template: t.attributes(b.tb),
	})
}

func (b *bench) bringSecret(keyType int64, plain []byte) []byte {
	b.tb.Helper()
	r, err := b.bring(plain, all().but(template{ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: keyType}))
	if err != nil {
		b.tb.Fatal(err)
	}
	return r.GetUnwrappedBytes()
}

// take exports an extractable key.
func (b *bench) take(key []byte) []byte {
	b.tb.Helper()
	m := withIV(ep11.MechAESCBCPad, zeroIV)
	r, err := b.WrapKey(b.tb.Context(), &pb.WrapKeyRequest{Mech: m, KeyBytes: key, KeKBytes: b.kek})
	if err != nil {
		b.tb.Fatal(err)
	}
	return b.decrypt(m, b.kek, r.GetWrapped())
}

// ecPair makes a key pair on the curve with a private template of the test's own.
func (b *bench) ecPair(curve testCurve, private template) *pb.GenerateKeyPairResponse {
	b.tb.Helper()
	pair, err := b.GenerateKeyPair(b.tb.Context(), pairRequest(b.tb, curve.public(), private))
	if err != nil {
		b.tb.Fatal(err)
	}
	return pair
}

// rsaPair makes an RSA key pair with every usage.
func (b *bench) rsaPair(bits int, exponent any, public, private template) *pb.GenerateKeyPairResponse {
	b.tb.Helper()
	pair, err := b.GenerateKeyPair(b.tb.Context(), &pb.GenerateKeyPairRequest{
		Mech: mech(ep11.MechRSAPKCSKeyPairGen),
		PubKeyTemplate: template{
			ep11.AttrVerify: true, ep11.AttrEncrypt: true, ep11.AttrWrap: true,
			ep11.AttrModulusBits: bits, ep11.AttrPublicExponent: exponent,
		}.but(public).attributes(b.tb),
		PrivKeyTemplate: template{
			ep11.AttrSign: true, ep11.AttrDecrypt: true, ep11.AttrUnwrap: true, ep11.AttrExtractable: true,
		}.but(private).attributes(b.tb),
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	return pair
}

// keyBlob is a key as the second generation of the wire carries it.
func keyBlob(raw []byte) *pb.KeyBlob { return &pb.KeyBlob{KeyBlobs: [][]byte{raw}} }

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// sameBlob checks that both generations of an answer carry the same key.
func sameBlob(tb testing.TB, raw []byte, message *pb.KeyBlob) {
	tb.Helper()
	if list := message.GetKeyBlobs(); len(list) != 1 || !bytes.Equal(list[0], raw) {
		tb.Errorf("the KeyBlob holds %d keys, or another than the bytes", len(list))
	}
}

// inV2 moves the keys of a request into the fields of the second generation.
func inV2[Request proto.Message](request Request) Request {
	m := proto.CloneOf(request).ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		raw := fields.Get(i)
		message := fields.ByName(raw.Name()[:max(0, len(raw.Name())-len("Bytes"))])
		if message == nil || !m.Has(raw) {
			continue
		}
		blob := keyBlob(m.Get(raw).Bytes())
		m.Clear(raw)
		m.Set(message, protoreflect.ValueOfMessage(blob.ProtoReflect()))
	}
	return m.Interface().(Request) //nolint:forcetypeassert // a clone is of the same type
}
