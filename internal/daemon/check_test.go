package daemon_test

import (
	"path/filepath"
	"testing"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/ratchet/ratchettest"
)

// checked loads the keys.json and checks it.
func (f *folder) checked() ([]config.KeySpec, []config.Finding) {
	f.t.Helper()
	cfg, _, err := config.Load(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	read, findings := cfg.ReadFiles(durable.Self())
	return read.Keys, findings
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
		if finding.Severity > config.Warning {
			t.Errorf("%v", finding)
		}
	}
	dir := filepath.Dir(f.path)
	chmod(t, filepath.Join(dir, "key.sk.hex"), 0o644)
	chmod(t, filepath.Join(dir, "client-key.pem"), 0o640)
	keys, findings = f.checked()
	if keys[0].Blob == nil || !unopenable(findings, "key_path", "mode 0640 is too open") {
		t.Errorf("%v", findings)
	}
	f.overwrite("key.sk.hex", "no hex")
	keys, findings = f.checked()
	if keys[0].Blob != nil || !unopenable(findings, "secret_key_file", "is not hex") {
		t.Errorf("%v", findings)
	}
	f.remove("client-key.pem")
	if _, findings = f.checked(); !unopenable(findings, "key_path", "no such file") {
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
	if _, findings := f.checked(); unopenable(findings, "", "") {
		t.Errorf("beside an open signer: %v", findings)
	}
	closeSigner(t, s)
	f.inRatchet(func(*ratchettest.DB) error { return nil })
}
