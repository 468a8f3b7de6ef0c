package signer

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
)

// Check reads what cfg points at and tells what Open would find, but opens no ratchet,
// takes no lock, reads no certificate and connects to nobody: a daemon may be running. The
// keys that it returns have the blobs of their files; where one is bad it is nil, and a
// finding says why. The findings of Load are among the others.
func Check(cfg *Config) ([]KeyConfig, []Finding) {
	o := opener{report: report{findings: slices.Clone(cfg.findings)}, cfg: *cfg}
	o.cfg.Keys = slices.Clone(cfg.Keys)
	o.wrappingID = maps.Clone(cfg.wrappingID)
	o.secret("key_path", o.cfg.HSM.KeyPath)
	o.secret("apikey_file", o.cfg.HSM.APIKeyFile)
	for i := range o.cfg.Keys {
		o.blobFile(&o.cfg.Keys[i])
		o.blobFileMode(o.cfg.Keys[i])
	}
	if len(o.wrappingID) != len(cfg.wrappingID) { // Parse has not seen those in files
		o.checkWrappingKeys()
	}
	return o.cfg.Keys, o.findings
}

// blobFileMode warns of a key blob that others may read or exchange.
func (o *opener) blobFileMode(key KeyConfig) {
	if key.BlobFile == "" {
		return
	}
	path := "keys." + key.PublicKey.Hash().String() + ".secret_key_file"
	if text := TooOpen(key.BlobFile, 0o077); text != "" {
		o.warn(path, "%s", text)
	}
}

// TooOpen says that the mode of a file has one of the forbidden bits, and what to do;
// it is "" when it has none, or when there is no such file. A folder that only its
// owner may remove names from (mode 1777) is open to nobody.
func TooOpen(path string, forbidden os.FileMode) string {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&forbidden == 0 || info.Mode()&os.ModeSticky != 0 && info.IsDir() {
		return ""
	}
	owner := ""
	if unix, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = fmt.Sprintf(", owner %d", unix.Uid)
	}
	return fmt.Sprintf("mode %04o%s is too open: chmod %s %s", info.Mode().Perm(), owner, closed(info.IsDir(), forbidden), path)
}

// closed is what chmod takes to close a file or a folder.
func closed(folder bool, forbidden os.FileMode) string {
	switch {
	case forbidden&0o055 == 0:
		return "go-w"
	case folder:
		return "700"
	}
	return "600"
}
