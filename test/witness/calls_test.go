package witness

import (
	"context"

	ibmep11 "github.com/IBM-Cloud/hpcs-grep11-go/ep11"
	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

// calls are the RPCs of the card as one client's generated code makes them.
type calls interface {
	list(ctx context.Context) (first uint64, err error)
	info(ctx context.Context, mech uint64) (low, high uint64, err error)
	random(ctx context.Context, n uint64) ([]byte, error)
	generate(ctx context.Context, params string) (priv, pub []byte, err error)
	signSingle(ctx context.Context, mech uint64, key, data []byte) ([]byte, error)
	signInit(ctx context.Context, mech uint64, key []byte) ([]byte, error)
	sign(ctx context.Context, state, data []byte) ([]byte, error)
	signUpdate(ctx context.Context, state, data []byte) ([]byte, error)
	signFinal(ctx context.Context, state []byte) ([]byte, error)
	verifySingle(ctx context.Context, mech uint64, key, data, signature []byte) error
	verifyInit(ctx context.Context, mech uint64, key []byte) ([]byte, error)
	verify(ctx context.Context, state, data, signature []byte) error
	verifyUpdate(ctx context.Context, state, data []byte) ([]byte, error)
	verifyFinal(ctx context.Context, state, signature []byte) error
}

// ibmCalls go through IBM's generated client.
type ibmCalls struct{ c ibm.CryptoClient }

func ibmMech(id uint64) *ibm.Mechanism { return &ibm.Mechanism{Mechanism: ibmep11.Mechanism(id)} }

func ibmTruth(b bool) *ibm.AttributeValue {
	return &ibm.AttributeValue{OneAttr: &ibm.AttributeValue_AttributeTF{AttributeTF: b}}
}

func (i ibmCalls) list(ctx context.Context) (uint64, error) {
	r, err := i.c.GetMechanismList(ctx, &ibm.GetMechanismListRequest{})
	if err != nil || len(r.Mechs) == 0 {
		return 0, err
	}
	return uint64(r.Mechs[0]), nil
}

func (i ibmCalls) info(ctx context.Context, mech uint64) (uint64, uint64, error) {
	r, err := i.c.GetMechanismInfo(ctx, &ibm.GetMechanismInfoRequest{Mech: ibmep11.Mechanism(mech)})
	if err != nil {
		return 0, 0, err
	}
	return r.MechInfo.MinKeySize, r.MechInfo.MaxKeySize, nil
}

func (i ibmCalls) random(ctx context.Context, n uint64) ([]byte, error) {
	r, err := i.c.GenerateRandom(ctx, &ibm.GenerateRandomRequest{Len: n})
	if err != nil {
		return nil, err
	}
	return r.Rnd, nil
}

func (i ibmCalls) generate(ctx context.Context, params string) ([]byte, []byte, error) {
	r, err := i.c.GenerateKeyPair(ctx, &ibm.GenerateKeyPairRequest{
		Mech: ibmMech(ep11.MechECKeyPairGen),
		PubKeyTemplate: map[ibmep11.Attribute]*ibm.AttributeValue{
			ibmep11.CKA_EC_PARAMS:   {OneAttr: &ibm.AttributeValue_AttributeB{AttributeB: []byte(params)}},
			ibmep11.CKA_VERIFY:      ibmTruth(true),
			ibmep11.CKA_EXTRACTABLE: ibmTruth(false),
		},
		PrivKeyTemplate: map[ibmep11.Attribute]*ibm.AttributeValue{
			ibmep11.CKA_SIGN: ibmTruth(true), ibmep11.CKA_EXTRACTABLE: ibmTruth(false),
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return r.PrivKeyBytes, r.PubKeyBytes, nil
}

func (i ibmCalls) signSingle(ctx context.Context, mech uint64, key, data []byte) ([]byte, error) {
	r, err := i.c.SignSingle(ctx, &ibm.SignSingleRequest{Mech: ibmMech(mech), PrivKey: key, Data: data})
	if err != nil {
		return nil, err
	}
	return r.Signature, nil
}

func (i ibmCalls) signInit(ctx context.Context, mech uint64, key []byte) ([]byte, error) {
	r, err := i.c.SignInit(ctx, &ibm.SignInitRequest{Mech: ibmMech(mech), PrivKey: key})
	if err != nil {
		return nil, err
	}
	return r.State, nil
}

func (i ibmCalls) sign(ctx context.Context, state, data []byte) ([]byte, error) {
	r, err := i.c.Sign(ctx, &ibm.SignRequest{State: state, Data: data})
	if err != nil {
		return nil, err
	}
	return r.Signature, nil
}

func (i ibmCalls) signUpdate(ctx context.Context, state, data []byte) ([]byte, error) {
	r, err := i.c.SignUpdate(ctx, &ibm.SignUpdateRequest{State: state, Data: data})
	if err != nil {
		return nil, err
	}
	return r.State, nil
}

func (i ibmCalls) signFinal(ctx context.Context, state []byte) ([]byte, error) {
	r, err := i.c.SignFinal(ctx, &ibm.SignFinalRequest{State: state})
	if err != nil {
		return nil, err
	}
	return r.Signature, nil
}

func (i ibmCalls) verifySingle(ctx context.Context, mech uint64, key, data, signature []byte) error {
	_, err := i.c.VerifySingle(ctx, &ibm.VerifySingleRequest{Mech: ibmMech(mech), PubKey: key, Data: data, Signature: signature})
	return err
}

func (i ibmCalls) verifyInit(ctx context.Context, mech uint64, key []byte) ([]byte, error) {
	r, err := i.c.VerifyInit(ctx, &ibm.VerifyInitRequest{Mech: ibmMech(mech), PubKey: key})
	if err != nil {
		return nil, err
	}
	return r.State, nil
}

func (i ibmCalls) verify(ctx context.Context, state, data, signature []byte) error {
	_, err := i.c.Verify(ctx, &ibm.VerifyRequest{State: state, Data: data, Signature: signature})
	return err
}

func (i ibmCalls) verifyUpdate(ctx context.Context, state, data []byte) ([]byte, error) {
	r, err := i.c.VerifyUpdate(ctx, &ibm.VerifyUpdateRequest{State: state, Data: data})
	if err != nil {
		return nil, err
	}
	return r.State, nil
}

func (i ibmCalls) verifyFinal(ctx context.Context, state, signature []byte) error {
	_, err := i.c.VerifyFinal(ctx, &ibm.VerifyFinalRequest{State: state, Signature: signature})
	return err
}

// ourCalls go through our generated client, keys in one dialect.
type ourCalls struct {
	c       pb.CryptoClient
	dialect grep11.Dialect
}

func ourMech(id uint64) *pb.Mechanism { return &pb.Mechanism{Mechanism: id} }

func ourTruth(b bool) *pb.AttributeValue {
	return &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeTF{AttributeTF: b}}
}

// fill sets a key's two fields.
func (o ourCalls) fill(key []byte) (raw []byte, message *pb.KeyBlob) {
	if o.dialect != grep11.V2 {
		raw = key
	}
	if o.dialect != grep11.V1 {
		message = &pb.KeyBlob{KeyBlobs: [][]byte{key}}
	}
	return raw, message
}

func (o ourCalls) list(ctx context.Context) (uint64, error) {
	r, err := o.c.GetMechanismList(ctx, &pb.GetMechanismListRequest{})
	if err != nil || len(r.GetMechs()) == 0 {
		return 0, err
	}
	return r.GetMechs()[0], nil
}

func (o ourCalls) info(ctx context.Context, mech uint64) (uint64, uint64, error) {
	r, err := o.c.GetMechanismInfo(ctx, &pb.GetMechanismInfoRequest{Mech: mech})
	return r.GetMechInfo().GetMinKeySize(), r.GetMechInfo().GetMaxKeySize(), err
}

func (o ourCalls) random(ctx context.Context, n uint64) ([]byte, error) {
	r, err := o.c.GenerateRandom(ctx, &pb.GenerateRandomRequest{Len: n})
	return r.GetRnd(), err
}

// generate takes the keys from the fields of the dialect; a KeyBlob for either in v2.
func (o ourCalls) generate(ctx context.Context, params string) ([]byte, []byte, error) {
	r, err := o.c.GenerateKeyPair(ctx, &pb.GenerateKeyPairRequest{
		Mech: ourMech(ep11.MechECKeyPairGen),
		PubKeyTemplate: map[uint64]*pb.AttributeValue{
			ep11.AttrECParams: {OneAttr: &pb.AttributeValue_AttributeB{AttributeB: []byte(params)}},
			ep11.AttrVerify:   ourTruth(true),
		},
		PrivKeyTemplate: map[uint64]*pb.AttributeValue{
			ep11.AttrSign: ourTruth(true), ep11.AttrExtractable: ourTruth(false),
		},
	})
	if err != nil {
		return nil, nil, err
	}
	priv, pub := r.GetPrivKey().GetKeyBlobs(), r.GetPubKey().GetKeyBlobs()
	if o.dialect == grep11.V2 && len(priv) == 1 && len(pub) == 1 {
		return priv[0], pub[0], nil
	}
	return r.GetPrivKeyBytes(), r.GetPubKeyBytes(), nil
}

func (o ourCalls) signSingle(ctx context.Context, mech uint64, key, data []byte) ([]byte, error) {
	raw, message := o.fill(key)
	r, err := o.c.SignSingle(ctx, &pb.SignSingleRequest{Mech: ourMech(mech), PrivKeyBytes: raw, PrivKey: message, Data: data})
	return r.GetSignature(), err
}

func (o ourCalls) signInit(ctx context.Context, mech uint64, key []byte) ([]byte, error) {
	raw, message := o.fill(key)
	r, err := o.c.SignInit(ctx, &pb.SignInitRequest{Mech: ourMech(mech), PrivKeyBytes: raw, PrivKey: message})
	return r.GetState(), err
}

func (o ourCalls) sign(ctx context.Context, state, data []byte) ([]byte, error) {
	r, err := o.c.Sign(ctx, &pb.SignRequest{State: state, Data: data})
	return r.GetSignature(), err
}

func (o ourCalls) signUpdate(ctx context.Context, state, data []byte) ([]byte, error) {
	r, err := o.c.SignUpdate(ctx, &pb.SignUpdateRequest{State: state, Data: data})
	return r.GetState(), err
}

func (o ourCalls) signFinal(ctx context.Context, state []byte) ([]byte, error) {
	r, err := o.c.SignFinal(ctx, &pb.SignFinalRequest{State: state})
	return r.GetSignature(), err
}

func (o ourCalls) verifySingle(ctx context.Context, mech uint64, key, data, signature []byte) error {
	raw, message := o.fill(key)
	_, err := o.c.VerifySingle(ctx, &pb.VerifySingleRequest{
		Mech: ourMech(mech), PubKeyBytes: raw, PubKey: message, Data: data, Signature: signature,
	})
	return err
}

func (o ourCalls) verifyInit(ctx context.Context, mech uint64, key []byte) ([]byte, error) {
	raw, message := o.fill(key)
	r, err := o.c.VerifyInit(ctx, &pb.VerifyInitRequest{Mech: ourMech(mech), PubKeyBytes: raw, PubKey: message})
	return r.GetState(), err
}

func (o ourCalls) verify(ctx context.Context, state, data, signature []byte) error {
	_, err := o.c.Verify(ctx, &pb.VerifyRequest{State: state, Data: data, Signature: signature})
	return err
}

func (o ourCalls) verifyUpdate(ctx context.Context, state, data []byte) ([]byte, error) {
	r, err := o.c.VerifyUpdate(ctx, &pb.VerifyUpdateRequest{State: state, Data: data})
	return r.GetState(), err
}

func (o ourCalls) verifyFinal(ctx context.Context, state, signature []byte) error {
	_, err := o.c.VerifyFinal(ctx, &pb.VerifyFinalRequest{State: state, Signature: signature})
	return err
}
