package softcard_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

// TestAttributeBoundKeys is IBM's example under RSA, and the same under AES.
func TestAttributeBoundKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	bound := template{grep11.AttrIBMAttrBound: true}
	mac, err := b.generate(grep11.MechGenericSecretKeyGen, template{grep11.AttrValueLen: 32, grep11.AttrIBMAttrBound: true})
	if err != nil {
		t.Fatal(err)
	}
	made, err := b.generate(grep11.MechAESKeyGen, template{
		grep11.AttrValueLen: 32, grep11.AttrEncrypt: true, grep11.AttrExtractable: true, grep11.AttrIBMAttrBound: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	pair := b.rsaPair(1024, 65537, bound, bound)
	aes := b.aes(32, all().but(bound))
	for name, kek := range map[string][2][]byte{"RSA": {pair.GetPubKeyBytes(), pair.GetPrivKeyBytes()}, "AES": {aes, aes}} {
		wrap := &pb.WrapKeyRequest{
			Mech: mech(grep11.MechIBMAttrBoundWrap), KeyBytes: made.GetKeyBytes(), KeKBytes: kek[0], MacKeyBytes: mac.GetKeyBytes(),
		}
		wrapped, err := b.WrapKey(t.Context(), wrap)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		unwrap := &pb.UnwrapKeyRequest{
			Mech: mech(grep11.MechIBMAttrBoundWrap), KeKBytes: kek[1], MacKeyBytes: mac.GetKeyBytes(), Wrapped: wrapped.GetWrapped(),
			Template: template{grep11.AttrDecrypt: true, grep11.AttrClass: grep11.ClassSecretKey}.attributes(t), // not looked at
		}
		back, err := b.UnwrapKey(t.Context(), unwrap)
		if err != nil || !bytes.Equal(back.GetCheckSum(), made.GetCheckSum()) {
			t.Fatalf("%s: check sum %x, want %x: %v", name, back.GetCheckSum(), made.GetCheckSum(), err)
		}
		const local = grep11.BlobLocal
		was, is := binary.BigEndian.Uint64(made.GetKeyBytes()[48:]), binary.BigEndian.Uint64(back.GetUnwrappedBytes()[48:])
		if is != was&^local {
			t.Errorf("%s: attributes 0x%x, want 0x%x without LOCAL", name, is, was)
		}
		b.wrongBound(name, wrap, unwrap)
	}
}

func (b *bench) wrongBound(name string, wrap *pb.WrapKeyRequest, unwrap *pb.UnwrapKeyRequest) {
	t := b.tb
	t.Helper()
	other, err := b.generate(grep11.MechGenericSecretKeyGen, template{grep11.AttrValueLen: 32, grep11.AttrIBMAttrBound: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name          string
		key, kek, mac []byte
		want          grep11.Code
	}{
		{"a key that is not bound", b.kek, wrap.GetKeKBytes(), wrap.GetMacKeyBytes(), grep11.CodeKeyNotWrappable},
		{"a wrapping key that is not bound", wrap.GetKeyBytes(), b.kek, wrap.GetMacKeyBytes(), grep11.CodeKeyFunctionNotPermitted},
		{"a MAC key that is not bound", wrap.GetKeyBytes(), wrap.GetKeKBytes(), b.kek, grep11.CodeKeyFunctionNotPermitted},
		{"no MAC key", wrap.GetKeyBytes(), wrap.GetKeKBytes(), nil, grep11.CodeArgumentsBad},
		{"not extractable", b.aes(32, template{grep11.AttrIBMAttrBound: true}), wrap.GetKeKBytes(), wrap.GetMacKeyBytes(), grep11.CodeKeyUnextractable},
	} {
		_, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: wrap.GetMech(), KeyBytes: test.key, KeKBytes: test.kek, MacKeyBytes: test.mac})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s, wrapping %s: %v, want %v", name, test.name, got, test.want)
		}
	}
	for _, test := range []struct {
		name              string
		kek, mac, wrapped []byte
		want              grep11.Code
	}{
		{"another MAC key", unwrap.GetKeKBytes(), other.GetKeyBytes(), unwrap.GetWrapped(), grep11.CodeWrappedKeyInvalid},
		{"changed", unwrap.GetKeKBytes(), unwrap.GetMacKeyBytes(), flipped(unwrap.GetWrapped(), 90), grep11.CodeWrappedKeyInvalid},
		{"nothing", unwrap.GetKeKBytes(), unwrap.GetMacKeyBytes(), nil, grep11.CodeWrappedKeyInvalid},
		{"a key that is not bound", b.kek, unwrap.GetMacKeyBytes(), unwrap.GetWrapped(), grep11.CodeKeyFunctionNotPermitted},
	} {
		_, err := b.UnwrapKey(t.Context(), &pb.UnwrapKeyRequest{Mech: unwrap.GetMech(), KeKBytes: test.kek, MacKeyBytes: test.mac, Wrapped: test.wrapped})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s, unwrapping, %s: %v, want %v", name, test.name, got, test.want)
		}
	}
}
