package grep11

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/certfile"
	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// retireAfter is when a replaced connection is closed: every call that began on it has ended
// by then.
const retireAfter = 2 * callTimeout

var errClosedTwice = errors.New("grep11 client closed twice")

// connection is the connection of a client. Reload replaces it between two calls.
type connection struct {
	now atomic.Pointer[grpc.ClientConn]

	mu      sync.Mutex     // of what follows; never held during a call that signs
	files   certfile.Stamp // of the certificates that now was made of
	retired map[*grpc.ClientConn]*time.Timer
	closed  bool
}

func newConnection(conn *grpc.ClientConn, files certfile.Stamp) *connection {
	n := &connection{files: files, retired: make(map[*grpc.ClientConn]*time.Timer)}
	n.now.Store(conn)
	return n
}

// Invoke makes a call on the current connection.
func (n *connection) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return n.now.Load().Invoke(ctx, method, args, reply, opts...)
}

// NewStream is for grpc.ClientConnInterface; the service has no streams.
func (n *connection) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return n.now.Load().NewStream(ctx, desc, method, opts...)
}

// Reload moves to a new connection if a certificate, the key or the CA has changed since the
// present one was made, and reports whether it did. The new connection must answer before it
// is used; calls on the old one end undisturbed. If the files are unusable (half-written, say)
// or the server refuses them, the error says so, the old connection stays, and the next Reload
// tries again.
func (c *Client) Reload(ctx context.Context) (bool, error) {
	files := stampOf(c.cfg)
	if c.cfg.Plaintext || !c.conn.outdated(files) {
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
	return c.conn.move(conn, files), nil
}

// stands returns nil if the server has answered on conn, be it with a refusal by the card.
// In TLS 1.3 a client learns that its certificate was refused only after the handshake.
func stands(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := callNow(ctx, "GetMechanismList", pb.NewCryptoClient(conn).GetMechanismList, &pb.GetMechanismListRequest{})
	e, ok := errors.AsType[*Error](err)
	if ok && e.Code != ep11.CodeIBMNotAuthenticated || status.Code(err) == grpccodes.Unimplemented {
		return nil
	}
	return err
}

func (n *connection) outdated(files certfile.Stamp) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.files != files
}

// move makes conn the current connection, unless the client is closed.
func (n *connection) move(conn *grpc.ClientConn, files certfile.Stamp) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = conn.Close()
		return false
	}
	old := n.now.Swap(conn)
	n.files = files
	n.retired[old] = time.AfterFunc(retireAfter, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.retired, old)
		_ = old.Close() // closed already when the client is
	})
	return true
}

func (n *connection) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosedTwice
	}
	n.closed = true
	for conn, timer := range n.retired {
		timer.Stop()
		_ = conn.Close()
	}
	return n.now.Load().Close()
}

// stampOf identifies the files of the connection as they are now.
func stampOf(cfg Config) certfile.Stamp {
	return certfile.StampOf(cfg.CertPath, cfg.KeyPath, cfg.CACertPath)
}
