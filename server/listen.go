package server

import (
	"fmt"
	"net"
	"net/netip"
)

// CheckListen returns an error if listening at addr (host:port) would let strangers ask for
// signatures. A loopback address is always allowed. Any other address must be guarded, by TLS with
// client certificates or by Octez client authentication, or be behind a tunnel for which the
// operator answers. The admin listener has no guard: pass false for guarded.
func CheckListen(addr string, guarded, behindTunnel bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: want host:port", addr)
	}
	if guarded || behindTunnel || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("listen address %q is not loopback, and nothing guards it", addr)
}

// isLoopback reports whether host is a loopback address or localhost. Other names are not: what
// they resolve to can change after the check.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
