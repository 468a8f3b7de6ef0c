package grep11_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/signer/hsm"
	"pawl/tezos"
)

func TestParseDialect(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]grep11.Dialect{"": grep11.Both, "both": grep11.Both, "v1": grep11.V1, "v2": grep11.V2} {
		if got, err := grep11.ParseDialect(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"V1", "v3", " both"} {
		if got, err := grep11.ParseDialect(text); err == nil || got != "" {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestDialRefusesBadConfiguration(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg  grep11.Config
		want string
	}{
		"no address":          {grep11.Config{}, "want host:port"},
		"no port":             {grep11.Config{Address: "hsm.example"}, "want host:port"},
		"no host":             {grep11.Config{Address: ":9876"}, "want host:port"},
		"scheme":              {grep11.Config{Address: "https://hsm.example:9876"}, "want host:port"},
		"port name":           {grep11.Config{Address: "hsm.example:grep11"}, "not a number from 1 to 65535"},
		"port 0":              {grep11.Config{Address: "hsm.example:0"}, "not a number from 1 to 65535"},
		"port 65536":          {grep11.Config{Address: "hsm.example:65536"}, "not a number from 1 to 65535"},
		"dialect":             {grep11.Config{Address: "hsm.example:9876", Dialect: "v3"}, "want both, v1 or v2"},
		"in flight":           {grep11.Config{Address: "hsm.example:9876", MaxInFlight: -1}, "-1 is negative"},
		"no certificate":      {grep11.Config{Address: "hsm.example:9876"}, "set cert_path, key_path and cacert_path"},
		"plaintext host":      {grep11.Config{Address: "hsm.example:9876", Plaintext: true}, "only a loopback address"},
		"plaintext address":   {grep11.Config{Address: "192.0.2.1:9876", Plaintext: true}, "only a loopback address"},
		"plaintext any":       {grep11.Config{Address: "0.0.0.0:9876", Plaintext: true}, "only a loopback address"},
		"localhost elsewhere": {grep11.Config{Address: "localhost.example:9876", Plaintext: true}, "only a loopback address"},
	}
	for name, test := range tests {
		client, err := grep11.Dial(test.cfg)
		if client != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
	for _, address := range []string{"localhost:9876", "127.0.0.1:9876", "[::1]:9876"} {
		client, err := grep11.Dial(grep11.Config{Address: address, Plaintext: true})
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestKeyIsSentInTheDialectsForm(t *testing.T) {
	t.Parallel()
	message := tezos.NewMessage([]byte("payload"))
	digest := message.Digest()
	for _, test := range []struct {
		dialect grep11.Dialect
		v1, v2  bool
	}{{grep11.Both, true, true}, {"", true, true}, {grep11.V1, true, false}, {grep11.V2, false, true}} {
		var got *pb.SignSingleRequest
		client := dialScripted(t, grep11.Config{Dialect: test.dialect}, func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
			got = r
			return signed(r)
		})
		if _, err := keyOf(t, client, ep11test.Blob()).Sign(t.Context(), message); err != nil {
			t.Fatal(err)
		}
		if v1 := bytes.Equal(got.GetPrivKeyBytes(), ep11test.Blob()); v1 != test.v1 || !v1 && got.PrivKeyBytes != nil {
			t.Errorf("dialect %q: %d bytes in the field of v1", test.dialect, len(got.GetPrivKeyBytes()))
		}
		blobs := got.GetPrivKey().GetKeyBlobs()
		if v2 := len(blobs) == 1 && bytes.Equal(blobs[0], ep11test.Blob()); v2 != test.v2 || !v2 && got.PrivKey != nil {
			t.Errorf("dialect %q: %d blobs in the field of v2", test.dialect, len(blobs))
		}
		if !bytes.Equal(got.GetData(), digest[:]) || got.GetMech().GetParameter() != nil {
			t.Errorf("dialect %q: data %x, parameter %v", test.dialect, got.GetData(), got.GetMech().GetParameter())
		}
	}
}

func TestMechanismOfEachKind(t *testing.T) {
	t.Parallel()
	var got uint64
	client := dialScripted(t, grep11.Config{}, func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		got = r.GetMech().GetMechanism()
		return signed(r)
	})
	want := map[tezos.KeyKind]uint64{tezos.Ed25519: 0x8001001c, tezos.Secp256k1: 0x1041, tezos.P256: 0x1041}
	for kind, public := range publicKeys(t) {
		key, err := client.Key(public, ep11test.Blob())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := key.Sign(t.Context(), tezos.Message{}); !errors.Is(err, tezos.ErrBadSignature) || got != want[kind] {
			t.Errorf("%v: mechanism %#x, want %#x, %v", kind, got, want[kind], err)
		}
	}
}

func TestEd25519SignatureIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	private := ed25519.NewKeyFromSeed(scriptedSecret)
	client := dialScripted(t, grep11.Config{}, func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		return &pb.SignSingleResponse{Signature: ed25519.Sign(private, r.GetData())}, nil
	})
	secret, err := tezos.NewSecretKey(tezos.Ed25519, scriptedSecret)
	if err != nil {
		t.Fatal(err)
	}
	key, err := client.Key(secret.PublicKey(), ep11test.Blob())
	if err != nil {
		t.Fatal(err)
	}
	for i := range byte(20) { // about half of them have a high S
		message := tezos.NewMessage([]byte{i})
		digest := message.Digest()
		signature, err := key.Sign(t.Context(), message)
		if want := ed25519.Sign(private, digest[:]); err != nil || !bytes.Equal(signature.Bytes(), want) {
			t.Errorf("got %x, want %x, %v", signature.Bytes(), want, err)
		}
	}
}

func TestSignatureOfAnotherLengthIsBad(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 63, 65, 70, 72, 128, 192} {
		client := dialScripted(t, grep11.Config{}, func(context.Context, *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
			return &pb.SignSingleResponse{Signature: make([]byte, size)}, nil
		})
		signature, err := keyOf(t, client, ep11test.Blob()).Sign(t.Context(), tezos.Message{})
		want := fmt.Sprintf("SignSingle: signature of %d bytes, want 64: %v", size, tezos.ErrBadSignature)
		if !errors.Is(err, tezos.ErrBadSignature) || err.Error() != want || signature != (tezos.Signature{}) {
			t.Errorf("%d bytes: %v, %v", size, signature, err)
		}
		if grep11.Transient(err) {
			t.Errorf("%d bytes: transient", size)
		}
	}
}

