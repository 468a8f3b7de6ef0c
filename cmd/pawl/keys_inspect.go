package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/tezos"
)

type keysInspectCmd struct {
	File string `arg:"" optional:"" default:"./keys.json" help:"keys.json, or a file with a key blob in hex (default: ${default})."`
}

func (*keysInspectCmd) Help() string {
	return helpText("The header of a blob is in clear, but only the HSM can tell whether it is genuine. No server is "+
		"asked.",
		"pawl keys inspect keys.json", exitCodes)
}

// inspected is one blob to describe.
type inspected struct {
	name   string
	blob   ep11.Blob
	next   bool      // a secret_key_next
	before ep11.Blob // which it is to follow; nil when that is unreadable
}

// Run describes each blob, then prints warnings. A blob that cannot be read is an error, told
// after the others were printed.
func (c *keysInspectCmd) Run(ctx context.Context, s *streams) error {
	data, err := interruptible(ctx, c.read)
	if err != nil {
		return err
	}
	blobs, unreadable, err := c.blobs(data)
	if err != nil {
		return err
	}
	wrapping, next := make(wrappingKeys), make(wrappingKeys)
	for _, b := range blobs {
		header, err := b.blob.Header()
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if b.next {
			next.add(header, b.name)
		} else {
			wrapping.add(header, b.name)
		}
		if err := b.print(s, header); err != nil {
			return err
		}
	}
	if len(blobs) == 0 && len(unreadable) == 0 {
		s.notef("note: %s has no keys", c.File)
	}
	for _, b := range blobs {
		b.warn(s)
	}
	wrapping.warn(s, "blobs", "an HSM has one, and another at most while it is rotated")
	next.warn(s, "next blobs", "an HSM takes those of one, pawl keys rewrap makes the others anew")
	if len(unreadable) > 0 {
		return &findingsError{file: c.File, findings: unreadable}
	}
	return nil
}

// blobs returns the blobs of a keys.json, or the one of a blob file.
func (c *keysInspectCmd) blobs(data []byte) ([]inspected, []config.Finding, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return configBlobs(c.File, data)
	}
	blob, err := ep11.ParseBlob(string(data))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return []inspected{{name: c.File, blob: blob}}, nil, nil
}

// read reads the file, of a size that a keys.json may have. It may be a pipe, which can be
// read only once.
func (c *keysInspectCmd) read() ([]byte, error) {
	file, err := os.Open(c.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("%s does not exist", tezos.Redact(c.File)),
			"name a keys.json or a file with a key blob")
	}
	if err != nil {
		return nil, errors.New(tezos.Redact(err.Error()))
	}
	defer file.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(file, config.MaxConfigSize))
}

// configBlobs reads the blobs of a keys.json and of the files that it names.
func configBlobs(path string, data []byte) ([]inspected, []config.Finding, error) {
	cfg, findings, err := config.Parse(data, filepath.Dir(path))
	if err != nil {
		return nil, nil, unreadableConfig(path, findings, err)
	}
	unreadable := unreadableBlobs(findings)
	var blobs []inspected
	for _, key := range cfg.Keys {
		name, blob := key.PublicKey.Hash().String(), key.Blob
		if key.BlobFile != "" {
			if blob, err = ep11.ReadBlob(key.BlobFile); err != nil {
				unreadable = append(unreadable, unreadableFile(key.PublicKey.Hash(), err))
			}
		}
		if blob != nil {
			blobs = append(blobs, inspected{name: name, blob: blob})
		}
		if key.NextBlob != nil {
			blobs = append(blobs, inspected{name: name + " secret_key_next", blob: key.NextBlob, next: true, before: blob})
		} else {
			unreadable = append(unreadable, unreadableNext(findings, "keys."+name+".secret_key_next")...)
		}
	}
	return blobs, unreadable, nil
}

// unreadableBlobs are the findings in blobs in use that cannot be read.
func unreadableBlobs(findings []config.Finding) []config.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f config.Finding) bool {
		return f.Code != config.BadBlob
	})
}

// unreadableNext are the findings in a next blob that cannot be read.
func unreadableNext(findings []config.Finding, path string) []config.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f config.Finding) bool {
		return f.Code != config.BadNextBlob || f.Path != path
	})
}

// unreadableFile is the finding of a secret_key_file that cannot be read.
func unreadableFile(key tezos.PublicKeyHash, err error) config.Finding {
	return config.Finding{
		Severity: config.Unopenable, Code: config.BadBlob,
		Path: "keys." + key.String() + ".secret_key_file", Text: err.Error(),
	}
}

// print tells of one blob.
func (b inspected) print(s *streams, header ep11.Header) error {
	if err := s.printf("%s\n", b.name); err != nil {
		return err
	}
	t := table{out: s.out}
	t.row("  wrapping key", "%x", header.WrappingKeyID)
	t.row("  size", "%d bytes, %d of them encrypted", len(b.blob), len(b.blob)-ep11.ClearBlobSize)
	t.row("  origin", "%s", originOf(header))
	t.row("  extractable", "%s", yesNo(header.Extractable))
	t.row("  session bound", "%s", yesNo(header.SessionBound))
	t.row("  usage", "%s", listed(header.Usage()))
	t.row("  attributes", "%s", listed(header.Traits()))
	return t.flush()
}

func originOf(header ep11.Header) string {
	switch {
	case header.NeverLeft():
		return "born in the HSM, never extractable"
	case header.BornInHSM():
		return "born in the HSM, was or is extractable"
	}
	return "imported or derived, not born in the HSM"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// warn says what is not as it should be.
func (b inspected) warn(s *streams) {
	header, err := b.blob.Header()
	if err != nil {
		return // not reached: print read it
	}
	if header.Extractable {
		s.notef("warning: %s: extractable: whoever may use the HSM can take the key out", b.name)
	}
	if header.SessionBound {
		s.notef("warning: %s: bound to a login session: the key is lost when that session ends", b.name)
	}
	if b.next && b.before != nil {
		if err := grep11.CheckRewrapped(b.before, b.blob); err != nil {
			s.notef("warning: %s: not the blob before under a new master key: %v", b.name, err)
		}
	}
	if !slices.Contains(header.Usage(), "sign") {
		s.notef("warning: %s: may not sign", b.name)
	}
}

// wrappingKeys are the master keys of blobs, each with the names of its blobs.
type wrappingKeys map[[16]byte][]string

func (w wrappingKeys) add(header ep11.Header, name string) {
	w[header.WrappingKeyID] = append(w[header.WrappingKeyID], name)
}

// warn warns if no single HSM can use all the blobs.
func (w wrappingKeys) warn(s *streams, what, why string) {
	if len(w) < 2 {
		return
	}
	s.notef("warning: the %s are wrapped by %d master keys; %s:", what, len(w), why)
	for _, id := range slices.SortedFunc(maps.Keys(w), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }) {
		s.notef("  %x wraps %s", id, strings.Join(w[id], ", "))
	}
}
