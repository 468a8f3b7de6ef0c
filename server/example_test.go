package server_test

import (
	"fmt"

	"pawl/server"
)

// The public listener is guarded by client certificates, the admin listener
// stays on loopback.
func ExampleCheckListen() {
	fmt.Println(server.CheckListen("0.0.0.0:6732", true, false))
	fmt.Println(server.CheckListen("127.0.0.1:9732", false, false))
	// Output:
	// <nil>
	// <nil>
}
