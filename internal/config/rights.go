package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"pawl/internal/durable"
)

// Rights judges in whose hands the files that keys.json names are, for the user who runs the
// daemon. Only that user and root may own or write what decides what is signed (keys.json, key
// blobs, ratchets, certificates and authorities of the HSM) and the folders that hold it, and only
// that user may read a private key or an API key: else the daemon does not start. The rest is
// warned of. A file that is not there has no finding.
func (c *Config) Rights(user durable.User) []Finding {
	r := rights{user: user, folders: make(map[string]folder)}
	r.judge("", c.Path, Unopenable, may)
	r.judge("cert_path", c.HSM.CertPath, Unopenable, may)
	r.judge("key_path", c.HSM.KeyPath, Unopenable, Unopenable)
	r.judge("cacert_path", c.HSM.CACertPath, Unopenable, may)
	r.judge("apikey_file", c.HSM.APIKeyFile, Warning, Unopenable)
	ratchets := make(map[string]bool)
	for i := range c.Keys {
		key := &c.Keys[i]
		r.judge(key.path("secret_key_file"), key.BlobFile, Unopenable, Warning)
		ratchets[key.DB] = true
	}
	for _, path := range slices.Sorted(maps.Keys(ratchets)) {
		for _, suffix := range []string{"", "-wal", "-last"} {
			r.judge(path+suffix, path+suffix, Unopenable, Warning)
		}
	}
	r.judgeFolders()
	return r.findings
}

// HTTPSRights judges the files of pawl's own HTTPS, by the flags that name them. The authority of
// clients says who may ask for signatures, as authorized_keys does, and is judged like it.
func HTTPSRights(user durable.User, cert, key, clientCA string) []Finding {
	r := rights{user: user, folders: make(map[string]folder)}
	r.judge("--tls-cert", cert, Warning, may)
	r.judge("--tls-key", key, Warning, Unopenable)
	r.judge("--tls-client-ca", clientCA, Unopenable, may)
	r.judgeFolders()
	return r.findings
}

// may is the severity of what others may do.
const may Severity = 0

// rights collects what others may do and must not.
type rights struct {
	report
	user    durable.User
	folders map[string]folder // by absolute path
}

// folder is one that leads to a file, under the name that keys.json gives it.
type folder struct {
	name     string
	severity Severity // of others who may write to it
}

// judge judges one file: written is how bad it is if others may write it, and read if they may
// read it. Its folders are kept for judgeFolders.
func (r *rights) judge(path, file string, written, read Severity) {
	info, err := os.Stat(file)
	if file == "" || err != nil || !info.Mode().IsRegular() { // reading it tells why
		return
	}
	r.keepFolders(file, written)
	severity := written
	open, found := errors.AsType[*durable.OpenError](r.user.CheckOwned(file, info))
	if read != may && (!found || !open.Foreign) {
		if secret, is := errors.AsType[*durable.OpenError](r.user.CheckSecret(file, info)); is {
			if severity = read; found {
				severity = max(written, read)
			}
			open, found = secret, true
		}
	}
	if found {
		r.add(severity, ModeOpen, path, "%v", open)
	}
}

func (r *rights) keepFolders(file string, severity Severity) {
	holding, above := durable.Folders(file)
	for _, name := range holding {
		r.keepFolder(name, severity)
	}
	for _, name := range above {
		r.keepFolder(name, Warning)
	}
}

func (r *rights) keepFolder(name string, severity Severity) {
	path, err := filepath.Abs(name)
	if err != nil {
		return
	}
	kept, there := r.folders[path]
	if !there || severity > kept.severity {
		r.folders[path] = folder{name, severity}
	}
}

// judgeFolders judges the folders of all files, each once.
func (r *rights) judgeFolders() {
	for _, path := range slices.Sorted(maps.Keys(r.folders)) {
		at := r.folders[path]
		info, err := os.Stat(at.name)
		if err != nil {
			continue
		}
		if err := r.user.CheckOwned(at.name, info); err != nil {
			r.add(at.severity, ModeOpen, at.name, "%v", err)
		}
	}
}
