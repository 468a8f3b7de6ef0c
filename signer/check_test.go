package signer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pawl/ratchet"
	"pawl/signer"
)

// checked loads the keys.json and checks it.
func (f *folder) checked() ([]signer.KeyConfig, []signer.Finding) {
	f.t.Helper()
	cfg, _, err := signer.Load(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	return signer.Check(cfg)
}

// hasFinding is whether one has the severity, the path and the text.
func hasFinding(findings []signer.Finding, severity signer.Severity, path, text string) bool {
	for _, f := range findings {
		if f.Severity == severity && strings.HasSuffix(f.Path, path) && strings.Contains(f.Text, text) {
			return true
		}
	}
	return false
}

func TestCheckReadsBlobsAndModes(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.overwrite("key.sk.hex", f.made.Blob.Hex())
	f.keyFile("key.sk.hex")
	keys, findings := f.checked()
	if len(keys) != 1 || keys[0].Blob.Hex() != f.made.Blob.Hex() {
		t.Fatalf("%+v, %v", keys, findings)
	}
	for _, finding := range findings {
		if finding.Severity > signer.Warning {
			t.Errorf("%v", finding)
		}
	}
	dir := filepath.Dir(f.path)
	chmod(t, filepath.Join(dir, "key.sk.hex"), 0o644)
	chmod(t, filepath.Join(dir, "client-key.pem"), 0o640)
	keys, findings = f.checked()
	if keys[0].Blob == nil || !hasFinding(findings, signer.Warning, "secret_key_file", "mode 0644") ||
		!hasFinding(findings, signer.Unopenable, "key_path", "mode 0640 is too open") {
		t.Errorf("%v", findings)
	}
	f.overwrite("key.sk.hex", "no hex")
	keys, findings = f.checked()
	if keys[0].Blob != nil || !hasFinding(findings, signer.Unopenable, "secret_key_file", "is not hex") {
		t.Errorf("%v", findings)
	}
	f.remove("client-key.pem")
	if _, findings = f.checked(); !hasFinding(findings, signer.Unopenable, "key_path", "no such file") {
		t.Errorf("%v", findings)
	}
}

// Beside a daemon nothing is in its way.
func TestCheckTakesNoLock(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.checked()
	s, _, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, findings := f.checked(); hasFinding(findings, signer.Unopenable, "", "") {
		t.Errorf("beside an open signer: %v", findings)
	}
	closeSigner(t, s)
	f.inRatchet(func(*ratchet.DB) error { return nil })
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestTooOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path      string
		mode      os.FileMode
		forbidden os.FileMode
		want      string
	}{
		{path, 0o600, 0o077, ""},
		{path, 0o640, 0o077, "chmod 600 " + path},
		{path, 0o644, 0o022, ""},
		{path, 0o664, 0o022, "chmod go-w " + path},
		{dir, 0o755, 0o022, ""},
		{dir, 0o775, 0o022, "chmod go-w " + dir},
		{dir, 0o755, 0o077, "chmod 700 " + dir},
		{dir, 0o777 | os.ModeSticky, 0o022, ""},
		{path + ".none", 0, 0o077, ""},
	} {
		if _, err := os.Stat(test.path); err == nil {
			chmod(t, test.path, test.mode)
		}
		if got := signer.TooOpen(test.path, test.forbidden); !strings.HasSuffix(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s %v, forbidden %04o: %q, want %q", test.path, test.mode, test.forbidden, got, test.want)
		}
	}
	chmod(t, dir, 0o700)
}
