package softcard

import (
	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

const (
	btcVersion    = 1          // the only version of the parameter
	hardened      = 0x80000000 // BIP-32: children from this index on are hardened
	chainCodeSize = 32
	minSeed       = 16 // bytes; BIP-32 and SLIP-0010: 128 to 512 bits
	maxSeed       = 64
)

// step is what a derivation type asks for.
type step struct {
	slip   bool // SLIP-0010: tries again where BIP-32 fails
	master bool // derives from a seed
	from   bool // derives from a public key
	public bool // gives a public key
}

// steps lists the derivation types.
var steps = map[pb.BTCDeriveParm_BTCDeriveType]step{
	pb.BTCDeriveParm_CkBIP0032MASTERK:  {master: true},
	pb.BTCDeriveParm_CkBIP0032PRV2PRV:  {},
	pb.BTCDeriveParm_CkBIP0032PRV2PUB:  {public: true},
	pb.BTCDeriveParm_CkBIP0032PUB2PUB:  {from: true, public: true},
	pb.BTCDeriveParm_CkSLIP0010MASTERK: {slip: true, master: true},
	pb.BTCDeriveParm_CkSLIP0010PRV2PRV: {slip: true},
	pb.BTCDeriveParm_CkSLIP0010PRV2PUB: {slip: true, public: true},
	pb.BTCDeriveParm_CkSLIP0010PUB2PUB: {slip: true, from: true, public: true},
}

// deriveBTC is CKM_IBM_BTC_DERIVE.
func (c *Card) deriveBTC(m mechanism, base []byte, attrs map[uint64]*pb.AttributeValue) (*pb.DeriveKeyResponse, error) {
	s, err := m.step()
	if err != nil {
		return nil, err
	}
	class := ep11.ClassPrivateKey
	if s.public {
		class = ep11.ClassPublicKey
	}
	t, err := readTemplate(attrs, shape{class: class, keyType: ep11.KeyTypeEC, origin: derived})
	if err != nil {
		return nil, err
	}
	parent, err := c.parent(s, t, base)
	if err != nil {
		return nil, err
	}
	defer clear(parent.secret)
	child, err := m.child(s, parent)
	if err != nil {
		return nil, err
	}
	defer clear(child.secret)
	return c.derivedEC(s, t, child)
}

// derivedEC answers with a derived key: a public key when the step gives one.
func (c *Card) derivedEC(s step, t keyTemplate, child node) (response *pb.DeriveKeyResponse, err error) {
	response = &pb.DeriveKeyResponse{CheckSum: child.chain}
	if !s.public {
		k := key{kind: kind(child.on), attributes: t.attributes, secret: child.secret}
		response.NewKeyBytes, response.NewKey, err = c.issue(k)
		return response, err
	}
	k := ecPublic(child.on, child.point)
	k.attributes = t.attributes
	response.NewKeyBytes, response.NewKey, err = c.issuePublic(k)
	return response, err
}

// step checks the parameter and returns what it asks for.
func (m mechanism) step() (step, error) {
	s, ok := steps[m.btc.GetType()]
	chain := len(m.btc.GetChainCode())
	switch {
	case !ok:
		return step{}, m.bad("no derivation type %d here", m.btc.GetType())
	case m.btc.GetVersion() != btcVersion:
		return step{}, m.bad("version %d, want %d", m.btc.GetVersion(), btcVersion)
	case m.btc.GetChildKeyIndex() > 1<<32-1:
		return step{}, m.bad("child index %d has more than 32 bits", m.btc.GetChildKeyIndex())
	case chain != chainCodeSize && (!s.master || chain != 0):
		return step{}, m.bad("a chain code of %d bytes, want %d", chain, chainCodeSize)
	case s.from && m.btc.GetChildKeyIndex() >= hardened:
		return step{}, m.bad("a public key has no hardened children")
	}
	return s, nil
}

// parent opens the base key: a seed, a private key or a public one. The key must be
// CKA_DERIVE and, unless it is public, CKA_IBM_USE_AS_DATA.
func (c *Card) parent(s step, t keyTemplate, base []byte) (node, error) {
	if s.from {
		return c.publicParent(s, t, base)
	}
	k, err := c.openKey(base)
	if err != nil {
		return node{}, err
	}
	for _, bit := range []uint64{ep11.BlobDerive, ep11.BlobUseAsData} {
		if err := k.wants(bit); err != nil {
			return node{}, err
		}
	}
	if s.master {
		return seed(s, t, k)
	}
	on, ok := k.kind.curve()
	if !ok {
		return node{}, refuse(ep11.CodeKeyTypeInconsistent, "a child key is derived from an EC key")
	}
	return node{on: on, secret: k.secret}, s.checkCurve(t, on)
}

func (c *Card) publicParent(s step, t keyTemplate, base []byte) (node, error) {
	k, err := c.openPublic(base)
	if err != nil {
		return node{}, err
	}
	on, ok := k.kind.curve()
	if !ok {
		return node{}, refuse(ep11.CodeKeyTypeInconsistent, "a child key is derived from an EC key")
	}
	if err := permitted(k.attributes, ep11.BlobDerive); err != nil {
		return node{}, err
	}
	return node{on: on, point: k.point}, s.checkCurve(t, on)
}

// seed takes a secret key as the seed of a master key. BIP-32 knows one curve only; for
// SLIP-0010 the template names the curve.
func seed(s step, t keyTemplate, k key) (node, error) {
	if !k.kind.isSecret() {
		return node{}, refuse(ep11.CodeKeyTypeInconsistent, "a master key is derived from a secret key")
	}
	if n := len(k.secret); n < minSeed || n > maxSeed {
		return node{}, refuse(ep11.CodeKeySizeRange, "a seed of %d bytes, want %d to %d", n, minSeed, maxSeed)
	}
	on := secp256k1
	switch {
	case s.slip && len(t.params) == 0:
		return node{}, refuse(ep11.CodeTemplateIncomplete, "the template lacks CKA_EC_PARAMS")
	case s.slip:
		var err error
		if on, err = wantCurve(t.params); err != nil {
			return node{}, err
		}
	}
	return node{on: on, secret: k.secret}, s.checkCurve(t, on)
}

// checkCurve refuses a template of another curve, BIP-32 on any curve but secp256k1, and
// SLIP-0010 on curves that are not of 256 bits.
func (s step) checkCurve(t keyTemplate, on curve) error {
	if !s.slip && on != secp256k1 {
		return refuse(ep11.CodeCurveNotSupported, "BIP-32 is of secp256k1 alone")
	}
	if on.size() != secretSize {
		return refuse(ep11.CodeCurveNotSupported, "SLIP-0010 is of curves of 256 bits")
	}
	if len(t.params) == 0 {
		return nil
	}
	named, err := wantCurve(t.params)
	switch {
	case err != nil:
		return err
	case named != on && !s.slip:
		return refuse(ep11.CodeCurveNotSupported, "BIP-32 is of secp256k1 alone")
	case named != on:
		return refuse(ep11.CodeTemplateInconsistent, "the template names another curve than the base key's")
	}
	return nil
}

// child derives one child. The public child of a private parent is the public key of the
// private child.
func (m mechanism) child(s step, parent node) (node, error) {
	index := uint32(m.btc.GetChildKeyIndex()) //nolint:gosec // step has checked
	var child node
	var ok bool
	switch {
	case s.master:
		child, ok = parent.master(s.slip)
	case parent.on == edwards25519 && index < hardened:
		return node{}, m.bad("Ed25519 has hardened children only: index %d", index)
	case s.from:
		child, ok = parent.publicChild(m.btc.GetChainCode(), index, s.slip)
	default:
		child, ok = parent.privateChild(m.btc.GetChainCode(), index, s.slip)
	}
	if !ok {
		return node{}, m.bad("there is no key at this index: take the next")
	}
	if s.public && child.point == nil {
		child.point, _ = child.on.publicPoint(child.secret)
	}
	return child, nil
}
