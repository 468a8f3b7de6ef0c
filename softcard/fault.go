package softcard

import (
	"bytes"
	"context"
	"math/big"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// Fault is what goes wrong with calls of a card, for tests of its clients. It is
// not to be changed once it was given to SetFaults.
//
// Key, Data and all that changes a signature are of SignSingle; the rest is of any
// call that the card has.
type Fault struct {
	// Which calls are hit. What is left out does not limit.
	Call  string // name of the call, SignSingle for one
	Key   []byte // blob of the private key
	Data  []byte // what is to be signed
	Skip  int    // so many of these calls go well before
	Times int    // so many are hit then; 0 is all

	// What happens to them, in the order of a call.
	Delay        time.Duration                 // before the card begins
	Hang         bool                          // nothing more, until the caller leaves
	Err          error                         // is the answer, a Refusal or a status of gRPC; nothing is signed
	OtherMessage bool                          // one bit of the data is another one
	OtherKey     bool                          // a new key of the same curve signs
	HighS        bool                          // S is over half the order, for Ed25519 over the order
	Spoil        func(signature []byte) []byte // gives what is sent instead; many goroutines call it
	Late         time.Duration                 // the answer waits, and does not look whether the caller has left
	Cut          bool                          // the connection ends instead of the answer, for all calls on it

	met, hits atomic.Int64
}

// SetFaults has the card fail as the faults say, from now on: of each call as the
// first one that hits it. Without one the card is whole. Calls that were hit
// before stay so. It may be called while the card serves.
func (c *Card) SetFaults(faults ...*Fault) { c.faults.Store(&faults) }

// Hits is how many calls the fault has hit so far.
func (f *Fault) Hits() int { return int(f.hits.Load()) }

// Refusal is the answer of a card that refuses a call with a return code, for Fault.
func Refusal(code ep11.Code) error { return refuse(code, "as the fault wants it") }

// Unavailable is the answer of a server that does not reach its card, for Fault.
func Unavailable() error { return status.Error(codes.Unavailable, "as the fault wants it") }

// FlipBits gives a Spoil that changes these bits, of which 0 is the lowest of the first byte.
func FlipBits(bits ...int) func(signature []byte) []byte {
	return func(signature []byte) []byte {
		for _, bit := range bits {
			signature[bit/8] ^= 1 << (bit % 8)
		}
		return signature
	}
}

// Resize gives a Spoil that cuts the signature or adds zeros.
func Resize(size int) func(signature []byte) []byte {
	return func(signature []byte) []byte {
		return append(signature, make([]byte, max(0, size-len(signature)))...)[:size]
	}
}

// hit is a call with the fault that hits it. Without a fault it is a call that goes well.
type hit struct {
	*Fault
	card  *Card
	curve curve // of the key; 0 when the card cannot open it
}

// hitBy finds the fault of a call.
func (c *Card) hitBy(call string, request any) hit {
	faults := c.faults.Load()
	if faults == nil || len(*faults) == 0 {
		return hit{}
	}
	sign, _ := request.(*pb.SignSingleRequest) // getters of nil give nothing
	blob, _ := blobOf(sign.GetPrivKeyBytes(), sign.GetPrivKey())
	for _, f := range *faults {
		if f.names(call, blob, sign.GetData()) && f.counts() {
			key, _ := c.openPrivate(blob) // what is no key of ours has no curve
			return hit{f, c, key.curve}
		}
	}
	return hit{}
}

func (f *Fault) names(call string, blob, data []byte) bool {
	return (f.Call == "" || f.Call == call) &&
		(f.Key == nil || bytes.Equal(f.Key, blob)) &&
		(f.Data == nil || bytes.Equal(f.Data, data))
}

// counts says whether it is this call's turn, by Skip and Times.
func (f *Fault) counts() bool {
	n := int(f.met.Add(1)) - f.Skip
	if n <= 0 || f.Times > 0 && n > f.Times {
		return false
	}
	f.hits.Add(1)
	return true
}

// faultError is the answer that a fault wants, as it is.
type faultError struct{ error }

// before is what happens until the card carries out the request, which it may change.
func (h hit) before(ctx context.Context, request any) error {
	if h.Fault == nil {
		return nil
	}
	if err := linger(ctx, h.Delay); err != nil {
		return err
	}
	if h.Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if h.Err != nil {
		return faultError{h.Err}
	}
	if sign, ok := request.(*pb.SignSingleRequest); ok {
		return h.change(sign)
	}
	return nil
}

// change makes another request of it.
func (h hit) change(request *pb.SignSingleRequest) error {
	if h.OtherMessage && len(request.GetData()) > 0 {
		request.Data[0] ^= 1
	}
	if !h.OtherKey || h.curve == 0 {
		return nil
	}
	secret, _, err := h.curve.generate()
	if err != nil {
		return err
	}
	request.PrivKey = nil
	request.PrivKeyBytes, err = h.card.sealPrivate(privateKey{h.curve, ep11.BlobSign, secret})
	return err
}

// after is what becomes of the card's answer.
func (h hit) after(ctx context.Context, response any, err error) (any, error) {
	if h.Fault == nil {
		return response, err
	}
	if signed, ok := response.(*pb.SignSingleResponse); ok && err == nil {
		signed.Signature = h.spoilt(signed.GetSignature())
	}
	if h.Late > 0 {
		<-time.After(h.Late)
	}
	if h.Cut {
		h.card.lines.cut(ctx)
		return nil, faultError{Unavailable()} // which nobody hears
	}
	return response, err
}

func (h hit) spoilt(signature []byte) []byte {
	if h.HighS && h.curve != 0 {
		signature = h.curve.highS(signature)
	}
	if h.Spoil != nil {
		signature = h.Spoil(signature)
	}
	return signature
}

// highS gives the signature with S in the upper half, and of Ed25519 with S plus the
// order, which RFC 8032 section 5.1.7 has verifiers refuse.
func (c curve) highS(signature []byte) []byte {
	high := slices.Clone(signature)
	half := high[len(high)/2:]
	if c == edwards25519 {
		slices.Reverse(half) // little-endian
		s := new(big.Int).SetBytes(half)
		s.Add(s, c.order()).FillBytes(half)
		slices.Reverse(half)
		return high
	}
	if s := new(big.Int).SetBytes(half); s.Cmp(new(big.Int).Rsh(c.order(), 1)) <= 0 {
		s.Sub(c.order(), s).FillBytes(half)
	}
	return high
}
