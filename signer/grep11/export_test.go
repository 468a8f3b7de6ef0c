package grep11

import (
	"net"

	"pawl/signer/grep11/pb"
)

// Over returns a client that makes its calls through crypto, without a server.
func Over(crypto pb.CryptoClient) *Client {
	return &Client{crypto: crypto, dialect: Both, inFlight: make(chan struct{}, 1)}
}

// ParseSPKI is parseSPKI for the tests.
var ParseSPKI = parseSPKI

// Explain is explainedConn for the tests.
func Explain(conn net.Conn) net.Conn { return explainedConn{conn} }

// KeepaliveTime is keepaliveTime for the tests.
const KeepaliveTime = keepaliveTime

// FaultOf is faultOf for the tests.
var FaultOf = faultOf
