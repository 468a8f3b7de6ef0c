package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"pawl/server"
)

// echoCmd is the HTTP server of the standard library with nothing behind it. It is
// a process of its own, because pawl is one.
type echoCmd struct {
	Cert     string
	Key      string
	ClientCA string
}

// Run serves until ctx is done, and says first where.
func (c *echoCmd) Run(ctx context.Context) error {
	https, err := server.OpenHTTPS(server.HTTPSFiles{Cert: c.Cert, Key: c.Key, ClientCA: c.ClientCA})
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(os.Stderr, `{"msg":"listening","address":%q}`+"\n", ln.Addr()); err != nil {
		return err
	}
	if https != nil {
		ln = tls.NewListener(ln, https.Config())
	}
	srv := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
