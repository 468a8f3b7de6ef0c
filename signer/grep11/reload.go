package grep11

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

// retireAfter is when a connection that was replaced is closed: every call that began
// on it has ended by then.
const retireAfter = 2 * callTimeout

var errClosedTwice = errors.New("grep11 client closed twice")

// line is the connection of a client, which Reload replaces between two calls.
type line struct {
	now atomic.Pointer[grpc.ClientConn]

	mu      sync.Mutex // of what follows; never held during a call that signs
	files   stamp      // of the certificates that now was made of
	retired map[*grpc.ClientConn]*time.Timer
	closed  bool
}

func newLine(conn *grpc.ClientConn, files stamp) *line {
	l := &line{files: files, retired: make(map[*grpc.ClientConn]*time.Timer)}
	l.now.Store(conn)
	return l
}

// Invoke makes a call on the connection of the moment.
func (l *line) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return l.now.Load().Invoke(ctx, method, args, reply, opts...)
}

// NewStream is for grpc.ClientConnInterface; the service has no streams.
func (l *line) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return l.now.Load().NewStream(ctx, desc, method, opts...)
}

// Reload moves to a new connection when a certificate file, the key or the CA has
// changed since the present connection was made, and says whether it did. The new one
// must stand before it is used; calls on the old one end undisturbed. When the
// files are unusable, half-written for one, or the server takes no connection with them,
// the error says so, the old connection goes on, and the next Reload tries again.
func (c *Client) Reload(ctx context.Context) (bool, error) {
	files := stampOf(c.cfg)
	if c.cfg.Plaintext || !c.line.outdated(files) {
		return false, nil
	}
	conn, err := connect(c.cfg, c.perCall)
	if err != nil {
		return false, err
	}
	if err := stands(ctx, conn); err != nil {
		_ = conn.Close()
		return false, err
	}
	return c.line.move(conn, files), nil
}

// stands returns nil if the server has answered on conn, be it with a refusal by the card.
// In TLS 1.3 a client learns that its certificate was refused only after the handshake.
func stands(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := callNow(ctx, "GetMechanismList", pb.NewCryptoClient(conn).GetMechanismList, &pb.GetMechanismListRequest{})
	if e, ok := errors.AsType[*Error](err); ok && e.Code != ep11.CodeIBMNotAuthenticated || status.Code(err) == grpccodes.Unimplemented {
		return nil
	}
	return err
}

func (l *line) outdated(files stamp) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files != files
}

// move makes conn the connection, unless the client is closed.
func (l *line) move(conn *grpc.ClientConn, files stamp) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return false
	}
	old := l.now.Swap(conn)
	l.files = files
	l.retired[old] = time.AfterFunc(retireAfter, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.retired, old)
		_ = old.Close() // closed already when the client is
	})
	return true
}

func (l *line) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosedTwice
	}
	l.closed = true
	for conn, timer := range l.retired {
		timer.Stop()
		_ = conn.Close()
	}
	return l.now.Load().Close()
}

// stamp reports whether the certificate, the key or the CA is another file or was written.
type stamp [3]struct {
	device, inode uint64
	size          int64
	written       int64 // Unix nanoseconds
}

// stampOf looks at the files, through links. One that cannot be looked at has a zero
// stamp: reading it will tell.
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
