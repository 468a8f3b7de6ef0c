package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// awaitReadyCommand is `await-ready ADMIN`: it waits until /readyz says 200.
func awaitReadyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await-ready ADMIN")
	}
	deadline := time.Now().Add(patience)
	for {
		res, err := http.Get("http://" + args[0] + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s is not ready: %v %v", args[0], res, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// badConfigCommand is `badconfig FILE REGEXP`: serve refuses the keys.json with
// an error that matches, for each thing that is wrong one line.
func badConfigCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: badconfig FILE REGEXP")
	}
	exitsCommand(ts, false, []string{"1", "pawl", "serve", "--config", args[0], "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"})
	pattern := "^pawl: error: .*" + args[1]
	for line := range strings.SplitSeq(ts.ReadFile("stderr"), "\n") {
		if matches(ts, pattern, line) {
			return
		}
	}
	ts.Fatalf("%s: no line matches %s:\n%s", args[0], pattern, ts.ReadFile("stderr"))
}

// nodeCommand is `node FILE LEVEL|URL`: a keys.json without a node_url gets this one, or that of a Tezos node
// whose head is at that level of mainnet, since now, until the end of the script.
func nodeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: node FILE LEVEL|URL")
	}
	url := args[1]
	if !strings.Contains(url, "://") {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			now := time.Now().UTC().Format(time.RFC3339)
			_, _ = fmt.Fprintf(w, `{"chain_id": %q, "level": %s, "timestamp": %q}`, tezostest.Mainnet, args[1], now)
		}))
		ts.Defer(srv.Close)
		url = srv.URL
	}
	text := strings.Replace(ts.ReadFile(args[0]), "{", fmt.Sprintf(`{"node_url": %q, `, url), 1)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// expandCommand is `expand FILE…`: it replaces $NAME in files of mode 0600.
func expandCommand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		path := ts.MkAbs(name)
		ts.Check(errors.Join(os.Remove(path), os.WriteFile(path, []byte(text), 0o600)))
	}
}

// freshKeyCommand is `freshkey FILE`: a new Ed25519 key in PEM, mode 0600.
func freshKeyCommand(ts *testscript.TestScript, neg bool, args []string) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

// filesCommand is `files DIR COUNT`: the folder holds that many, hidden ones too.
func filesCommand(ts *testscript.TestScript, neg bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if strconv.Itoa(len(entries)) != args[1] {
		ts.Fatalf("%s holds %d files, want %s: %v", args[0], len(entries), args[1], entries)
	}
}

// holdsCommand is `holds FILE TEXT`: the file is TEXT, without a newline.
func holdsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if got := ts.ReadFile(args[0]); got != args[1] {
		ts.Fatalf("%s holds %q, want %q", args[0], got, args[1])
	}
}

// publicInfoCommand is `publicinfo FILE PUBLICKEY`: the file is DER and has the
// key in it, by its 32 bytes or its x coordinate.
func publicInfoCommand(ts *testscript.TestScript, neg bool, args []string) {
	key, err := tezos.ParsePublicKey(args[1])
	ts.Check(err)
	der, err := os.ReadFile(filepath.Clean(ts.MkAbs(args[0])))
	ts.Check(err)
	raw := key.Bytes()
	if len(der) == 0 || der[0] != 0x30 || !bytes.Contains(der, raw[len(raw)-32:]) {
		ts.Fatalf("%s is no public key info of %s: %s", args[0], args[1], hex.EncodeToString(der))
	}
}

// payloadCommand is `payload VAR KIND LEVEL ROUND [CHAIN]`: the hex of a payload, of
// mainnet if no chain is named.
func payloadCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 && len(args) != 5 {
		ts.Fatalf("usage: payload VAR block|preattestation|attestation LEVEL ROUND [CHAIN]")
	}
	level, err := strconv.Atoi(args[2])
	ts.Check(err)
	round, err := strconv.Atoi(args[3])
	ts.Check(err)
	chain := tezostest.Mainnet
	if len(args) == 5 {
		chain, err = tezos.ParseChainID(args[4])
		ts.Check(err)
	}
	for _, kind := range []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation} {
		if kind.String() == args[1] {
			ts.Setenv(args[0], fmt.Sprintf("%x", tezostest.Consensus(chain, kind, int32(level), int32(round), tezostest.PayloadHash(0))))
			return
		}
	}
	ts.Fatalf("no kind %s", args[1])
}
