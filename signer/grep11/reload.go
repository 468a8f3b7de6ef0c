package grep11

// This file moves a client to a new connection when its certificate files have changed.

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// retireAfter is how long a replaced connection stays open. Every call that began on it
// has ended by then.
const retireAfter = 2 * callTimeout

var errClosedTwice = errors.New("grep11 client closed twice")

// connection is a client's connection to its server. Reload replaces what is behind it.
type connection struct {
	current atomic.Pointer[grpc.ClientConn]

	mu      sync.Mutex // guards what follows; never held during a call that signs
	files   stamp      // of the certificate files that current was made with
	retired map[*grpc.ClientConn]*time.Timer
	closed  bool
}

func newConnection(conn *grpc.ClientConn, files stamp) *connection {
	c := &connection{files: files, retired: make(map[*grpc.ClientConn]*time.Timer)}
	c.current.Store(conn)
	return c
}

// Invoke makes a call on the current connection.
func (c *connection) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.current.Load().Invoke(ctx, method, args, reply, opts...)
}

// NewStream makes connection a grpc.ClientConnInterface. The service has no streams.
func (c *connection) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return c.current.Load().NewStream(ctx, desc, method, opts...)
}

// Reload moves to a new connection when the certificate, the key or the CA file has changed
// since the present connection was made, and reports whether it did. It uses the new
// connection only after the server has answered on it. Calls on the old one end undisturbed.
//
// Reload fails when a file is unusable, for example half-written, or when the server accepts
// no connection with the files. The old connection then goes on, and the next Reload tries again.
func (c *Client) Reload(ctx context.Context) (bool, error) {
	files := stampOf(c.cfg)
	if c.cfg.Plaintext || !c.connection.outdated(files) {
		return false, nil
	}
	conn, err := connect(c.cfg, c.perCall)
	if err != nil {
		return false, err
	}
	if err := probe(ctx, conn); err != nil {
		_ = conn.Close()
		return false, err
	}
	return c.connection.replace(conn, files), nil
}

// probe returns nil when the server has answered on conn, even if the card refused. It makes
// a call because in TLS 1.3 a client learns only after the handshake that its certificate was
// refused.
func probe(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := callNow(ctx, "GetMechanismList", pb.NewCryptoClient(conn).GetMechanismList, &pb.GetMechanismListRequest{})
	e, answered := errors.AsType[*Error](err)
	if answered && e.Code != ep11.CodeIBMNotAuthenticated || status.Code(err) == grpccodes.Unimplemented {
		return nil
	}
	return err
}

func (c *connection) outdated(files stamp) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files != files
}

// replace makes conn the current connection, and closes the old one after retireAfter. If the
// client is closed it closes conn and returns false.
func (c *connection) replace(conn *grpc.ClientConn, files stamp) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return false
	}
	old := c.current.Swap(conn)
	c.files = files
	c.retired[old] = time.AfterFunc(retireAfter, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.retired, old)
		_ = old.Close() // fails if close was faster
	})
	return true
}

func (c *connection) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosedTwice
	}
	c.closed = true
	for conn, timer := range c.retired {
		timer.Stop()
		_ = conn.Close()
	}
	return c.current.Load().Close()
}

// stamp identifies the contents of the certificate, key and CA files. It differs when one of
// them was written or replaced by another file.
type stamp [3]struct {
	device, inode uint64
	size          int64
	written       int64 // Unix nanoseconds
}

// stampOf returns the stamp of the files, and follows links. A file that os.Stat cannot find
// counts as zero; reading it will return the error.
func stampOf(cfg Config) (s stamp) {
	for i, path := range []string{cfg.CertPath, cfg.KeyPath, cfg.CACertPath} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		s[i].size, s[i].written = info.Size(), info.ModTime().UnixNano()
		if unix, ok := info.Sys().(*syscall.Stat_t); ok {
			s[i].device, s[i].inode = unix.Dev, unix.Ino
		}
	}
	return s
}
