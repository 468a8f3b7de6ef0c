package grep11_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	ibmep11 "github.com/IBM-Cloud/hpcs-grep11-go/ep11"
	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"
	"google.golang.org/grpc"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/tezos"
)

func serveIBM(t *testing.T) (*ibmCard, string) {
	t.Helper()
	card := newIBMCard()
	address, _ := serve(t, "127.0.0.1:0", func(s *grpc.Server) { ibm.RegisterCryptoServer(s, card) })
	return card, address
}

// Every signature of this card has a high S. One that verifies strictly has been made low.
func TestGenerateAndSignOnIBMsServer(t *testing.T) {
	t.Parallel()
	card, address := serveIBM(t)
	for _, dialect := range []grep11.Dialect{grep11.Both, grep11.V1, ""} {
		client := dial(t, grep11.Config{Address: address, Dialect: dialect})
		for _, kind := range []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256} {
			t.Run(fmt.Sprintf("%v dialect %q", kind, dialect), func(t *testing.T) {
				generated, err := client.Generate(t.Context(), kind, false)
				if err != nil {
					t.Fatal(err)
				}
				checkTemplates(t, card.template(t, generated.Blob), false)
				key, err := client.Key(generated.PublicKey, generated.Blob)
				if err != nil {
					t.Fatal(err)
				}
				if key.PublicKey() != generated.PublicKey {
					t.Errorf("key of %v, want %v", key.PublicKey(), generated.PublicKey)
				}
				for i := range 10 {
					message := tezos.NewMessage([]byte{byte(i)})
					signature, err := key.Sign(t.Context(), message)
					if err != nil {
						t.Fatal(err)
					}
					if err := generated.PublicKey.Verify(message, signature); err != nil {
						t.Errorf("%x: %v", message.Payload(), err)
					}
					if signature != signature.LowS() {
						t.Errorf("high S: %x", signature.Bytes())
					}
				}
			})
		}
	}
}

func checkTemplates(t *testing.T, request *ibm.GenerateKeyPairRequest, extractable bool) {
	t.Helper()
	private, public := request.GetPrivKeyTemplate(), request.GetPubKeyTemplate()
	want := map[ibmep11.Attribute]bool{
		ibmep11.CKA_SIGN: true, ibmep11.CKA_PRIVATE: true, ibmep11.CKA_SENSITIVE: true, ibmep11.CKA_EXTRACTABLE: extractable,
	}
	for attribute, value := range want {
		got, ok := private[attribute].GetOneAttr().(*ibm.AttributeValue_AttributeTF)
		if !ok || got.AttributeTF != value {
			t.Errorf("private template: %v is %v, want %t", attribute, private[attribute], value)
		}
	}
	if len(private) != len(want) || len(public) != 2 || !public[ibmep11.CKA_VERIFY].GetAttributeTF() {
		t.Errorf("templates %v and %v", private, public)
	}
}

func TestGenerateExtractableOnlyOnDemand(t *testing.T) {
	t.Parallel()
	card, address := serveIBM(t)
	client := dial(t, grep11.Config{Address: address})
	generated, err := client.Generate(t.Context(), tezos.P256, true)
	if err != nil {
		t.Fatal(err)
	}
	checkTemplates(t, card.template(t, generated.Blob), true)
	if header, err := generated.Blob.Header(); err != nil || !header.Extractable {
		t.Errorf("head %+v, %v", header, err)
	}
}

func TestGenerateGivesTheHSMsPublicKeyInfo(t *testing.T) {
	t.Parallel()
	_, address := serveIBM(t)
	generated, err := dial(t, grep11.Config{Address: address}).Generate(t.Context(), tezos.Ed25519, false)
	if err != nil {
		t.Fatal(err)
	}
	want := append(head(headEd25519), generated.PublicKey.Bytes()...)
	if !bytes.Equal(generated.SPKI, want) {
		t.Errorf("SPKI %x, want %x", generated.SPKI, want)
	}
}

func TestErrorsOfIBMsServerAreNamed(t *testing.T) {
	t.Parallel()
	_, address := serveIBM(t)
	_, err := keyOf(t, dial(t, grep11.Config{Address: address}), ep11test.Blob()).Sign(t.Context(), tezos.Message{})
	e, ok := errors.AsType[*grep11.Error](err)
	if !ok || *e != (grep11.Error{RPC: "SignSingle", Code: ep11.CodeIBMBlobError, Detail: "no such key"}) {
		t.Fatalf("got %v", err)
	}
	if want := "SignSingle: CKR_IBM_BLOB_ERROR (0x80010004): no such key"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestOnlyThreeKindsOfKeys(t *testing.T) {
	t.Parallel()
	client := dial(t, grep11.Config{Address: deadAddress(t)})
	for _, kind := range []tezos.KeyKind{tezos.BLS12381, tezos.MLDSA44, 99} {
		if _, err := client.Generate(t.Context(), kind, false); err == nil {
			t.Errorf("%v: no error", kind)
		}
	}
	if _, err := client.Key(tezos.PublicKey{}, ep11test.Blob()[:100]); err == nil {
		t.Error("short blob: no error")
	}
}

func TestCanceledCall(t *testing.T) {
	t.Parallel()
	_, address := serveIBM(t)
	client := dial(t, grep11.Config{Address: address})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client.Ping(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
