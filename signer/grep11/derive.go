package grep11

import (
	"context"
	"errors"
	"fmt"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// Seeds of SLIP-0010 have 128 to 512 bits (section "Master key generation").
const (
	MinSeedSize = 16 // bytes
	MaxSeedSize = 64
)

// Hardened is added to the index of a hardened child (BIP-32, "Extended keys").
const Hardened uint32 = 1 << 31

// MaxDepth is how many levels a path may have: BIP-32 counts them in one byte.
const MaxDepth = 255

// chainCodeSize is the length of a chain code in bytes (BIP-32, "Extended keys").
const chainCodeSize = 32

// CheckPath returns nil when keys of the kind can be derived along the path, which has
// an index for each level: 1 to 255 levels, all of them hardened for tz1 (SLIP-0010:
// Ed25519 has no other children).
func CheckPath(kind tezos.KeyKind, path []uint32) error {
	if _, err := methodOf(kind); err != nil {
		return err
	}
	if len(path) == 0 || len(path) > MaxDepth {
		return fmt.Errorf("a path has 1 to %d levels, this one has %d", MaxDepth, len(path))
	}
	for i, index := range path {
		if kind == tezos.Ed25519 && index < Hardened {
			return fmt.Errorf("level %d, %d: tz1 keys have hardened children only: write %d'", i+1, index, index)
		}
	}
	return nil
}

// GenerateSeed makes a seed of 64 bytes in the HSM, from which Derive makes keys. It
// cannot leave the HSM: the blob is all there is of it.
func (c *Client) GenerateSeed(ctx context.Context) (ep11.Blob, error) {
	return c.generateKey(ctx, ep11.MechGenericSecretKeyGen, seedTemplate(MaxSeedSize))
}

// ImportSeed brings a clear seed of 16 to 64 bytes into the HSM, in the way of Import
// and with its limits. The caller zeroes the seed.
func (c *Client) ImportSeed(ctx context.Context, seed []byte) (ep11.Blob, error) {
	if len(seed) < MinSeedSize || len(seed) > MaxSeedSize {
		return nil, fmt.Errorf("a seed of %d bytes: want %d to %d", len(seed), MinSeedSize, MaxSeedSize)
	}
	response, err := c.wrapIn(ctx, seed, seedTemplate(len(seed)))
	if err != nil {
		return nil, err
	}
	blob, err := keptBlob(response.GetUnwrapped(), response.GetUnwrappedBytes())
	if err != nil {
		return nil, fmt.Errorf("UnwrapKey: %v", err)
	}
	return blob, nil
}

// seedTemplate is that of IBM's example of SLIP-0010 (hpcs-grep11-go, slip10_test.go).
func seedTemplate(size int) map[uint64]*pb.AttributeValue {
	return map[uint64]*pb.AttributeValue{
		ep11.AttrClass:        number(ep11.ClassSecretKey),
		ep11.AttrKeyType:      number(ep11.KeyTypeGenericSecret),
		ep11.AttrValueLen:     number(int64(size)),
		ep11.AttrSign:         truth(true),
		ep11.AttrVerify:       truth(true),
		ep11.AttrDerive:       truth(true),
		ep11.AttrIBMUseAsData: truth(true),
		ep11.AttrExtractable:  truth(false),
	}
}

// extended is a key with the chain code that its children need.
type extended struct {
	blob  ep11.Blob
	chain []byte
}

// Derive makes a key from a seed in the HSM, along a path that CheckPath allows, as
// SLIP-0010 says; for secp256k1 that is BIP-32. The answer is checked as that of
// Generate is. Chain codes pass through here in clear, and are zeroed.
func (c *Client) Derive(ctx context.Context, kind tezos.KeyKind, seed ep11.Blob, path []uint32) (Generated, error) {
	if err := CheckPath(kind, path); err != nil {
		return Generated{}, err
	}
	method, err := methodOf(kind)
	if err != nil {
		return Generated{}, err
	}
	key, err := c.child(ctx, method.curve, pb.BTCDeriveParm_CkSLIP0010MASTERK, extended{blob: seed}, 0)
	if err != nil {
		return Generated{}, fmt.Errorf("the seed's master key: %w", err)
	}
	var parent extended
	for i, index := range path {
		clear(parent.chain)
		parent = key
		if key, err = c.child(ctx, method.curve, pb.BTCDeriveParm_CkSLIP0010PRV2PRV, parent, index); err != nil {
			clear(parent.chain)
			return Generated{}, fmt.Errorf("level %d: %w", i+1, err)
		}
	}
	clear(key.chain)
	defer clear(parent.chain)
	return c.withPublic(ctx, kind, key.blob, parent, path[len(path)-1])
}

// withPublic derives the public key beside a private one, from the parent of both.
func (c *Client) withPublic(
	ctx context.Context, kind tezos.KeyKind, blob ep11.Blob, parent extended, index uint32,
) (Generated, error) {
	method, err := methodOf(kind)
	if err != nil {
		return Generated{}, err
	}
	response, err := c.derive(ctx, method.curve, pb.BTCDeriveParm_CkSLIP0010PRV2PUB, parent, index)
	if err != nil {
		return Generated{}, fmt.Errorf("the public key: %w", err)
	}
	clear(response.GetCheckSum())
	maced, err := onlyBlob(response.GetNewKey(), response.GetNewKeyBytes())
	if err != nil {
		return Generated{}, fmt.Errorf("DeriveKey: the public key: %v", err)
	}
	public, spki, err := parseSPKI(maced)
	switch {
	case err != nil:
		return Generated{}, fmt.Errorf("DeriveKey: %v", err)
	case public.Kind() != kind:
		return Generated{}, fmt.Errorf("DeriveKey: asked for a %v key, got %v", kind, public.Kind())
	}
	return Generated{Blob: blob, PublicKey: public, SPKI: spki}, nil
}

// child derives a private key.
func (c *Client) child(
	ctx context.Context, curve string, step pb.BTCDeriveParm_BTCDeriveType, parent extended, index uint32,
) (extended, error) {
	response, err := c.derive(ctx, curve, step, parent, index)
	if err != nil {
		return extended{}, err
	}
	blob, err := keptBlob(response.GetNewKey(), response.GetNewKeyBytes())
	if err != nil {
		return extended{}, fmt.Errorf("DeriveKey: %v", err)
	}
	if len(response.GetCheckSum()) != chainCodeSize {
		return extended{}, errors.New("DeriveKey: the server sent no chain code")
	}
	return extended{blob, response.GetCheckSum()}, nil
}

// derive makes one step.
func (c *Client) derive(
	ctx context.Context, curve string, step pb.BTCDeriveParm_BTCDeriveType, parent extended, index uint32,
) (*pb.DeriveKeyResponse, error) {
	request := &pb.DeriveKeyRequest{
		Mech: &pb.Mechanism{
			Mechanism: ep11.MechIBMBTCDerive,
			Parameter: &pb.Mechanism_BTCDeriveParameter{BTCDeriveParameter: &pb.BTCDeriveParm{
				Type: step, ChildKeyIndex: uint64(index), ChainCode: parent.chain, Version: 1,
			}},
		},
		Template: childTemplate(curve, step),
	}
	request.BaseKeyBytes, request.BaseKey = c.inDialect(parent.blob)
	response, err := call(ctx, c, "DeriveKey", c.crypto.DeriveKey, request)
	if err != nil && parent.chain != nil {
		err = wordless(err)
	}
	return response, err
}

// childTemplate is that of IBM's example of SLIP-0010, and CKA_SIGN for the keys that
// are to sign.
func childTemplate(curve string, step pb.BTCDeriveParm_BTCDeriveType) map[uint64]*pb.AttributeValue {
	template := map[uint64]*pb.AttributeValue{
		ep11.AttrKeyType:      number(ep11.KeyTypeEC),
		ep11.AttrValueLen:     number(0),
		ep11.AttrECParams:     {OneAttr: &pb.AttributeValue_AttributeB{AttributeB: []byte(curve)}},
		ep11.AttrVerify:       truth(true),
		ep11.AttrDerive:       truth(true),
		ep11.AttrIBMUseAsData: truth(true),
		ep11.AttrExtractable:  truth(false),
	}
	if step == pb.BTCDeriveParm_CkSLIP0010PRV2PRV {
		template[ep11.AttrSign] = truth(true)
	}
	return template
}
