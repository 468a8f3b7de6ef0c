package grep11_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"

	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// reload calls Reload until it has moved.
func reload(t *testing.T, client *grep11.Client) {
	t.Helper()
	eventually(t, "moving to the renewed certificates", func() error {
		moved, err := client.Reload(t.Context())
		if err == nil && !moved {
			err = errors.New("nothing has changed")
		}
		return err
	})
	if moved, err := client.Reload(t.Context()); moved || err != nil {
		t.Errorf("after moving: moved %v again, %v", moved, err)
	}
}

// Each file that changes moves a connection that stands, while calls go on.
func TestReloadMovesAStandingConnection(t *testing.T) {
	t.Parallel()
	a := newStanding(t)
	if moved, err := a.client.Reload(t.Context()); moved || err != nil {
		t.Errorf("nothing has changed: moved %v, %v", moved, err)
	}
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() { // calls all the while
		for {
			if err := a.client.Ping(t.Context()); err != nil {
				done <- err
				return
			}
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
		}
	}()
	a.issue(t, "client", 9, a.soon)
	reload(t, a.client)
	if a.seen.Load() != 9 {
		t.Errorf("the server saw certificate no. %d, want 9", a.seen.Load())
	}
	a.seen.Store(0)
	old, err := os.ReadFile(a.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	other := newAuthority(t)
	if err := os.WriteFile(a.path("ca.pem"), append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.cert.Raw}), old...), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(t, a.client)
	if a.seen.Load() != 9 {
		t.Error("a new CA file has not moved the connection")
	}
	// A renewal by a link to another folder, as a rename leaves no moment without a file.
	fresh := newAuthority(t)
	fresh.cert, fresh.key = a.cert, a.key
	fresh.issue(t, "client", 11, a.soon)
	for _, name := range []string{"client.pem", "client-key.pem"} {
		if err := os.Symlink(fresh.path(name), a.path("link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(a.path("link"), a.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	reload(t, a.client)
	if a.seen.Load() != 11 {
		t.Errorf("the server saw certificate no. %d, want 11", a.seen.Load())
	}
	close(stop)
	if err := <-done; err != nil {
		t.Errorf("a call meanwhile: %v", err)
	}
}

// connections counts those of a server that have ended.
type connections struct {
	stats.Handler
	ended atomic.Int64
}

func (*connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (*connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (*connections) HandleRPC(context.Context, stats.RPCStats)                       {}

func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, end := s.(*stats.ConnEnd); end {
		c.ended.Add(1)
	}
}

// A call that began on the old connection ends there; the connection is closed after that.
func TestReloadLeavesCallsAlone(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	a := newAuthority(t)
	a.issue(t, "server", 2, soon, "127.0.0.1")
	a.issue(t, "client", 7, soon)
	cert, err := tls.LoadX509KeyPair(a.path("server.pem"), a.path("server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	var seen connections
	entered, leave := make(chan struct{}), make(chan struct{})
	server := &scripted{sign: func(_ context.Context, r *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
		close(entered)
		<-leave
		return signed(r)
	}}
	address, _ := serve(t, "127.0.0.1:0", server.register, grpc.Creds(credentials.NewServerTLSFromCert(&cert)), grpc.StatsHandler(&seen))
	client := dialTLS(t, a.config(address))
	eventually(t, "connecting", func() error { return client.Ping(t.Context()) })
	done := make(chan error, 1)
	key := keyOf(t, client, ep11test.Blob())
	go func() { _, err := key.Sign(t.Context(), tezos.Message{}); done <- err }()
	<-entered
	a.issue(t, "client", 9, soon)
	reload(t, client)
	time.Sleep(500 * time.Millisecond)
	close(leave)
	if err := <-done; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	eventually(t, "closing the old connection", func() error {
		if seen.ended.Load() != 1 {
			return fmt.Errorf("%d connections have ended", seen.ended.Load())
		}
		return nil
	})
	if err := client.Ping(t.Context()); err != nil {
		t.Errorf("after the old connection was closed: %v", err)
	}
}

// What cannot be used is told, by its name, and the old connection goes on.
func TestReloadKeepsTheOldConnection(t *testing.T) {
	t.Parallel()
	a := newStanding(t)
	stranger := newAuthority(t)
	stranger.issue(t, "client", 8, a.soon)
	for name, test := range map[string]struct {
		spoil func()
		want  string
	}{
		"key not renewed yet": {func() {
			writePEM(t, a.path("client.pem"), "CERTIFICATE", stranger.cert.Raw)
		}, "client-key.pem"},
		"gone":    {func() { _ = os.Remove(a.path("client.pem")) }, "no such file"},
		"expired": {func() { a.issue(t, "client", 10, time.Now().Add(-time.Minute)) }, "expired at"},
		"refused by the server": {func() {
			for _, file := range []string{"client.pem", "client-key.pem"} {
				data, err := os.ReadFile(stranger.path(file))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(a.path(file), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, "Unavailable"},
		"server of another CA": {func() {
			a.issue(t, "client", 7, a.soon)
			writePEM(t, a.path("ca.pem"), "CERTIFICATE", stranger.cert.Raw)
		}, "unknown authority"},
	} {
		a.issue(t, "client", 7, a.soon)
		writePEM(t, a.path("ca.pem"), "CERTIFICATE", a.cert.Raw)
		test.spoil()
		for range 2 { // it is tried again
			moved, err := a.client.Reload(t.Context())
			if moved || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: moved %v, %v; want an error with %q", name, moved, err, test.want)
			}
		}
		if err := a.client.Ping(t.Context()); err != nil {
			t.Errorf("%s: the old connection: %v", name, err)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	a.issue(t, "client", 12, a.soon)
	writePEM(t, a.path("ca.pem"), "CERTIFICATE", a.cert.Raw)
	if moved, err := a.client.Reload(canceled); moved || err == nil {
		t.Errorf("canceled: moved %v, %v", moved, err)
	}
	reload(t, a.client)
	if a.seen.Load() != 12 {
		t.Errorf("the server saw certificate no. %d, want 12", a.seen.Load())
	}
	if err := a.client.Close(); err != nil {
		t.Error(err)
	}
	a.issue(t, "client", 13, a.soon)
	if moved, err := a.client.Reload(t.Context()); moved || err != nil {
		t.Errorf("closed: moved %v, %v", moved, err)
	}
}