func TestCallEndsAtTheCallersDeadline(t *testing.T) {
	t.Parallel()
	client := dialScripted(t, grep11.Config{}, func(ctx context.Context, _ *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	eventually(t, "connecting", func() error { return client.Ping(t.Context()) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := keyOf(t, client, ep11test.Blob()).Sign(ctx, tezos.Message{})
	if !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded || !grep11.Transient(err) {
		t.Errorf("got %v", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Errorf("%v Is canceled", err)
	}
}

// The server sees the deadline, so the test need not wait for it.
func TestCallHasTwoSecondsAtMost(t *testing.T) {
	t.Parallel()
	var left time.Duration
	client := dialScripted(t, grep11.Config{}, func(ctx context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		if deadline, ok := ctx.Deadline(); ok {
			left = time.Until(deadline)
		}
		return signed(r)
	})
	for name, timeout := range map[string]time.Duration{"none": 0, "an hour": time.Hour, "a second": time.Second} {
		ctx, cancel := context.WithCancel(t.Context())
		want := 2 * time.Second
		if timeout > 0 {
			ctx, cancel = context.WithTimeout(t.Context(), timeout)
			want = min(want, timeout)
		}
		_, err := keyOf(t, client, ep11test.Blob()).Sign(ctx, tezos.Message{})
		cancel()
		if err != nil || left <= 0 || left > want {
			t.Errorf("deadline %s: the server has %v left, want at most %v, %v", name, left, want, err)
		}
	}
}

func TestCanceledCallIsNotTransient(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client := dialScripted(t, grep11.Config{}, func(call context.Context, _ *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		cancel()
		<-call.Done()
		return nil, call.Err()
	})
	_, err := keyOf(t, client, ep11test.Blob()).Sign(ctx, tezos.Message{})
	if !errors.Is(err, context.Canceled) || grep11.Transient(err) {
		t.Errorf("got %v", err)
	}
}

func TestCallsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"default": 0, "three": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const callers = 20
			entered, release := make(chan struct{}, callers), make(chan struct{})
			client := dialScripted(t, grep11.Config{MaxInFlight: limit}, func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
				entered <- struct{}{}
				<-release
				return signed(r)
			})
			want := limit
			if want == 0 {
				want = 8
			}
			key := keyOf(t, client, ep11test.Blob())
			start := time.Now()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() { // outcomes do not matter: a slow machine may exceed the deadline
					_, _ = key.Sign(t.Context(), tezos.Message{})
				})
			}
			for range want {
				<-entered
			}
			time.Sleep(100 * time.Millisecond)
			if more := len(entered); time.Since(start) >= 2*time.Second {
				t.Log("too slow to tell: the first calls have ended")
			} else if more > 0 {
				t.Errorf("%d calls at once, want at most %d", want+more, want)
			}
			close(release)
			wg.Wait()
		})
	}
}

func TestWaitForATurnEndsWithTheContext(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 1), make(chan struct{})
	client := dialScripted(t, grep11.Config{MaxInFlight: 1}, func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		entered <- struct{}{}
		<-release
		return signed(r)
	})
	defer close(release)
	key := keyOf(t, client, ep11test.Blob())
	for range 5 { // a machine must be slow five times to spoil this
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = key.Sign(t.Context(), tezos.Message{}) // in time or not
		}()
		<-entered
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := key.Sign(ctx, tezos.Message{})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !grep11.Transient(err) {
			t.Errorf("waiting for a turn: %v", err)
		}
		select {
		case <-ended:
		default:
			return // the call before still has the turn
		}
	}
	t.Error("a caller waits longer than its context allows")
}

