package grep11_test

import (
	"bytes"
	"context"
	"fmt"
	"net"

	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/tezos"
)

// A card makes a key and signs with it. The caller verifies the signature.
func Example() {
	address, stop, err := serveCard()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	// An HSM in another host needs mutual TLS: set CertPath, KeyPath and CACertPath.
	client, err := grep11.Dial(grep11.Config{Address: address, Plaintext: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close() //nolint:errcheck // the process ends

	ctx := context.Background()
	generated, err := client.Generate(ctx, tezos.P256, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := client.Key(generated.PublicKey, generated.Blob)
	if err != nil {
		fmt.Println(err)
		return
	}
	message := tezos.NewMessage([]byte("\x03 a payload"))
	signature, err := key.Sign(ctx, message)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("kind:", key.PublicKey().Kind())
	fmt.Println("signature:", len(signature.Bytes()), "bytes")
	fmt.Println("verified:", key.PublicKey().Verify(message, signature))
	fmt.Println("blob:", generated.Blob) // a blob never shows in a log
	// Output:
	// kind: tz3
	// signature: 64 bytes
	// verified: <nil>
	// blob: [redacted]
}

// serveCard serves a software card on a loopback address without TLS.
func serveCard() (address string, stop func(), err error) {
	card, err := softcard.New(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		return "", nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- card.Serve(ctx, ln, "", true) }()
	return ln.Addr().String(), func() { cancel(); _ = <-served }, nil
}
