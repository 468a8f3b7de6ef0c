package softcard_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// IBM's example under an RSA key, and the same under an AES key.
func TestAttributeBoundKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	bound := template{ep11.AttrIBMAttrBound: true}
	mac, err := b.generate(ep11.MechGenericSecretKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrIBMAttrBound: true})
	if err != nil {
		t.Fatal(err)
	}
	made, err := b.generate(ep11.MechAESKeyGen, template{
		ep11.AttrValueLen: 32, ep11.AttrEncrypt: true, ep11.AttrExtractable: true, ep11.AttrIBMAttrBound: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	pair := b.rsaPair(1024, 65537, bound, bound)
	aes := b.aes(32, all().but(bound))
	for name, kek := range map[string][2][]byte{"RSA": {pair.GetPubKeyBytes(), pair.GetPrivKeyBytes()}, "AES": {aes, aes}} {
		wrap := &pb.WrapKeyRequest{
			Mech: mech(ep11.MechIBMAttrBoundWrap), KeyBytes: made.GetKeyBytes(), KeKBytes: kek[0], MacKeyBytes: mac.GetKeyBytes(),
		}
		wrapped, err := b.WrapKey(t.Context(), wrap)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		unwrap := &pb.UnwrapKeyRequest{
			Mech: mech(ep11.MechIBMAttrBoundWrap), KeKBytes: kek[1], MacKeyBytes: mac.GetKeyBytes(), Wrapped: wrapped.GetWrapped(),
			Template: template{ep11.AttrDecrypt: true, ep11.AttrClass: ep11.ClassSecretKey}.attributes(t), // ignored
		}
		back, err := b.UnwrapKey(t.Context(), unwrap)
		if err != nil || !bytes.Equal(back.GetCheckSum(), made.GetCheckSum()) {
			t.Fatalf("%s: check sum %x, want %x: %v", name, back.GetCheckSum(), made.GetCheckSum(), err)
		}
		const local = ep11.BlobLocal
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
	other, err := b.generate(ep11.MechGenericSecretKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrIBMAttrBound: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name          string
		key, kek, mac []byte
		want          ep11.Code
	}{
		{"a key that is not bound", b.kek, wrap.GetKeKBytes(), wrap.GetMacKeyBytes(), ep11.CodeKeyNotWrappable},
		{"a wrapping key that is not bound", wrap.GetKeyBytes(), b.kek, wrap.GetMacKeyBytes(), ep11.CodeKeyFunctionNotPermitted},
		{"a MAC key that is not bound", wrap.GetKeyBytes(), wrap.GetKeKBytes(), b.kek, ep11.CodeKeyFunctionNotPermitted},
		{"no MAC key", wrap.GetKeyBytes(), wrap.GetKeKBytes(), nil, ep11.CodeArgumentsBad},
		{"not extractable", b.aes(32, template{ep11.AttrIBMAttrBound: true, ep11.AttrExtractable: false}), wrap.GetKeKBytes(), wrap.GetMacKeyBytes(), ep11.CodeKeyUnextractable},
	} {
		_, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: wrap.GetMech(), KeyBytes: test.key, KeKBytes: test.kek, MacKeyBytes: test.mac})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s, wrapping %s: %v, want %v", name, test.name, got, test.want)
		}
	}
	for _, test := range []struct {
		name              string
		kek, mac, wrapped []byte
		want              ep11.Code
	}{
		{"another MAC key", unwrap.GetKeKBytes(), other.GetKeyBytes(), unwrap.GetWrapped(), ep11.CodeWrappedKeyInvalid},
		{"changed", unwrap.GetKeKBytes(), unwrap.GetMacKeyBytes(), flipped(unwrap.GetWrapped(), 90), ep11.CodeWrappedKeyInvalid},
		{"nothing", unwrap.GetKeKBytes(), unwrap.GetMacKeyBytes(), nil, ep11.CodeWrappedKeyInvalid},
		{"a key that is not bound", b.kek, unwrap.GetMacKeyBytes(), unwrap.GetWrapped(), ep11.CodeKeyFunctionNotPermitted},
	} {
		_, err := b.UnwrapKey(t.Context(), &pb.UnwrapKeyRequest{Mech: unwrap.GetMech(), KeKBytes: test.kek, MacKeyBytes: test.mac, Wrapped: test.wrapped})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s, unwrapping, %s: %v, want %v", name, test.name, got, test.want)
		}
	}
}
