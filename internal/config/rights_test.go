package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pawl/internal/config"
	"pawl/internal/durable"
)

// rightsFolder is a keys.json with all the files that it may name, each closed to others.
func rightsFolder(t *testing.T) (dir string, cfg *config.Config) {
	t.Helper()
	dir = t.TempDir()
	text := sample(`"/etc/pawl/ca.pem"`, `"tls/ca.pem", "apikey_file": "api/key"`,
		`"secret_key": "`+sampleBlob("01")+`"`, `"secret_key_file": "blobs/1.sk.hex"`, `"ratchet.db"`, `"marks/ratchet.db"`)
	for name, content := range map[string]string{
		"keys.json": text, "client.pem": "", "client-key.pem": "", "tls/ca.pem": "", "api/key": "k", "blobs/1.sk.hex": sampleBlob("01"),
		"marks/ratchet.db": "", "marks/ratchet.db-wal": "", "marks/ratchet.db-last": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, findings, err := config.Load(filepath.Join(dir, "keys.json"))
	if err != nil {
		t.Fatal(err, findings)
	}
	return dir, cfg
}

// Each file and folder in the hands of others, in turn: what decides what is signed forbids the
// start, and so does a secret that others may read; the rest is a warning. The finding names it.
func TestRights(t *testing.T) {
	t.Parallel()
	const fatal, warning = config.Unopenable, config.Warning
	const blob = "keys." + sampleHash + ".secret_key_file"
	for _, test := range []struct {
		name  string
		mode  fs.FileMode
		want  config.Severity // 0: nothing is wrong
		path  string
		chmod string
	}{
		{"client.pem", 0o644, 0, "", ""},
		{"client.pem", 0o646, fatal, "cert_path", "go-w"},
		{"tls/ca.pem", 0o664, fatal, "cacert_path", "go-w"},
		{"client-key.pem", 0o640, fatal, "key_path", "600"},
		{"client-key.pem", 0o602, fatal, "key_path", "600"},
		{"api/key", 0o604, fatal, "apikey_file", "600"},
		{"blobs/1.sk.hex", 0o644, warning, blob, "600"},
		{"blobs/1.sk.hex", 0o666, fatal, blob, "600"},
		{"blobs/1.sk.hex", 0o620, fatal, blob, "600"},
		{"marks/ratchet.db", 0o644, warning, "DIR/marks/ratchet.db", "600"},
		{"marks/ratchet.db", 0o666, fatal, "DIR/marks/ratchet.db", "600"},
		{"marks/ratchet.db-wal", 0o660, fatal, "DIR/marks/ratchet.db-wal", "600"},
		{"marks/ratchet.db-last", 0o606, fatal, "DIR/marks/ratchet.db-last", "600"},
		{"marks", 0o755, 0, "", ""},
		{"marks", 0o777, fatal, "DIR/marks", "go-w"},
		{"marks", 0o777 | fs.ModeSticky, 0, "", ""},
		{"blobs", 0o775, fatal, "DIR/blobs", "go-w"},
		{"tls", 0o757, fatal, "DIR/tls", "go-w"},
		{"api", 0o777, warning, "DIR/api", "go-w"},
		{"", 0o777, fatal, "DIR", "go-w"},
		{"..", 0o777, warning, "UP", "go-w"},
	} {
		dir, cfg := rightsFolder(t)
		path := filepath.Join(dir, test.name)
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		findings := cfg.Rights(durable.Self())
		if test.want == 0 {
			if len(findings) != 0 {
				t.Errorf("%s of mode %v: %v", test.name, test.mode, findings)
			}
			continue
		}
		subject := strings.NewReplacer("DIR", dir, "UP", filepath.Dir(dir)).Replace(test.path)
		if len(findings) != 1 || findings[0].Severity != test.want || findings[0].Path != subject ||
			findings[0].Code != config.ModeOpen || !strings.Contains(findings[0].Text, "chmod "+test.chmod+" "+path) {
			t.Errorf("%s of mode %v: %v, want one of severity %d about %s", test.name, test.mode, findings, test.want, subject)
		}
	}
}

// What belongs to somebody else is as bad as what others may write. Root's is as good as our own.
func TestRightsOfOwners(t *testing.T) {
	t.Parallel()
	dir, cfg := rightsFolder(t)
	if findings := cfg.Rights(durable.Self()); len(findings) != 0 {
		t.Errorf("our own: %v", findings)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	const other = 65531
	if findings := cfg.Rights(other); len(findings) != 0 {
		t.Errorf("root's, for another user: %v", findings)
	}
	for name, want := range map[string]config.Severity{
		"keys.json": config.Unopenable, "client.pem": config.Unopenable, "client-key.pem": config.Unopenable,
		"tls/ca.pem": config.Unopenable, "api/key": config.Warning, "blobs/1.sk.hex": config.Unopenable,
		"marks/ratchet.db": config.Unopenable, "marks/ratchet.db-wal": config.Unopenable, "marks/ratchet.db-last": config.Unopenable,
		"marks": config.Unopenable, "api": config.Warning,
	} {
		path := filepath.Join(dir, name)
		if err := os.Chown(path, other, -1); err != nil {
			t.Fatal(err)
		}
		findings := cfg.Rights(0)
		if len(findings) != 1 || findings[0].Severity != want || !strings.Contains(findings[0].Text, "belongs to user 65531") ||
			!strings.Contains(findings[0].Text, "chown 0 "+path) {
			t.Errorf("%s: %v, want severity %d", name, findings, want)
		}
		if err := os.Chown(path, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTPSRights(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := make(map[string]string)
	for flag, folder := range map[string]string{"--tls-cert": "a", "--tls-key": "b", "--tls-client-ca": "c"} {
		paths[flag] = filepath.Join(dir, folder, "x.pem")
		if err := os.Mkdir(filepath.Dir(paths[flag]), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(paths[flag], nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	judge := func() []config.Finding {
		return config.HTTPSRights(durable.Self(), paths["--tls-cert"], paths["--tls-key"], paths["--tls-client-ca"])
	}
	if findings := append(judge(), config.HTTPSRights(durable.Self(), "", "", "")...); len(findings) != 0 {
		t.Errorf("closed: %v", findings)
	}
	for _, test := range []struct {
		flag   string
		folder bool
		mode   fs.FileMode
		want   config.Severity
	}{
		{"--tls-cert", false, 0o666, config.Warning},
		{"--tls-cert", true, 0o777, config.Warning},
		{"--tls-key", false, 0o640, config.Unopenable},
		{"--tls-key", true, 0o777, config.Warning},
		{"--tls-client-ca", false, 0o660, config.Unopenable},
		{"--tls-client-ca", true, 0o777, config.Unopenable},
	} {
		path := paths[test.flag]
		subject := test.flag
		if test.folder {
			path = filepath.Dir(path)
			subject = path
		}
		was, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		if findings := judge(); len(findings) != 1 || findings[0].Path != subject || findings[0].Severity != test.want {
			t.Errorf("%s of mode %v: %v, want severity %d", path, test.mode, findings, test.want)
		}
		if err := os.Chmod(path, was.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}
