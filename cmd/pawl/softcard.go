package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pawl/internal/durable"
	"pawl/internal/latelog"
	"pawl/softcard"
)

const noHSM = "notice: this is a software card and no HSM: whoever reads %s has the keys. Use it to try things out."

type softcardCmd struct {
	Dir       string        `default:"./softcard" placeholder:"DIR" help:"Folder of the card: its master key, its CA and certificates; made when it is not there (default: ${default})."`
	Listen    string        `default:"127.0.0.1:9876" placeholder:"ADDR" help:"Address to serve GREP11 on (default: ${default})."`
	Delay     time.Duration `placeholder:"TIME" help:"Take so much longer for each call, 25ms for one, as a distant HSM does."`
	Plaintext bool          `help:"Serve without TLS. On loopback addresses only."`
	AnyClient bool          `name:"no-client-certificate" help:"Admit clients without a certificate, as IBM Cloud does. On loopback addresses only, unless --bearer-token-file is given."`
	TokenFile string        `name:"bearer-token-file" placeholder:"FILE" help:"File (mode 0600) with a token. Each call must bear it: authorization: Bearer TOKEN."`
}

func (*softcardCmd) Help() string {
	return helpText("For trying things out: whoever reads the card's folder has its keys. It makes client.pem, "+
		"client-key.pem and ca.pem for a keys.json.",
		"pawl softcard --dir ./card --listen 127.0.0.1:9876", exitCodes)
}

// Validate refuses a negative delay, and a card that would ask for nothing.
func (c *softcardCmd) Validate() error {
	switch {
	case c.Delay < 0:
		return fmt.Errorf("--delay %v is negative", c.Delay)
	case c.AnyClient && c.Plaintext:
		return errors.New("--no-client-certificate with --plaintext: without TLS no client shows a certificate")
	}
	return nil
}

// Run serves the card until ctx is done.
func (c *softcardCmd) Run(ctx context.Context, s *streams) error {
	return s.daemon(func(s *streams, log *latelog.Log) error { return c.run(ctx, s, log) })
}

func (c *softcardCmd) run(ctx context.Context, s *streams, log *latelog.Log) error {
	if err := checkAddress("--listen", c.Listen, "9876"); err != nil {
		return err
	}
	ln, err := listen(ctx, "--listen", c.Listen)
	if err != nil {
		return err
	}
	defer ln.Close() //nolint:errcheck // closed by Serve, unless that was not reached
	if c.Plaintext && !loopback(ln.Addr()) {
		return &usageError{text: fmt.Sprintf("--plaintext with --listen %s: without TLS a card serves loopback "+
			"addresses only", c.Listen)}
	}
	if c.AnyClient && c.TokenFile == "" && !loopback(ln.Addr()) {
		return &usageError{text: fmt.Sprintf("--no-client-certificate with --listen %s: anybody could use the card's "+
			"keys; give it a --bearer-token-file, or a loopback address", c.Listen)}
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	dir := softcard.Dir(c.Dir)
	if _, err := dir.Init(); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	card, err := softcard.Open(dir)
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	card.Delay, card.AnyClient, card.BearerToken = c.Delay, c.AnyClient, token
	s.notef(noHSM, filepath.Join(c.Dir, "master.key"))
	log.Logger().Info("card listening", "address", ln.Addr().String(), "tls", !c.Plaintext)
	return card.Serve(ctx, ln, dir, c.Plaintext)
}

// maxToken bounds the file of a bearer token, in bytes. Those of IBM Cloud have about 1,500.
const maxToken = 16 << 10

// token reads the bearer token, or returns "" without a file.
func (c *softcardCmd) token() (string, error) {
	if c.TokenFile == "" {
		return "", nil
	}
	text, err := durable.ReadPrivate(c.TokenFile, maxToken)
	if err != nil {
		return "", fmt.Errorf("--bearer-token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("--bearer-token-file %s: it has to be one line, without blanks", c.TokenFile)
	}
	return token, nil
}

// loopback reports whether only this host reaches the address.
func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// checkAddress finds an address that nobody could listen at, and says how to write it. port is that
// of the flag's default.
func checkAddress(flag, address, port string) error {
	_, given, err := net.SplitHostPort(address)
	if err == nil {
		if _, err = strconv.ParseUint(given, 10, 16); err == nil {
			return nil
		}
		return &usageError{text: fmt.Sprintf("%s %q: the port is not a number from 0 to 65535", flag, address)}
	}
	example := "127.0.0.1:" + port
	switch _, notPort := strconv.ParseUint(address, 10, 16); {
	case notPort == nil:
		example = "127.0.0.1:" + address
	case address != "" && !strings.ContainsAny(address, ":/ []") || net.ParseIP(address) != nil:
		example = net.JoinHostPort(address, port)
	}
	return &usageError{text: fmt.Sprintf("%s %q: want host:port, such as %s", flag, address, example)}
}

// listen opens the address that a flag gave.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, withHint(fmt.Errorf("%s %s: the address is in use", flag, address),
			"another program listens there: stop it, or choose another address with %s", flag)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", flag, address, err)
	}
	return ln, nil
}
