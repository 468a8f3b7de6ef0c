package grep11

import (
	"net"

	"pawl/signer/grep11/pb"
)

// Over is a client that makes its calls through crypto, in this process.
func Over(crypto pb.CryptoClient) *Client {
	return &Client{crypto: crypto, dialect: Both, inFlight: make(chan struct{}, 1)}
}

// ParseSPKI is parseSPKI for the tests.
var ParseSPKI = parseSPKI

// Explain is explainedConn for the tests.
func Explain(conn net.Conn) net.Conn { return explainedConn{conn} }

// KeepaliveTime is how often an idle connection is pinged.
const KeepaliveTime = keepaliveTime

// FaultOf is what an error tells of.
var FaultOf = faultOf

// HoldRenewal is a renewal of certificates that hangs until release is called.
func (c *Client) HoldRenewal() (release func()) {
	c.renewal.mu.Lock()
	return c.renewal.mu.Unlock
}
