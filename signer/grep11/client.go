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
	// callTimeout bounds one call; a caller that has five seconds can try twice.
	callTimeout = 2 * time.Second

	// defaultMaxInFlight is the queue depth of a crypto card's domain (QDEPTH 08 of
	// lszcrypt): more calls at once would wait in the card.
	defaultMaxInFlight = 8

	// keepaliveTime is the shortest that gRPC servers allow unless told otherwise
	// (keepalive.EnforcementPolicy.MinTime); below it they answer with GOAWAY.
	keepaliveTime = 5 * time.Minute

	// window is what HTTP/2 begins with (RFC 9113 section 6.9.2); an answer of a card
	// has at most 9216 bytes.
	window = 1<<16 - 1

	// maxMessage bounds an answer and the header list of one, in bytes: an error, which travels in
	// headers, may quote a blob or two. gRPC would take 4 MiB and 16 MiB of a server gone mad.
	maxMessage = 1 << 16

	// connectTimeout and maxBackoff together are below three seconds, jitter included:
	// a server that is back is used again by then, even when its host was off.
	connectTimeout = 1500 * time.Millisecond
	maxBackoff     = time.Second
)

// Dialect is the generation of the wire format in which requests carry a key.
type Dialect string

// A request of Both carries the key in either form, so that any server finds it.
const (
	Both Dialect = "both"
	V1   Dialect = "v1" // the raw blob
	V2   Dialect = "v2" // a KeyBlob message
)

// ParseDialect reads "both", "v1" or "v2"; "" is Both.
func ParseDialect(s string) (Dialect, error) {
	switch d := Dialect(s); d {
	case "":
		return Both, nil
	case Both, V1, V2:
		return d, nil
	}
	return "", fmt.Errorf("grep11 dialect %q: want both, v1 or v2", s)
}

// Config tells how to reach one GREP11 server.
type Config struct {
	Address string // host:port

	// PEM files of mutual TLS, required without APIKeyFile. They are read again at each handshake, where
	// those that cannot be read count as they were, and Reload moves to a new connection when one of
	// them has changed.
	CertPath, KeyPath, CACertPath string

	ServerName  string  // name in the server's certificate, to the letter, be it host:port; default the host of Address
	Dialect     Dialect // default Both
	MaxInFlight int     // calls at once, others wait; 0 means 8
	Plaintext   bool    // no TLS; only with a loopback Address

	// APIKeyFile, when set, is a file with an API key of IBM Cloud: calls then bear a
	// token that IAMEndpoint gives for it (https://…; default that of IBM Cloud), and the
	// files of mutual TLS are optional: without CACertPath the CAs of the system count.
	APIKeyFile, IAMEndpoint string

	Log *slog.Logger // of renewed certificates and why some could not be; optional
}

// Client is one long-lived connection to one server, safe for concurrent use.
type Client struct {
	cfg      Config
	conn     *connection
	crypto   pb.CryptoClient   // over conn
	perCall  []grpc.DialOption // credentials of each call, the same ones on every connection
	dialect  Dialect
	inFlight chan struct{}

	mechanisms atomic.Pointer[[]uint64] // the list last told; nil before
	masterKeys masterKeys
	renewal    renewal
}

var _ hsm.Server = (*Client)(nil)

// Dial checks cfg, reads the certificates and begins to connect in the background; a
// server that is down is no error here. The caller must Close the client.
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
	files := stampOf(cfg) // before they are read
	first, err := connect(cfg, perCall)
	if err != nil {
		return nil, err
	}
	conn := newConnection(first, files)
	return &Client{
		cfg:      cfg,
		conn:     conn,
		crypto:   pb.NewCryptoClient(conn),
		perCall:  perCall,
		dialect:  dialect,
		inFlight: make(chan struct{}, cfg.MaxInFlight),
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
	// passthrough leaves names to the dialer, which resolves anew at each attempt; gRPC's
	// own resolver would back off for minutes after one failure. The target is a URL, in
	// which the zone of an IPv6 address is escaped (RFC 6874).
	target := "passthrough:///" + strings.ReplaceAll(cfg.Address, "%", "%25")
	conn, err := grpc.NewClient(target, append(slices.Clone(perCall),
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(), // an HTTP proxy of the environment is not the way to an HSM
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // the caller decides what is asked again, and where
		grpc.WithIdleTimeout(0),
		// Windows that gRPC fits to the line cost a ping for each answer.
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithMaxHeaderListSize(maxMessage),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff,
			},
			MinConnectTimeout: connectTimeout,
		}),
		// The timeout also bounds how long the kernel waits for an acknowledgement
		// (TCP_USER_TIMEOUT): a dead peer costs one call, not the next ones.
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

// Address is the host:port that the client was given.
func (c *Client) Address() string { return c.cfg.Address }

// Ping asks for the mechanism list: nil when the server and its card answer.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.Mechanisms(ctx)
	return err
}

// State reports whether the connection stands, and whether a call would wait for its turn.
func (c *Client) State() hsm.State {
	switch {
	case c.conn.now.Load().GetState() != connectivity.Ready:
		return hsm.Down
	case len(c.inFlight) == cap(c.inFlight):
		return hsm.Full
	}
	return hsm.Up
}

// wake begins to connect at once where the last attempt failed, instead of waiting for the
// next one.
func (c *Client) wake() {
	conn := c.conn.now.Load()
	conn.ResetConnectBackoff()
	conn.Connect()
}

// Close ends the connection; calls in flight fail.
func (c *Client) Close() error { return c.conn.close() }

// call makes one RPC when it is its turn.
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

// enter waits within ctx for one of the max_in_flight turns of the server. Leave gives it back.
func (c *Client) enter(ctx context.Context, rpc string) error {
	select {
	case c.inFlight <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &transportError{rpc, status.FromContextError(ctx.Err())}
	}
}

func (c *Client) leave() { <-c.inFlight }

// callNow makes one RPC without waiting for a turn. It has callTimeout.
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
