package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"

	"blockwatch.cc/tzgo/codec"
	"blockwatch.cc/tzgo/signer/remote"
	tz "blockwatch.cc/tzgo/tezos"

	"pawl/signer/hsm"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// exchange sends the bytes of a request on a new connection, and reads the answer to its end.
func exchange(t *testing.T, addr, request string) reply {
	t.Helper()
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("answer to %q: %v", request, err)
	}
	got, err := read(res)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The bytes that octez-client sends for a signature, on two connections. Its POST is chunked, since
// ocaml-cohttp sends no Content-Length.
func TestExchangeOfOctezClient(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256}})
	addr := strings.TrimPrefix(rig.url, "http://")
	const accept = "accept: application/json, application/bson;q=0.1, application/octet-stream;q=0.2\r\n"
	head := "host: " + addr + "\r\nuser-agent: ocaml-cohttp/5.3.1\r\n\r\n"
	for i, key := range rig.keys {
		imported := exchange(t, addr, "GET /keys/"+key.Hash().String()+" HTTP/1.1\r\n"+accept+head)
		if want := fmt.Sprintf("{\"public_key\":%q}\n", key); imported.status != 200 || imported.body != want {
			t.Errorf("import: %d %q, want 200 %q", imported.status, imported.body, want)
		}
		offer := exchange(t, addr, "GET /authorized_keys HTTP/1.1\r\n"+accept+head)
		if offer.status != 200 || offer.body != "{}\n" || offer.header.Get("Content-Type") != "application/json" {
			t.Errorf("authorized_keys: %d %q %v, want 200 {}", offer.status, offer.body, offer.header)
		}
		payload := tezostest.Attestation(10, 0, uint64(i))
		body := quoted(payload)
		post := "POST " + rig.keyPath(i) + "?version=3 HTTP/1.1\r\n" + accept + "content-type: application/json\r\n"
		chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		signed := exchange(t, addr, post+"transfer-encoding: chunked\r\n"+head+chunks)
		again := exchange(t, addr, post+fmt.Sprintf("content-length: %d\r\n", len(body))+head+body)
		prefix := map[tezos.KeyKind]string{tezos.Ed25519: "edsig", tezos.Secp256k1: "spsig1", tezos.P256: "p2sig"}[key.Kind()]
		sig := checkSigned(t, signed, key, payload)
		if !strings.HasPrefix(sig, prefix) || signed.body != fmt.Sprintf("{\"signature\":%q}\n", sig) {
			t.Errorf("answer %q, want one %s signature and a newline", signed.body, prefix)
		}
		if again.body != signed.body {
			t.Errorf("same bytes again: %q, want the stored %q", again.body, signed.body)
		}
	}
}

// Load balancers ask for a public key by HTTP/1.0, without a Host header.
func TestHTTP10(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	request := "GET " + rig.keyPath(0) + " HTTP/1.0\r\nConnection: close\r\n\r\n"
	got := exchange(t, strings.TrimPrefix(rig.url, "http://"), request)
	if got.status != 200 || !strings.HasPrefix(got.body, `{"public_key":"edpk`) {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

// tzgo sends a body with a length, and no version.
func TestTzgoClient(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256}})
	client, err := remote.New(rig.url, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := client.AuthorizedKeys(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("authorized keys: %v %v, want none", keys, err)
	}
	branch := tz.NewBlockHash(bytes.Repeat([]byte{9}, 32))
	for _, want := range rig.keys {
		address, err := tz.ParseAddress(want.Hash().String())
		if err != nil {
			t.Fatal(err)
		}
		key, err := client.GetKey(t.Context(), address)
		if err != nil || key.String() != want.String() || !key.Address().Equal(address) {
			t.Errorf("import: %v %v, want %v", key, err, want)
		}
		op := codec.NewOp().WithBranch(branch).WithContents(&codec.FailingNoop{Arbitrary: "hello"})
		sig, err := client.SignOperation(t.Context(), address, op)
		if err != nil {
			t.Fatalf("signing with %v: %v", address, err)
		}
		if err := key.Verify(op.Digest(), sig); err != nil {
			t.Errorf("signature %v of %v: %v", sig, address, err)
		}
	}
}

// step is one request of testdata/watermark-scenario.json.
type step struct {
	Step  int    `json:"step"`
	What  string `json:"what"`
	Key   string `json:"key"`
	Hex   string `json:"hex"`
	Octez string `json:"octez_signer"` // what octez-signer answers
}

func scenario(t *testing.T) []step {
	t.Helper()
	data, err := os.ReadFile("testdata/watermark-scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	if err := json.Unmarshal(data, &steps); err != nil {
		t.Fatal(err)
	}
	return steps
}

// blsKey returns a tz4 key that cannot sign. It is for payloads that are refused before.
func blsKey(t *testing.T) hsm.Key {
	t.Helper()
	pk, err := tezos.NewPublicKey(tezos.BLS12381, unhex(t, "ac6b68a60a3a783c1596dfcee474281f1d858741bbb8260e6977962ca4225728dbeb0d4ccb480b0a7b5d9feb167dd454"))
	if err != nil {
		t.Fatal(err)
	}
	return cannotSign{pk}
}

type cannotSign struct{ pk tezos.PublicKey }

func (k cannotSign) PublicKey() tezos.PublicKey { return k.pk }

func (cannotSign) Trouble() error { return nil }

func (cannotSign) Sign(context.Context, tezos.Message) (tezos.Signature, error) {
	return tezos.Signature{}, errors.New("no tz4 key signs here")
}

// The answers are Octez's, except for steps 22 and 26: pawl refuses them as malformed. The tz4 key
// of this test cannot sign, so only step 22 of its steps is sent.
func TestWatermarkScenario(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{
		kinds: []tezos.KeyKind{tezos.Ed25519, tezos.Ed25519}, extra: []hsm.Key{blsKey(t)},
		levelGap: math.MaxInt32, // it jumps from level 2 to 12180922
	})
	key := map[string]int{"tz1-A": 0, "tz1-B": 1, "tz4-A": 2}
	signatures := make(map[string]string)
	for _, step := range scenario(t) {
		if step.Key == "tz4-A" && step.Step != 22 {
			continue
		}
		i := key[step.Key]
		payload := unhex(t, step.Hex)
		if payload[0] == 0x03 { // the source must be the key that signs
			hash := rig.keys[i].Hash()
			copy(payload[34:], hash[:])
		}
		got := rig.post(t, i, payload)
		name := fmt.Sprintf("step %d, %s", step.Step, step.What)
		text, refused := strings.CutPrefix(step.Octez, "error: ")
		switch {
		case step.Step == 22 || step.Step == 26:
			if msg := got.refusal(t); got.status != 400 {
				t.Errorf("%s: %d %q, want 400", name, got.status, msg)
			}
		case refused:
			if msg := got.refusal(t); got.status != 409 || msg != text {
				t.Errorf("%s: %d %q, want 409 %q", name, got.status, msg, text)
			}
		default:
			sig := checkSigned(t, got, rig.keys[i], payload)
			if step.Octez == "stored signature returned" && sig != signatures[step.Hex] {
				t.Errorf("%s: %s, want the stored %s", name, sig, signatures[step.Hex])
			}
			signatures[step.Hex] = sig
		}
	}
}
