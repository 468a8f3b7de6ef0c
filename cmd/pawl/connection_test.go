package main

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/tezos"
)

// TestKeyIsMadeAtTheFirstServerThatAnswers: once, and not at a server that is down. When
// all are, each is named.
func TestKeyIsMadeAtTheFirstServerThatAnswers(t *testing.T) {
	t.Parallel()
	dir := softcard.Dir(filepath.Join(t.TempDir(), "card"))
	if _, err := dir.Init(); err != nil {
		t.Fatal(err)
	}
	var servers []grep11.Config
	var made [3]*softcard.Fault // counts
	for i := range made {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, grep11.Config{
			Address: ln.Addr().String(), CertPath: filepath.Join(string(dir), "client.pem"),
			KeyPath: filepath.Join(string(dir), "client-key.pem"), CACertPath: filepath.Join(string(dir), "ca.pem"),
		})
		if i == 0 {
			_ = ln.Close() // this one is down
			continue
		}
		card, err := softcard.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		made[i] = &softcard.Fault{Call: "GenerateKeyPair", Delay: 1}
		card.SetFaults(made[i])
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		go func() { _ = card.Serve(ctx, ln, dir, false) }()
	}
	key, err := newKey(t.Context(), servers, tezos.P256, false)
	if err != nil || key.PublicKey.Kind() != tezos.P256 {
		t.Errorf("newKey: %v, %v", key.PublicKey, err)
	}
	if made[1].Hits()+made[2].Hits() != 1 {
		t.Errorf("the servers made %d and %d keys, want one in all", made[1].Hits(), made[2].Hits())
	}
	down := []grep11.Config{servers[0], servers[0]}
	_, err = newKey(t.Context(), down, tezos.P256, false)
	if err == nil || strings.Count(err.Error(), servers[0].Address+": GetMechanismList: Unavailable") != 2 || strings.Contains(err.Error(), "\n") {
		t.Errorf("all down: %v; want each named on one line", err)
	}
}

// TestSilentServersCostOneTimeout, as many as there are.
func TestSilentServersCostOneTimeout(t *testing.T) {
	t.Parallel()
	d := newDomains(t, 1)
	good, err := connectionOf(d.config)
	if err != nil {
		t.Fatal(err)
	}
	var silent []grep11.Config
	for range 15 {
		server := good[0]
		ln := loopbackListener(t) // which takes connections and says nothing
		t.Cleanup(func() { _ = ln.Close() })
		server.Address = ln.Addr().String()
		silent = append(silent, server)
	}
	began := time.Now()
	if _, err := newKey(t.Context(), append(slices.Clone(silent), good...), tezos.P256, false); err != nil || time.Since(began) > 4*time.Second {
		t.Errorf("%v after %v, want a key of the last server at once", err, time.Since(began))
	}
	began = time.Now()
	_, err = newKey(t.Context(), silent, tezos.P256, false)
	if took := time.Since(began); err == nil || strings.Count(err.Error(), ": GetMechanismList: ") != len(silent) || took > 4*time.Second {
		t.Errorf("%v after %v; want each of %d named after two seconds", err, took, len(silent))
	}
}
