package grep11_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

func TestHandshakeTellsOfThePeer(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	end := time.Now().Add(30 * time.Minute).Truncate(time.Second)
	a.issue(t, "server", 2, end, "127.0.0.1")
	a.issue(t, "client", 3, end)
	var seen atomic.Int64
	address, _ := a.serveTLS(t, "127.0.0.1:0", &seen, 0, &scripted{})
	peer, err := grep11.Handshake(t.Context(), a.config(address))
	if err != nil {
		t.Fatal(err)
	}
	if peer.Version != "TLS 1.3" || peer.Elapsed <= 0 || !peer.Certificates[0].NotAfter.Equal(end) ||
		peer.Certificates[0].Subject.CommonName != "server" {
		t.Errorf("%+v", peer)
	}
}

// A certificate that does not verify is returned with the error, since its dates may say why.
func TestHandshakeTellsOfABadPeer(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "client", 3, time.Now().Add(time.Hour))
	for name, test := range map[string]struct {
		end   time.Time
		hosts []string
		want  string
	}{
		"expired":      {time.Now().Add(-time.Hour), []string{"127.0.0.1"}, "expired"},
		"another name": {time.Now().Add(time.Hour), []string{"elsewhere"}, "doesn't contain any IP SANs"},
	} {
		a.issue(t, "server", 2, test.end, test.hosts...)
		var seen atomic.Int64
		address, _ := a.serveTLS(t, "127.0.0.1:0", &seen, 0, &scripted{})
		peer, err := grep11.Handshake(t.Context(), a.config(address))
		if err == nil || !strings.Contains(err.Error(), test.want) || len(peer.Certificates) != 1 {
			t.Errorf("%s: %+v, %v, want %s", name, peer, err, test.want)
		}
	}
}

func TestHandshakeFails(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "client", 3, time.Now().Add(time.Hour))
	plain, _ := serve(t, "127.0.0.1:0", (&scripted{}).register)
	missing := a.config(plain)
	missing.CACertPath = filepath.Join(t.TempDir(), "none.pem")
	for name, test := range map[string]struct {
		cfg  grep11.Config
		want string
	}{
		"nobody":     {a.config(deadAddress(t)), "connection refused"},
		"no TLS":     {a.config(plain), "first record does not look like a TLS handshake"},
		"no address": {a.config("host"), "want host:port"},
		"no CA":      {missing, "no such file"},
	} {
		if _, err := grep11.Handshake(t.Context(), test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// The server accepts connections and sends nothing.
func TestHandshakeIsBoundedInTime(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "client", 3, time.Now().Add(time.Hour))
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	start := time.Now()
	_, err = grep11.Handshake(t.Context(), a.config(silent.Addr().String()))
	if took := time.Since(start); err == nil || took < 2*time.Second || took > 20*time.Second {
		t.Errorf("%v after %v, want an error after 3 s", err, took)
	}
}

// clocked is a server that adds a date to its answers.
type clocked struct {
	scripted
	date []string
}

func (c *clocked) GetMechanismList(
	ctx context.Context, _ *pb.GetMechanismListRequest,
) (*pb.GetMechanismListResponse, error) {
	header := metadata.MD{}
	header.Append("date", c.date...)
	return &pb.GetMechanismListResponse{}, grpc.SetHeader(ctx, header)
}

func TestClock(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		date []string
		want time.Time
		ok   bool
	}{
		{nil, time.Time{}, true},
		// RFC 9110 section 5.6.7
		{[]string{"Sun, 06 Nov 1994 08:49:37 GMT"}, time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC), true},
		{[]string{"yesterday"}, time.Time{}, false},
	} {
		server := &clocked{date: test.date}
		address, _ := serve(t, "127.0.0.1:0", func(s *grpc.Server) { pb.RegisterCryptoServer(s, server) })
		got, err := dial(t, grep11.Config{Address: address}).Clock(t.Context())
		if !got.Equal(test.want) || (err == nil) != test.ok {
			t.Errorf("%q: %v, %v, want %v", test.date, got, err, test.want)
		}
	}
	if _, err := dial(t, grep11.Config{Address: deadAddress(t)}).Clock(t.Context()); err == nil {
		t.Error("nobody told the time")
	}
}
