package softcard_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/tezos"
)

// A card is made and served, and makes a key for a client that comes with the
// certificate in the card's folder.
func Example() {
	parent, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(parent) }()
	dir := softcard.Dir(filepath.Join(parent, "card"))
	created, err := dir.Init()
	fmt.Println("made:", created, err)

	card, err := softcard.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- card.Serve(ctx, ln, dir, false) }()

	client, err := grep11.Dial(grep11.Config{
		Address:    ln.Addr().String(),
		CertPath:   filepath.Join(string(dir), "client.pem"),
		KeyPath:    filepath.Join(string(dir), "client-key.pem"),
		CACertPath: filepath.Join(string(dir), "ca.pem"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := client.Generate(ctx, tezos.P256, false)
	fmt.Println("key:", key.PublicKey.Kind(), err)
	fmt.Println("closed:", client.Close())

	stop() // a server runs until a signal ends its context
	fmt.Println("ended:", <-served)
	// Output:
	// made: true <nil>
	// key: tz3 <nil>
	// closed: <nil>
	// ended: <nil>
}
