package softcard_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// broken is a card that is served, with a key to try faults on.
type broken struct {
	*softcard.Card
	curve  testCurve
	pair   *pb.GenerateKeyPairResponse
	conn   *grpc.ClientConn
	crypto pb.CryptoClient
	signed chan []byte // signatures that the card has made
}

var faultDigest = bytes.Repeat([]byte{0x5a}, 32)

func newBroken(t *testing.T, curve testCurve) *broken {
	t.Helper()
	card, signed := cardtest.New(t, 1), make(chan []byte, 100)
	card.OnSign = func(data, _ []byte) { signed <- data }
	conn := cardtest.Connect(t, cardtest.Serve(t, card, "").Address)
	return &broken{card, curve, curve.pair(t, direct(card)), conn, pb.NewCryptoClient(conn), signed}
}

// sign asks for a signature and gives up after a while.
func (b *broken) sign(t *testing.T, data []byte, patience time.Duration) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	response, err := b.crypto.SignSingle(ctx, &pb.SignSingleRequest{
		PrivKeyBytes: b.pair.GetPrivKeyBytes(), Mech: mech(b.curve.mech), Data: data,
	})
	return response.GetSignature(), err
}

// good fails the test unless the card makes a signature that verifies.
func (b *broken) good(t *testing.T, when string) {
	t.Helper()
	signature, err := b.sign(t, faultDigest, time.Minute)
	if err != nil || !b.curve.verifies(t, b.pair.GetPubKeyBytes(), faultDigest, signature) {
		t.Errorf("%s, %s: %x, %v; want a good signature", b.curve.name, when, signature, err)
	}
}

// A fault that changes signatures works on every curve, passes the true signature to
// OnSign, and ends with SetFaults.
func TestSignatureFaults(t *testing.T) {
	t.Parallel()
	for _, curve := range testCurves {
		b := newBroken(t, curve)
		for _, test := range []struct {
			name  string
			fault *softcard.Fault
			size  int
		}{
			{"another message", &softcard.Fault{OtherMessage: true}, 64},
			{"another key", &softcard.Fault{OtherKey: true}, 64},
			{"first bit", &softcard.Fault{Spoil: softcard.FlipBits(0)}, 64},
			{"last bit", &softcard.Fault{Spoil: softcard.FlipBits(511)}, 64},
			{"two bits", &softcard.Fault{Spoil: softcard.FlipBits(7, 300)}, 64},
			{"empty", &softcard.Fault{Spoil: softcard.Resize(0)}, 0},
			{"short", &softcard.Fault{Spoil: softcard.Resize(63)}, 63},
			{"long", &softcard.Fault{Spoil: softcard.Resize(65)}, 65},
		} {
			b.SetFaults(test.fault)
			signature, err := b.sign(t, faultDigest, time.Minute)
			data := <-b.signed
			if err != nil || len(signature) != test.size {
				t.Errorf("%s, %s: %d bytes, %v; want %d", curve.name, test.name, len(signature), err, test.size)
			} else if test.size == 64 && curve.verifies(t, b.pair.GetPubKeyBytes(), faultDigest, signature) {
				t.Errorf("%s, %s: the signature is good", curve.name, test.name)
			}
			if other := !bytes.Equal(data, faultDigest); other != test.fault.OtherMessage {
				t.Errorf("%s, %s: OnSign was told %x", curve.name, test.name, data)
			}
			if test.fault.OtherMessage && !curve.verifies(t, b.pair.GetPubKeyBytes(), data, signature) {
				t.Errorf("%s, %s: not even a signature of that message", curve.name, test.name)
			}
			b.SetFaults()
			b.good(t, "after "+test.name)
			<-b.signed
		}
	}
}

