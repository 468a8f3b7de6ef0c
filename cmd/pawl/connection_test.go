package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// TestKeyIsMadeAtTheFirstServerThatAnswers: once, and not at a server that is down. When
// all are, each is named.
func TestKeyIsMadeAtTheFirstServerThatAnswers(t *testing.T) {
	t.Parallel()
	dir := cardtest.Folder(t)
	var servers []grep11.Config
	var made [3]*softcard.Fault // counts
	for i := range made {
		card := cardtest.Open(t, dir)
		made[i] = &softcard.Fault{Call: "GenerateKeyPair", Delay: 1}
		card.SetFaults(made[i])
		server := cardtest.Serve(t, card, dir)
		servers = append(servers, server.Config())
		if i == 0 {
			server.Stop() // this one is down
		}
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
		ln := cardtest.Listen(t, "127.0.0.1:0") // which takes connections and says nothing
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
