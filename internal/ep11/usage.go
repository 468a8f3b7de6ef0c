package ep11

import "fmt"

// Bits of Header.Attributes that no key of pawl has, EP11 manual, "Object structures".
const (
	blobRetained           uint64 = 0x80000
	blobProtKeyExtractable uint64 = 0x200000
)

// attributeNames are the names of the bits of Header.Attributes, in their order.
var attributeNames = [...]struct {
	bit   uint64
	name  string
	usage bool // a usage, not a trait
}{
	{BlobExtractable, "extractable", false},
	{BlobNeverExtractable, "never extractable", false},
	{BlobModifiable, "modifiable", false},
	{BlobNeverModifiable, "never modifiable", false},
	{BlobRestrictable, "restrictable", false},
	{BlobLocal, "local", false},
	{BlobAttrBound, "attribute-bound", false},
	{BlobUseAsData, "use as data", true},
	{BlobSign, "sign", true},
	{BlobSignRecover, "sign with recovery", true},
	{BlobDecrypt, "decrypt", true},
	{BlobEncrypt, "encrypt", true},
	{BlobDerive, "derive", true},
	{BlobUnwrap, "unwrap", true},
	{BlobWrap, "wrap", true},
	{BlobVerify, "verify", true},
	{BlobVerifyRecover, "verify with recovery", true},
	{BlobTrusted, "trusted", false},
	{BlobWrapWithTrusted, "wrap with trusted", false},
	{blobRetained, "retained", false},
	{blobProtKeyExtractable, "protected-key extractable", false},
	{BlobNeverProtKey, "protected-key never extractable", false},
}

// Usage names what the key may be used for, e.g. sign, in the order of the bits.
func (h Header) Usage() []string { return h.names(true) }

// Traits names the other attributes, and gives bits without a name in hex.
func (h Header) Traits() []string {
	names := h.names(false)
	rest := h.Attributes
	for _, a := range attributeNames {
		rest &^= a.bit
	}
	if rest != 0 {
		names = append(names, fmt.Sprintf("unknown 0x%x", rest))
	}
	return names
}

func (h Header) names(usage bool) []string {
	var names []string
	for _, a := range attributeNames {
		if a.usage == usage && h.Attributes&a.bit != 0 {
			names = append(names, a.name)
		}
	}
	return names
}

// BornInHSM reports whether the card made the key itself: it was neither imported nor
// derived.
func (h Header) BornInHSM() bool { return h.Attributes&BlobLocal != 0 }

// NeverLeft reports whether the card made the key and would never have let it out.
func (h Header) NeverLeft() bool { return h.BornInHSM() && h.Attributes&BlobNeverExtractable != 0 }
