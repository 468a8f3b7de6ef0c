package grep11_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/internal/logtest"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// logged is a client that stands, and what it logs.
func logged(t *testing.T) (*standing, *grep11.Client, *logtest.Buffer) {
	t.Helper()
	a, log := newStanding(t), new(logtest.Buffer)
	cfg := a.config(a.address)
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	client := dialTLS(t, cfg)
	eventually(t, "connecting", func() error { return client.Ping(t.Context()) })
	return a, client, log
}

// messages are the lines of a log that has written, by what they say.
func messages(log *logtest.Buffer) (said []string) {
	for _, line := range log.Lines() {
		_, rest, _ := strings.Cut(line, "level=")
		level, rest, _ := strings.Cut(rest, ` msg="`)
		message, _, _ := strings.Cut(rest, `"`)
		said = append(said, level+" "+message)
	}
	return said
}

const (
	renewed    = "INFO certificates renewed"
	notRenewed = "WARN certificates not renewed, the old connection goes on"
)

// TestRefreshRenews each time that the certificates have changed, and says so.
func TestRefreshRenews(t *testing.T) {
	t.Parallel()
	a, client, log := logged(t)
	for serial := int64(11); serial <= 12; serial++ {
		a.issue(t, "client", serial, a.soon)
		refreshUntil(t, client, log, slices.Repeat([]string{renewed}, int(serial-10)))
		if a.seen.Load() != serial {
			t.Errorf("the server saw certificate no. %d, want %d", a.seen.Load(), serial)
		}
	}
}

// TestRefreshTellsATroubleOnce, and again after a renewal.
func TestRefreshTellsATroubleOnce(t *testing.T) {
	t.Parallel()
	a, client, log := logged(t)
	want := []string{}
	for round := range 2 {
		good, err := os.ReadFile(a.path("client.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(a.path("client.pem"), []byte("none"), 0o600); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			ended, end := context.WithCancel(t.Context())
			end()
			_ = client.Refresh(ended) // which is no trouble of the files
		}
		want = append(want, notRenewed)
		refreshUntil(t, client, log, want)
		for range 2 {
			if err := client.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if got := messages(log); !slices.Equal(got, want) {
			t.Errorf("round %d: %q, want %q", round, got, want)
		}
		if err := os.WriteFile(a.path("client.pem"), good, 0o600); err != nil {
			t.Fatal(err)
		}
		a.issue(t, "client", int64(20+round), a.soon)
		want = append(want, renewed)
		refreshUntil(t, client, log, want)
	}
}

// refreshUntil calls Refresh until the log has these messages.
func refreshUntil(t *testing.T, client *grep11.Client, log *logtest.Buffer, want []string) {
	t.Helper()
	eventually(t, "the log of Refresh", func() error {
		err := client.Refresh(t.Context())
		if got := messages(log); err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("logged %q, want %q", got, want)
		}
		return err
	})
}

// TestRefreshLeavesARenewalAlone that is under way: it may hang.
func TestRefreshLeavesARenewalAlone(t *testing.T) {
	t.Parallel()
	a, client, log := logged(t)
	release := client.HoldRenewal()
	a.issue(t, "client", 11, a.soon)
	for range 3 {
		if err := client.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if got := messages(log); got != nil || a.seen.Load() == 11 {
		t.Errorf("amid another renewal: %q", got)
	}
	release()
	refreshUntil(t, client, log, []string{renewed})
}

// TestMechanismsStayAsTold when the server does not tell them any more.
func TestMechanismsStayAsTold(t *testing.T) {
	t.Parallel()
	s := newRefusing(t)
	key := s.key(t, 'a', '1')
	s.lists = []uint64{ep11.MechIBMEd25519SHA512}
	if err := s.client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.noList = status.Error(codes.Unavailable, "no list")
	if err := s.client.Refresh(t.Context()); err == nil {
		t.Error("no list, and no error")
	}
	if lack, ok := errors.AsType[*grep11.LackError](key.Trouble()); !ok || lack.Kind != tezos.P256 {
		t.Errorf("trouble %v, want the mechanism that the list lacks", key.Trouble())
	}
}

// TestCertificatesAreThoseOfTheConfiguration, by their names in keys.json.
func TestCertificatesAreThoseOfTheConfiguration(t *testing.T) {
	t.Parallel()
	a := newStanding(t)
	full := a.config(a.address)
	for name, c := range map[string]struct {
		cfg  grep11.Config
		want []string
	}{
		"both":      {full, []string{"cert_path", "cacert_path"}},
		"the first": {grep11.Config{CertPath: full.CertPath}, []string{"cert_path"}},
		"the CA":    {grep11.Config{CACertPath: full.CACertPath}, []string{"cacert_path"}},
		"none":      {grep11.Config{}, nil},
	} {
		var got []string
		for _, file := range c.cfg.Certificates() {
			if file.Err != nil || file.Cert == nil {
				t.Errorf("%s: %s: %v, want a certificate", name, file.Name, file.Err)
			}
			got = append(got, file.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
