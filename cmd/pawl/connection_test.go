package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"pawl/internal/durable"
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

// A credential.yaml that an editor of Windows wrote is read, or called what it is.
func TestCredentialOfWindows(t *testing.T) {
	t.Parallel()
	const text = "\ufeff# the HSM\r\nurl: localhost:9876\r\ncert_path: c.pem\r\nkey_path: \"k.pem\"\r\ncacert_path: a.pem # its CA\r\n"
	cfg, err := parseCredential([]byte(text), "/d")
	if err != nil || cfg.Address != "localhost:9876" || cfg.KeyPath != "/d/k.pem" || cfg.CACertPath != "/d/a.pem" {
		t.Errorf("%+v, %v", cfg, err)
	}
	var wide []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	if _, err := parseCredential(wide, "/d"); !errors.Is(err, durable.ErrUTF16) || !strings.Contains(err.Error(), "./credential.yaml") {
		t.Errorf("%v, want ErrUTF16 with the file named", err)
	}
	for value, want := range map[string]string{
		"localhost":              `"localhost" is not host:port`,
		"localhost:0":            "the port is not a number",
		"https://localhost:9876": "has a scheme",
		"a\x00b:1":               `"a\x00b:1" has a control character`,
		"a\u200b:1":              `"a\u200b:1" has a control character or an invisible one`,
		sandboxSecret:            "a clear secret key (edsk…)",
	} {
		_, err := parseCredential([]byte("url: "+value+"\n"), "/d")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), sandboxSecret[4:]) {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
}
