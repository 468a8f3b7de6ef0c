package grep11

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"pawl/signer/grep11/pb"
	"pawl/signer/hsm"
)

const (
	// callTimeout bounds one call. A caller that has five seconds can try twice.
	callTimeout = 2 * time.Second

	// defaultMaxInFlight is the queue depth of a crypto card's domain (QDEPTH 08 in
	// lszcrypt). Further calls would only wait in the card.
	defaultMaxInFlight = 8

	// keepaliveTime is the shortest interval that gRPC servers allow by default
	// (keepalive.EnforcementPolicy.MinTime). They answer more frequent pings with GOAWAY.
	keepaliveTime = 5 * time.Minute

	// window is the initial flow-control window of HTTP/2 (RFC 9113 section 6.9.2). An
	// answer of a card has at most 9216 bytes.
	window = 1<<16 - 1

	// connectTimeout and maxBackoff add up to less than three seconds, jitter included.
	// A server that is back is used again within that time, even if its host was off.
	connectTimeout = 1500 * time.Millisecond
	maxBackoff     = time.Second
)

// Dialect is a generation of the wire format. It decides in which field a request carries a key.
type Dialect string

// The dialects. With Both, a request carries the key in both fields, so that any server finds it.
const (
	Both Dialect = "both"
	V1   Dialect = "v1" // the raw blob
	V2   Dialect = "v2" // a KeyBlob message
)

// ParseDialect reads "both", "v1" or "v2". It returns Both for "".
func ParseDialect(s string) (Dialect, error) {
	switch d := Dialect(s); d {
	case "":
		return Both, nil
	case Both, V1, V2:
		return d, nil
	}
	return "", fmt.Errorf("grep11 dialect %q: want both, v1 or v2", s)
}

// Config says how to reach one GREP11 server.
type Config struct {
	Address string // host:port

	// PEM files of mutual TLS, required without APIKeyFile. Each handshake reads them again, and
	// goes on with their last good contents if they cannot be read. Reload opens a new connection
	// when one of them has changed.
	CertPath, KeyPath, CACertPath string

	ServerName  string  // name in the server's certificate; default: the host of Address
	Dialect     Dialect // default: Both
	MaxInFlight int     // calls at once, others wait; default: 8
	Plaintext   bool    // no TLS, allowed only if Address is a loopback address

	// APIKeyFile holds an API key of IBM Cloud; optional. With it each call bears a token
	// that IAMEndpoint issues for the key (https://…; default: DefaultIAMEndpoint). The files
	// of mutual TLS are then optional. Without CACertPath the system's CAs are trusted.
	APIKeyFile, IAMEndpoint string

	Log *slog.Logger // receives renewals of certificates and their failures; optional
}

// Client is one long-lived connection to one server, safe for concurrent use.
type Client struct {
	cfg        Config
	connection *connection
	crypto     pb.CryptoClient   // calls through connection
	perCall    []grpc.DialOption // credentials of each call, the same on every connection
	dialect    Dialect
	inFlight   chan struct{} // holds one element for each call under way

	mechanisms atomic.Pointer[[]uint64] // the server's latest list; nil before the first
	masterKeys masterKeys
	renewal    renewal
}

var _ hsm.Server = (*Client)(nil)

