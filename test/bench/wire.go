package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// requestTimeout is longer than any answer of pawl takes.
const requestTimeout = 30 * time.Second

// dialer opens connections of one kind to one address.
type dialer struct {
	address string
	tls     *tls.Config // nil for HTTP
}

// dialer returns the connections to a server that has the card's certificates.
func (b *bench) dialer(address string, secure bool) (dialer, error) {
	if !secure {
		return dialer{address: address}, nil
	}
	pair, err := tls.LoadX509KeyPair(b.cardFile("client.pem"), b.cardFile("client-key.pem"))
	if err != nil {
		return dialer{}, err
	}
	pem, err := os.ReadFile(b.cardFile("ca.pem"))
	if err != nil {
		return dialer{}, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return dialer{}, errors.New("no certificate in ca.pem")
	}
	return dialer{address, &tls.Config{
		ServerName: "localhost", RootCAs: pool, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
	}}, nil
}

// resuming returns connections that take up a TLS session where they can.
func (d dialer) resuming() dialer {
	if d.tls != nil {
		d.tls = d.tls.Clone()
		d.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	return d
}

// conn is an HTTP/1.1 connection that asks for one thing after another, or one that
// is made anew for each. It does with as little CPU time as it can: what it uses is
// taken from what it measures.
type conn struct {
	dialer
	fresh  bool
	net    net.Conn // nil when it is fresh
	reader *bufio.Reader
	buffer []byte
	took   time.Duration // all exchanges so far, connections included
}

func (c *conn) dial() (err error) {
	dialer := net.Dialer{Timeout: requestTimeout}
	if c.net, err = dialer.DialContext(context.Background(), "tcp", c.address); err != nil {
		return err
	}
	if c.tls != nil {
		c.net = tls.Client(c.net, c.tls)
	}
	if c.reader == nil {
		c.reader = bufio.NewReader(nil)
	}
	c.reader.Reset(c.net)
	return nil
}

func (c *conn) close() error {
	if c.net == nil {
		return nil
	}
	err := c.net.Close()
	c.net = nil
	return err
}

// anyRefusal stands for the statuses of errors: signers differ in them.
const anyRefusal = -1

// exchange sends a request and gives the body of an answer that has the status.
func (c *conn) exchange(method, path string, body []byte, want int) (answer []byte, err error) {
	start := time.Now()
	defer func() { c.took += time.Since(start) }()
	if c.net == nil {
		if err := c.dial(); err != nil {
			return nil, err
		}
	}
	if c.fresh {
		defer func() { err = errors.Join(err, c.close()) }()
	}
	if err := c.send(method, path, body); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	answer, err = io.ReadAll(response.Body)
	refused := response.StatusCode >= http.StatusBadRequest
	if err == nil && response.StatusCode != want && (want != anyRefusal || !refused) {
		err = fmt.Errorf("%s %s: status %d, want %d: %s", method, path, response.StatusCode, want, answer)
	}
	return answer, errors.Join(err, response.Body.Close())
}

func (c *conn) send(method, path string, body []byte) error {
	b := append(c.buffer[:0], method...)
	b = append(append(append(b, ' '), path...), " HTTP/1.1\r\nHost: signer\r\n"...)
	if body != nil {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	}
	c.buffer = append(append(b, "\r\n"...), body...)
	if err := c.net.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	_, err := c.net.Write(c.buffer)
	return err
}