// S is always high; without the fault about half of them are. Such an Ed25519 signature
// does not verify.
func TestHighSFault(t *testing.T) {
	t.Parallel()
	for _, curve := range testCurves {
		b := newBroken(t, curve)
		b.SetFaults(&softcard.Fault{HighS: true})
		for range 20 {
			signature, err := b.sign(t, faultDigest, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			good := curve.verifies(t, b.pair.GetPubKeyBytes(), faultDigest, signature)
			if ecdsa := curve.order != ""; good != ecdsa || ecdsa && !curve.highS(t, signature) {
				t.Errorf("%s: %x: verifies %v", curve.name, signature, good)
			}
		}
	}
}

// Other keys, data and calls are served, and so are calls before Skip and after Times.
func TestFaultHitsWhatItNames(t *testing.T) {
	t.Parallel()
	b := newBroken(t, testCurves[0])
	refused := softcard.Refusal(ep11.CodeDeviceError)
	for _, test := range []struct {
		name  string
		fault *softcard.Fault
		bad   []bool // the calls in their order
	}{
		{"all", &softcard.Fault{Err: refused}, []bool{true, true, true}},
		{"this call", &softcard.Fault{Call: "SignSingle", Err: refused}, []bool{true, true}},
		{"another call", &softcard.Fault{Call: "GetMechanismList", Err: refused}, []bool{false, false}},
		{"this key", &softcard.Fault{Key: b.pair.GetPrivKeyBytes(), Err: refused}, []bool{true, true}},
		{"another key", &softcard.Fault{Key: testCurves[1].pair(t, direct(b.Card)).GetPrivKeyBytes(), Err: refused}, []bool{false, false}},
		{"this data", &softcard.Fault{Data: faultDigest, Err: refused}, []bool{true, true}},
		{"other data", &softcard.Fault{Data: faultDigest[1:], Err: refused}, []bool{false, false}},
		{"the next two", &softcard.Fault{Times: 2, Err: refused}, []bool{true, true, false, false}},
		{"the third", &softcard.Fault{Skip: 2, Times: 1, Err: refused}, []bool{false, false, true, false}},
		{"from the second on", &softcard.Fault{Skip: 1, Err: refused}, []bool{false, true, true}},
	} {
		b.SetFaults(test.fault)
		hits := 0
		for i, bad := range test.bad {
			if _, err := b.sign(t, faultDigest, time.Minute); (err != nil) != bad {
				t.Errorf("%s, call %d: %v, want an error: %v", test.name, i, err, bad)
			}
			if bad {
				hits++
			}
		}
		if test.fault.Hits() != hits {
			t.Errorf("%s: %d hits, want %d", test.name, test.fault.Hits(), hits)
		}
	}
}

// Of several faults the first one that hits a call counts.
func TestFirstFaultThatHits(t *testing.T) {
	t.Parallel()
	b := newBroken(t, testCurves[0])
	b.SetFaults(
		&softcard.Fault{Times: 1, Err: softcard.Refusal(ep11.CodeIBMBlobError)},
		&softcard.Fault{Err: softcard.Refusal(ep11.CodeIBMWKIDMismatch)},
	)
	for _, want := range []ep11.Code{ep11.CodeIBMBlobError, ep11.CodeIBMWKIDMismatch} {
		_, err := b.sign(t, faultDigest, time.Minute)
		wantCode(t, err, want)
	}
	if _, err := b.crypto.GetMechanismList(t.Context(), &pb.GetMechanismListRequest{}); err == nil {
		t.Error("a fault of every call leaves out GetMechanismList")
	}
}

func TestUnavailableFault(t *testing.T) {
	t.Parallel()
	b := newBroken(t, testCurves[0])
	b.SetFaults(&softcard.Fault{Err: softcard.Unavailable()})
	if _, err := b.sign(t, faultDigest, time.Minute); status.Code(err) != codes.Unavailable || len(status.Convert(err).Details()) != 0 || len(b.signed) != 0 {
		t.Errorf("%v after %d signatures, want Unavailable without a Grep11Error and without any", err, len(b.signed))
	}
}

// A caller who leaves is let go, other calls go on meanwhile, and a caller who waits is
// answered unless the call hangs.
func TestSlowFaults(t *testing.T) {
	t.Parallel()
	const long = 300 * time.Millisecond
	b := newBroken(t, testCurves[0])
	for _, test := range []struct {
		name  string
		fault *softcard.Fault
		signs bool // before it waits
		hangs bool
	}{
		{"delay", &softcard.Fault{Delay: long}, false, false},
		{"late", &softcard.Fault{Late: long}, true, false},
		{"hang", &softcard.Fault{Hang: true}, false, true},
	} {
		test.fault.Data = faultDigest
		b.SetFaults(test.fault)
		b.leave(t, test.name, test.fault, test.signs)
		if n := len(b.signed); n != 0 {
			t.Errorf("%s: %d signatures for a caller who left", test.name, n)
		}
		if _, err := b.sign(t, faultDigest[1:], time.Minute); err != nil {
			t.Errorf("%s: another call: %v", test.name, err)
		}
		<-b.signed
		patience := time.Minute
		if test.hangs {
			patience = long
		}
		start := time.Now()
		if _, err := b.sign(t, faultDigest, patience); test.hangs != (err != nil) || time.Since(start) < long {
			t.Errorf("%s: a caller who waits: %v after %v", test.name, err, time.Since(start))
		}
		for len(b.signed) > 0 {
			<-b.signed
		}
	}
}

// If a caller's time ends at the card first, the answer is that of its own deadline,
// without a return code.
func TestAnEndedCallHasNoCode(t *testing.T) {
	t.Parallel()
	for ended, want := range map[error]codes.Code{context.DeadlineExceeded: codes.DeadlineExceeded, context.Canceled: codes.Canceled} {
		if err := softcard.Answered(ended); status.Code(err) != want || len(status.Convert(err).Details()) != 0 {
			t.Errorf("%v: %v, want %v without a code of the card", ended, err, want)
		}
	}
}

// leave makes a call and cancels it once the fault has hit and, if it signs, has signed.
func (b *broken) leave(t *testing.T, name string, fault *softcard.Fault, signs bool) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := b.crypto.SignSingle(ctx, &pb.SignSingleRequest{
			PrivKeyBytes: b.pair.GetPrivKeyBytes(), Mech: mech(b.curve.mech), Data: faultDigest,
		})
		answered <- err
	}()
	b.hit(t, fault)
	if signs {
		<-b.signed
	}
	leave()
	if err := <-answered; status.Code(err) != codes.Canceled {
		t.Errorf("%s: a caller who leaves: %v", name, err)
	}
}