// Dial checks cfg, reads the certificates and begins to connect in the background. It
// succeeds even if the server is down. The caller must Close the client.
func Dial(cfg Config) (*Client, error) {
	dialect, err := ParseDialect(string(cfg.Dialect))
	if err != nil {
		return nil, err
	}
	if cfg.MaxInFlight < 0 {
		return nil, fmt.Errorf("grep11 calls in flight: %d is negative", cfg.MaxInFlight)
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = defaultMaxInFlight
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	perCall, err := callCredentials(cfg)
	if err != nil {
		return nil, err
	}
	files := stampOf(cfg) // before connect reads them, so that no later change is missed
	conn, err := connect(cfg, perCall)
	if err != nil {
		return nil, err
	}
	connection := newConnection(conn, files)
	return &Client{
		cfg:        cfg,
		connection: connection,
		crypto:     pb.NewCryptoClient(connection),
		perCall:    perCall,
		dialect:    dialect,
		inFlight:   make(chan struct{}, cfg.MaxInFlight),
	}, nil
}

func connect(cfg Config, perCall []grpc.DialOption) (*grpc.ClientConn, error) {
	host, err := hostOf(cfg.Address)
	if err != nil {
		return nil, err
	}
	creds, err := transportCredentials(cfg, host)
	if err != nil {
		return nil, err
	}
	// passthrough leaves names to the dialer, which resolves them at each attempt. gRPC's
	// own resolver would back off for minutes after one failure. The target is a URL, so
	// the zone of an IPv6 address is escaped (RFC 6874).
	target := "passthrough:///" + strings.ReplaceAll(cfg.Address, "%", "%25")
	conn, err := grpc.NewClient(target, append(slices.Clone(perCall),
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(), // ignore an HTTP proxy of the environment
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // the caller decides whether to retry, and where
		grpc.WithIdleTimeout(0),
		// A window that gRPC sizes dynamically costs a ping for each answer.
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff,
			},
			MinConnectTimeout: connectTimeout,
		}),
		// The timeout also bounds how long the kernel waits for an acknowledgement
		// (TCP_USER_TIMEOUT). So a dead peer fails one call, and not those after it.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: callTimeout, PermitWithoutStream: true,
		}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("grep11 address %q: %v", cfg.Address, err)
	}
	conn.Connect()
	return conn, nil
}

// hostOf returns the host of host:port, without the brackets of an IPv6 address.
func hostOf(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return "", fmt.Errorf("grep11 address %q: want host:port", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("grep11 address %q: port %q is not a number from 1 to 65535", address, port)
	}
	return host, nil
}

// Address returns the host:port of the configuration.
func (c *Client) Address() string { return c.cfg.Address }

// Ping asks for the mechanism list. It returns nil when the server and its card answer.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.Mechanisms(ctx)
	return err
}

// State returns hsm.Down without a connection, hsm.Full when a call would have to wait for
// others, and hsm.Up otherwise.
func (c *Client) State() hsm.State {
	switch {
	case c.connection.current.Load().GetState() != connectivity.Ready:
		return hsm.Down
	case len(c.inFlight) == cap(c.inFlight):
		return hsm.Full
	}
	return hsm.Up
}

// wake tries to connect at once, without waiting for the backoff to end.
func (c *Client) wake() {
	conn := c.connection.current.Load()
	conn.ResetConnectBackoff()
	conn.Connect()
}

// Close ends the connection. Calls in flight fail.
func (c *Client) Close() error { return c.connection.close() }

// call makes one RPC, as soon as fewer than MaxInFlight are under way.
func call[Request, Response any](
	ctx context.Context, c *Client, rpc string,
	send func(context.Context, Request, ...grpc.CallOption) (Response, error), request Request,
) (Response, error) {
	if err := c.enter(ctx, rpc); err != nil {
		var none Response
		return none, err
	}
	defer c.leave()
	return callNow(ctx, rpc, send, request)
}

// enter waits until fewer than MaxInFlight calls are under way, or ctx ends. The caller must
// call leave afterwards.
func (c *Client) enter(ctx context.Context, rpc string) error {
	select {
	case c.inFlight <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &transportError{rpc, status.FromContextError(ctx.Err())}
	}
}

func (c *Client) leave() { <-c.inFlight }

// callNow makes one RPC within callTimeout. It does not wait for other calls.
func callNow[Request, Response any](
	ctx context.Context, rpc string,
	send func(context.Context, Request, ...grpc.CallOption) (Response, error), request Request,
) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := send(ctx, request)
	if err != nil {
		var none Response
		return none, callError(rpc, err)
	}
	return response, nil
}
