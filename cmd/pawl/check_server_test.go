package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pawl/softcard"
	"pawl/softcard/cardtest"
)

func TestCheckFindsTheDialect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		odd        oddServer
		configured string
		status     string
		text       string
	}{
		{oddServer{v1: true}, "both", "ok", "reads dialect v1; keys.json has both"},
		{oddServer{v2: true}, "both", "ok", "reads dialect v2; keys.json has both"},
		{oddServer{v2: true}, "v1", "error", "reads dialect v2, and not v1 as keys.json has it"},
		{oddServer{v1: true}, "v2", "error", "reads dialect v1, and not v2 as keys.json has it"},
	} {
		config, _ := checkedDemo(t, &test.odd)
		replaceIn(t, config, `{`, `{"dialect": "`+test.configured+`", `)
		runCheck(t, config).want(t, 1, test.status, "server", test.text)
	}
}

func TestCheckComparesClocks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		off    time.Duration
		status string
		text   string
	}{
		{0, "ok", "its clock agrees"},
		{2 * time.Second, "ok", "its clock agrees"},
		{time.Hour, "warning", "its clock and that of this host differ by "},
		{-time.Minute, "warning", "its clock and that of this host differ by "},
	} {
		config, _ := checkedDemo(t, &oddServer{date: time.Now().Add(test.off).UTC().Format(http.TimeFormat)})
		runCheck(t, config).want(t, 1, test.status, "server", test.text)
	}
}

// A certificate of the future: the clock is wrong, here or there.
func TestCheckTellsOfACertificateThatHasNotBegun(t *testing.T) {
	t.Parallel()
	ln, dir := cardtest.Listen(t, "127.0.0.1:0"), filepath.Join(t.TempDir(), "demo")
	config := filepath.Join(dir, demoConfig)
	if err := openFolder(t.Context(), &streams{io.Discard, io.Discard}, dir, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if err := certify(dir, 20_000, 100); err != nil {
		t.Fatal(err)
	}
	cardtest.ServeOn(t, cardtest.Open(t, softcard.Dir(dir)), softcard.Dir(dir), ln)
	runCheck(t, config).want(t, 1, "error", "server", "begins on")
}

// Without a token no call is made, and the HSM is not to blame.
func TestCheckTellsThatNoTokenCame(t *testing.T) {
	t.Parallel()
	silent, closed := cardtest.Listen(t, "127.0.0.1:0"), cardtest.Listen(t, "127.0.0.1:0")
	defer func() { _ = silent.Close() }()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for endpoint, want := range map[string]string{
		"https://" + silent.Addr().String(): "none has come from https://" + silent.Addr().String(),
		"https://" + closed.Addr().String(): "connection refused",
	} {
		config, _ := checkedDemo(t, nil)
		key := filepath.Join(filepath.Dir(config), "apikey")
		if err := os.WriteFile(key, []byte("abc"), 0o600); err != nil {
			t.Fatal(err)
		}
		replaceIn(t, config, `{`, `{"apikey_file": "apikey", "iam_endpoint": "`+endpoint+`", `)
		got := runCheck(t, config)
		got.want(t, 1, "error", "server", "IAM token: ")
		got.want(t, 1, "error", "server", want)
		got.wantRemedy(t, "server", "reaches the IAM endpoint")
	}
}

// Whether a server reads a dialect is unknown when it did not answer.
func TestCheckOfADialectWithoutAnswer(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Skip: 3, Times: 1, Err: softcard.Unavailable()})
	got := runCheck(t, config)
	got.want(t, 1, "warning", "server", "does not tell whether it reads dialect v1")
	got.want(t, 0, "ok", "server", "reads dialect")
}

func TestCheckOfAServerWithoutMechanisms(t *testing.T) {
	t.Parallel()
	config, _ := checkedDemo(t, &oddServer{lacksAll: true})
	runCheck(t, config).want(t, 1, "error", "server", "offers 0 mechanisms")
}

// An API key that others may read has a finding with the cure; the server has none to blame.
func TestCheckOfAnAPIKeyFileThatIsOpen(t *testing.T) {
	t.Parallel()
	config, _ := checkedDemo(t, nil)
	key := filepath.Join(filepath.Dir(config), "apikey")
	if err := errors.Join(os.WriteFile(key, []byte("abc"), 0o600), os.Chmod(key, 0o644)); err != nil {
		t.Fatal(err)
	}
	replaceIn(t, config, `{`, `{"apikey_file": "apikey", `)
	got := runCheck(t, config)
	got.want(t, 1, "error", "apikey_file", "mode 0644 is too open: chmod 600")
	got.wantRemedy(t, "server", "no server is to blame")
}