// hit waits until the fault has hit a call.
func (b *broken) hit(t *testing.T, fault *softcard.Fault) {
	t.Helper()
	for start := time.Now(); fault.Hits() == 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal("the fault hits nothing")
		}
	}
}

// The card signs, and the connection closes instead of the answer. The next call has a new
// connection.
func TestCutFault(t *testing.T) {
	t.Parallel()
	b := newBroken(t, testCurves[0])
	b.SetFaults(&softcard.Fault{Call: "SignSingle", Cut: true, Times: 1})
	_, err := b.sign(t, faultDigest, time.Minute)
	if status.Code(err) != codes.Unavailable || len(b.signed) != 1 {
		t.Errorf("%v after %d signatures, want Unavailable after one", err, len(b.signed))
	}
	b.reconnect(t)
	b.good(t, "after the cut")
}

// A caller on another connection is not disturbed.
func TestCutFaultIsOfOneConnection(t *testing.T) {
	t.Parallel()
	b := newBroken(t, testCurves[0])
	other := *b
	conn, err := grpc.NewClient(b.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	other.crypto = pb.NewCryptoClient(conn)
	other.good(t, "before the cut")
	held := &softcard.Fault{Data: faultDigest, Late: 300 * time.Millisecond, Times: 1}
	b.SetFaults(held, &softcard.Fault{Data: faultDigest[1:], Cut: true})
	answered := make(chan error, 1)
	go func() {
		_, err := other.sign(t, faultDigest, time.Minute)
		answered <- err
	}()
	b.hit(t, held)
	if _, err := b.sign(t, faultDigest[1:], time.Minute); status.Code(err) != codes.Unavailable {
		t.Errorf("cut: %v", err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the other connection: %v", err)
	}
}

// Cut closes every connection, and the calls on them fail.
func TestCut(t *testing.T) {
	t.Parallel()
	b := newBroken(t, testCurves[0])
	hang := &softcard.Fault{Hang: true, Times: 1}
	b.SetFaults(hang)
	answered := make(chan error, 1)
	go func() {
		_, err := b.sign(t, faultDigest, time.Minute)
		answered <- err
	}()
	b.hit(t, hang)
	b.Cut()
	if err := <-answered; status.Code(err) != codes.Unavailable {
		t.Errorf("the call in flight: %v, want Unavailable", err)
	}
	b.reconnect(t)
	b.good(t, "after the cut")
	cardtest.New(t, 1).Cut() // a card without connections
}

// reconnect waits until a call succeeds again.
func (b *broken) reconnect(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := b.crypto.GetMechanismList(ctx, &pb.GetMechanismListRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
}
