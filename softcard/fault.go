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

// Fault makes calls of a card go wrong, for tests of its clients. It must not change after
// SetFaults.
//
// Key, Data and everything that changes a signature apply to SignSingle; the rest applies
// to any call.
type Fault struct {
	// Which calls it hits. A zero field does not limit them.
	Call  string // name of the call, e.g. SignSingle
	Key   []byte // blob of the private key
	Data  []byte // the bytes to be signed
	Skip  int    // so many of these calls go well first
	Times int    // so many are hit then; 0 means all

	// What happens to them, in the order of a call.
	Delay        time.Duration                 // wait before the card begins
	Hang         bool                          // wait until the caller leaves
	Err          error                         // answer with this, a Refusal or a gRPC status, and sign nothing
	OtherMessage bool                          // sign the data with one bit flipped
	OtherKey     bool                          // sign with a new key of the same curve
	HighS        bool                          // make S larger than half the order, for Ed25519 larger than the order
	Spoil        func(signature []byte) []byte // replace the signature; many goroutines call it at once
	Late         time.Duration                 // hold the answer back, even if the caller has left
	Cut          bool                          // close the connection instead of answering, for all calls on it

	met, hits atomic.Int64
}

// SetFaults sets the faults of all calls from now on; each call suffers the first fault
// that hits it. Without faults the card works. Calls that were hit already stay hit.
// SetFaults may be called while the card serves.
func (c *Card) SetFaults(faults ...*Fault) { c.faults.Store(&faults) }

// Hits returns how many calls the fault has hit.
func (f *Fault) Hits() int { return int(f.hits.Load()) }

// Refusal is the answer of a card that refuses a call with a return code, for Fault.Err.
func Refusal(code ep11.Code) error { return refuse(code, "as the fault wants it") }

// Unavailable is the answer of a server that cannot reach its card, for Fault.Err.
func Unavailable() error { return status.Error(codes.Unavailable, "as the fault wants it") }

// FlipBits returns a Spoil that flips these bits. Bit 0 is the lowest bit of the first
// byte.
func FlipBits(bits ...int) func(signature []byte) []byte {
	return func(signature []byte) []byte {
		for _, bit := range bits {
			signature[bit/8] ^= 1 << (bit % 8)
		}
		return signature
	}
}

// Resize returns a Spoil that cuts the signature or appends zeros.
func Resize(size int) func(signature []byte) []byte {
	return func(signature []byte) []byte {
		return append(signature, make([]byte, max(0, size-len(signature)))...)[:size]
	}
}

// hit is a call with the fault that hits it. Its Fault is nil for a call that goes well.
type hit struct {
	*Fault
	card  *Card
	curve curve // of the key; 0 if the card cannot open it
}

// hitBy finds the fault of a call.
func (c *Card) hitBy(call string, request any) hit {
	faults := c.faults.Load()
	if faults == nil || len(*faults) == 0 {
		return hit{}
	}
	sign, _ := request.(*pb.SignSingleRequest) // other requests: nil, whose getters return zero values
	blob, _ := blobOf(sign.GetPrivKeyBytes(), sign.GetPrivKey())
	for _, f := range *faults {
		if f.names(call, blob, sign.GetData()) && f.counts() {
			key, _ := c.openPrivate(blob) // a key that is not ours has no curve
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

// counts counts the call and reports whether Skip and Times let the fault hit it.
func (f *Fault) counts() bool {
	n := int(f.met.Add(1)) - f.Skip
	if n <= 0 || f.Times > 0 && n > f.Times {
		return false
	}
	f.hits.Add(1)
	return true
}

// faultError is sent as it is: answered leaves it alone.
type faultError struct{ error }

// before runs before the card carries out the request, which it may change.
func (h hit) before(ctx context.Context, request any) error {
	if h.Fault == nil {
		return nil
	}
	if err := wait(ctx, h.Delay); err != nil {
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

// change changes what is to be signed, or with which key.
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

// after runs after the card has answered, and may change the answer.
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
		h.card.conns.cut(ctx)
		return nil, faultError{Unavailable()} // nobody hears it
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

// highS returns the signature with S in the upper half; for Ed25519, with the order added
// to S, which RFC 8032 section 5.1.7 has verifiers refuse.
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