func TestNoCallIsRepeated(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.Aborted, codes.ResourceExhausted, codes.Internal} {
		var calls atomic.Int32
		client := dialScripted(t, grep11.Config{}, func(context.Context, *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
			calls.Add(1)
			return nil, status.Error(code, "try again")
		})
		_, err := keyOf(t, client, ep11test.Blob()).Sign(t.Context(), tezos.Message{})
		if status.Code(err) != code || calls.Load() != 1 {
			t.Errorf("%v: %d calls, %v", code, calls.Load(), err)
		}
	}
}

func TestServerThatIsDownIsAClearError(t *testing.T) {
	t.Parallel()
	address := deadAddress(t)
	client := dial(t, grep11.Config{Address: address})
	err := client.Ping(t.Context())
	if !grep11.Transient(err) || status.Code(err) != codes.Unavailable {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"GetMechanismList: Unavailable: ", address, "connection refused"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestServerThatComesBackIsUsedAgain(t *testing.T) {
	t.Parallel()
	address, stop := serve(t, "127.0.0.1:0", (&scripted{}).register)
	client := dial(t, grep11.Config{Address: address})
	for range 3 {
		eventually(t, "server is up", func() error { return client.Ping(t.Context()) })
		stop()
		eventually(t, "server is gone", func() error {
			if err := client.Ping(t.Context()); err == nil || !grep11.Transient(err) {
				return fmt.Errorf("ping gave %v", err)
			}
			return nil
		})
		_, stop = serve(t, address, (&scripted{}).register)
		took := eventually(t, "server is back", func() error { return client.Ping(t.Context()) })
		t.Logf("used again after %v", took)
	}
}

func TestClosedClientFails(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, "127.0.0.1:0", (&scripted{}).register)
	client := dial(t, grep11.Config{Address: address})
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := client.Ping(t.Context()); status.Code(err) != codes.Canceled || grep11.Transient(err) {
		t.Errorf("ping: %v", err)
	}
	if err := client.Close(); err == nil {
		t.Error("closed twice without an error")
	}
}

func TestMessagesOfTheLargestBlobPass(t *testing.T) {
	t.Parallel()
	blob := make(ep11.Blob, 9216)
	copy(blob, ep11test.Blob())
	client := dialScripted(t, grep11.Config{}, func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		if len(r.GetPrivKeyBytes()) != len(blob) {
			return nil, status.Error(codes.InvalidArgument, "blob cut")
		}
		return signed(r)
	})
	if _, err := keyOf(t, client, blob).Sign(t.Context(), tezos.Message{}); err != nil {
		t.Error(err)
	}
}

// A caller may wipe or reuse the slice it gave.
func TestKeyHoldsItsOwnBlob(t *testing.T) {
	t.Parallel()
	var got []byte
	client := dialScripted(t, grep11.Config{}, func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		got = r.GetPrivKeyBytes()
		return signed(r)
	})
	blob := ep11test.Blob()
	key := keyOf(t, client, blob)
	clear(blob)
	if _, err := key.Sign(t.Context(), tezos.Message{}); err != nil || !bytes.Equal(got, ep11test.Blob()) {
		t.Errorf("blob changed, %v", err)
	}
}

// TestKeepaliveIsWhatServersAllow: a gRPC server that was told nothing else answers
// more frequent pings with GOAWAY (keepalive.EnforcementPolicy, MinTime), and a
// dead peer shall be noticed no later than needed.
func TestKeepaliveIsWhatServersAllow(t *testing.T) {
	t.Parallel()
	if grep11.KeepaliveTime != 5*time.Minute {
		t.Errorf("keepalive every %v, want 5 minutes", grep11.KeepaliveTime)
	}
}

func TestLacks(t *testing.T) {
	t.Parallel()
	all := []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256}
	for name, test := range map[string]struct {
		list  []uint64
		lacks []tezos.KeyKind
		want  string
	}{
		"nothing told": {nil, nil, ""},
		"both":         {[]uint64{ep11.MechRSAPKCS, ep11.MechIBMEd25519SHA512, ep11.MechECDSA}, nil, ""},
		"no ECDSA":     {[]uint64{ep11.MechIBMEd25519SHA512, ep11.MechECDSASHA256}, []tezos.KeyKind{tezos.Secp256k1, tezos.P256}, "CKM_ECDSA (0x1041)"},
		"no Ed25519":   {[]uint64{ep11.MechECDSA}, []tezos.KeyKind{tezos.Ed25519}, "CKM_IBM_ED25519_SHA512 (0x8001001c), with which tz1 keys"},
	} {
		for _, kind := range all {
			err := grep11.Lacks(test.list, kind)
			if (err != nil) != slices.Contains(test.lacks, kind) {
				t.Errorf("%s, %v: %v", name, kind, err)
			}
			if err != nil && (grep11.FaultOf(err) != hsm.Unfit || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%s, %v: %v, fault %v; want %s", name, kind, err, grep11.FaultOf(err), test.want)
			}
		}
	}
}
