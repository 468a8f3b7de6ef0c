package node

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// Timeout is how long a question of a client may take.
func (c *Client) Timeout() time.Duration { return c.timeout }

// SetTimeout makes it another time.
func (c *Client) SetTimeout(d time.Duration) { c.timeout = d }

// Trust has the client trust a certificate.
func (c *Client) Trust(certificate *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	c.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
}

// ParseHead is parseHead for the tests.
var ParseHead = parseHead

// Short is short for the tests.
var Short = short

// MaxAnswer bounds an answer.
const MaxAnswer = maxAnswer
