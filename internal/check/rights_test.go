package check

import (
	"os"
	"path/filepath"
	"testing"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/server"
)

// Root may check for a service: the files are judged for the owner of the ratchet.
func TestCheckJudgesForTheOwnerOfTheRatchet(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Keys: []config.KeySpec{{}, {DB: path}}}
	if got := userOf(cfg); got != durable.Self() {
		t.Errorf("our own ratchet: user %d", got)
	}
	if got := userOf(&config.Config{Keys: []config.KeySpec{{DB: path + ".none"}}}); got != durable.Self() {
		t.Errorf("no ratchet yet: user %d", got)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	if err := os.Chown(path, 65532, -1); err != nil {
		t.Fatal(err)
	}
	if got := userOf(cfg); got != 65532 {
		t.Errorf("the ratchet of user 65532: user %d", got)
	}
}

func TestCheckOfHTTPS(t *testing.T) {
	t.Parallel()
	var none, some Report
	none.https(server.HTTPSFiles{}, durable.Self())
	if len(none.Findings) != 0 {
		t.Errorf("without HTTPS: %+v", none.Findings)
	}
	path := filepath.Join(t.TempDir(), "x.pem")
	if err := os.WriteFile(path, nil, 0o606); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o606); err != nil {
		t.Fatal(err)
	}
	some.https(server.HTTPSFiles{Cert: path, Key: path}, durable.Self())
	some.wants(t, Warning, "--tls-cert", "mode 0606 is too open: chmod go-w "+path)
	some.wants(t, Error, "--tls-key", "mode 0606 is too open: chmod 600 "+path)
	some.wants(t, Error, "HTTPS", path)
	some.closedFiles(durable.Self())
	if some.Count(OK) != 0 {
		t.Errorf("%+v", some.Findings)
	}
}
