package softcard_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"pawl/softcard"
)

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
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a real server runs until a signal ends its context
	fmt.Println("ended:", card.Serve(ctx, ln, dir, false))
	// Output:
	// made: true <nil>
	// ended: <nil>
}
