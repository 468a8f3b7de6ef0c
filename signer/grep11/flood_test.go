package grep11_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// serveRaw answers calls in HTTP/2 with whatever answer writes, however long. A gRPC server would keep
// to the limit that the client names.
func serveRaw(t *testing.T, answer http.HandlerFunc) grep11.Config {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		answer(w, r)
	}), Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return grep11.Config{Address: ln.Addr().String(), Plaintext: true}
}

// writeMessage writes an answer of gRPC: not compressed, its length, itself.
func writeMessage(w http.ResponseWriter, message []byte) {
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

// A server that floods the client with words gets a short error, and the next call goes on.
func TestFloodOfWords(t *testing.T) {
	t.Parallel()
	const flood = 4 << 20
	message := tezos.NewMessage([]byte("after the flood"))
	digest := message.Digest()
	answer, err := signed(&pb.SignSingleRequest{Data: digest[:]})
	if err != nil {
		t.Fatal(err)
	}
	good, err := proto.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	long, err := proto.Marshal(&pb.SignSingleResponse{Signature: make([]byte, 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(w http.ResponseWriter, name, value string) {
		w.Header().Set("Grpc-Status", fmt.Sprint(uint32(codes.Unknown)))
		w.Header().Set(name, value)
	}
	for name, answer := range map[string]func(http.ResponseWriter){
		"message":       func(w http.ResponseWriter) { refuse(w, "Grpc-Message", strings.Repeat("word ", flood/5)) },
		"details":       func(w http.ResponseWriter) { refuse(w, "Grpc-Status-Details-Bin", strings.Repeat("Cgxv", flood/4)) },
		"other headers": func(w http.ResponseWriter) { refuse(w, "X-Words", strings.Repeat("word ", flood/5)) },
		"many headers": func(w http.ResponseWriter) {
			for i := range 5000 {
				refuse(w, fmt.Sprint("X-Word-", i), "word")
			}
		},
		"answer": func(w http.ResponseWriter) { writeMessage(w, long) },
	} {
		var calls atomic.Int32
		cfg := serveRaw(t, func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) == 1 {
				answer(w)
				return
			}
			writeMessage(w, good)
		})
		key := keyOf(t, dial(t, cfg), ep11test.Blob())
		_, err := key.Sign(t.Context(), message)
		if err == nil || len(err.Error()) > 400 || len(status.Convert(errors.Unwrap(err)).Message()) > 400 {
			t.Errorf("%s: %.500v", name, err)
		}
		if errors.Is(err, tezos.ErrBadSignature) {
			t.Errorf("%s: an answer of 1 MiB was read: %v", name, err)
		}
		eventually(t, "a signature after a flood of "+name, func() error {
			_, err := key.Sign(t.Context(), message)
			return err
		})
	}
}

// Beyond the first 4 KiB nobody reads a server's words, whoever asks for them.
func TestWordsAreCut(t *testing.T) {
	t.Parallel()
	blob := ep11test.Blob()
	const limit = 4<<10 + len("…")
	for name, words := range map[string]string{
		"words":             strings.Repeat("word ", 2_000),
		"two bytes a rune":  strings.Repeat("ü", 5_000),
		"one word":          strings.Repeat("a", 10_000),
		"a blob at the cut": strings.Repeat(" ", 4<<10-50) + blob.Hex(),
		"blobs":             strings.Repeat(blob.Hex(), 8),
	} {
		err := signError(t, status.Error(codes.Unavailable, words))
		if got := status.Convert(errors.Unwrap(err)).Message(); len(got) > limit || strings.Contains(got, blob.Hex()[:20]) {
			t.Errorf("%s: a message of %d bytes: %.100q", name, len(got), got)
		}
		for _, err := range []error{err, signError(t, refuse(t, codes.Unknown, ep11.CodeDeviceError, words))} {
			if text := err.Error(); len(text) > 400 || !strings.Contains(text, "…") || strings.Contains(text, blob.Hex()[:20]) {
				t.Errorf("%s: %q", name, text)
			}
			ep11test.CheckHidden(t, name, err.Error())
		}
	}
}
