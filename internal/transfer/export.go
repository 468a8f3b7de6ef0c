package transfer

// The export: one JSON document.

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/blake2b"

	"pawl/ratchet"
	"pawl/tezos"
)

const (
	format  = "pawl-ratchet"
	version = 1
)

// MaxFile bounds a file that is read, in bytes: room for 100,000 marks.
const MaxFile = 64 << 20

// Host says where an export was made. It is for people: an import does not look at it.
type Host struct {
	Name       string    `json:"name"`
	Machine    string    `json:"machine"`    // a digest of /etc/machine-id
	Ratchet    string    `json:"ratchet"`    // path
	Generation int64     `json:"generation"` // how often the file was opened, probed or at rest, from 2^24 on
	Pawl       string    `json:"pawl"`       // version
	Time       time.Time `json:"time"`
}

// Content is what an export holds.
type Content struct {
	ratchet.Snapshot
	// PublicKeys are those of the keys, as far as they are known. They verify the signatures.
	PublicKeys []tezos.PublicKey
	// Handover is set if the ratchet that it comes from signs nothing from the levels of the registrations on.
	Handover bool
}

// document is an export as it is written.
type document struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Host    Host   `json:"host"`
	body
	Digest string `json:"digest"` // of body: BLAKE2b-256 in hex of its JSON without white space
}

// body is what an import takes.
type body struct {
	Handover      bool                   `json:"handover,omitempty"`
	PublicKeys    []string               `json:"public_keys"`
	Registrations []ratchet.Registration `json:"registrations"`
	Marks         []ratchet.StoredMark   `json:"marks"`
}

func (b body) digest() (string, error) {
	text, err := json.Marshal(b)
	sum := blake2b.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// Export returns the document of a content. The same content gives the same document, but for the host.
func Export(c Content, host Host) ([]byte, error) {
	d := document{Format: format, Version: version, Host: host, body: body{
		Handover:      c.Handover,
		PublicKeys:    []string{}, // none is [], never null
		Registrations: append([]ratchet.Registration{}, c.Registrations...),
		Marks:         append([]ratchet.StoredMark{}, c.Marks...),
	}}
	for i := range d.Registrations {
		d.Registrations[i].Fence = ratchet.Fence{} // it is of the place, and not of the key
	}
	for _, key := range c.PublicKeys {
		d.PublicKeys = append(d.PublicKeys, key.String())
	}
	var err error
	if d.Digest, err = d.digest(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

// Read reads a document of Export. It refuses one that was changed or cut short, one of another program,
// and one of a newer pawl.
func Read(text []byte) (Content, error) {
	d, err := parse(text)
	if err != nil {
		return Content{}, err
	}
	digest, err := d.digest()
	if err != nil {
		return Content{}, err
	}
	if digest != d.Digest {
		return Content{}, errors.New("it is not as it was exported: its digest is of another content")
	}
	return d.content()
}

func parse(text []byte) (d document, err error) {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return d, fmt.Errorf("it is no JSON document: %v", err)
	}
	switch {
	case head.Format != format:
		return d, fmt.Errorf("its format is %q, want %q: is it of another signer? Name that with --from", head.Format, format)
	case head.Version > version:
		return d, fmt.Errorf("it has version %d, this pawl knows %d: use the newer pawl", head.Version, version)
	case head.Version < 1:
		return d, fmt.Errorf("it has version %d, want %d", head.Version, version)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return d, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return d, errors.New("something follows the document")
	}
	return d, nil
}

// content parses the public keys.
func (d document) content() (Content, error) {
	c := Content{Snapshot: ratchet.Snapshot{Marks: d.Marks, Registrations: d.Registrations}, Handover: d.Handover}
	for _, text := range d.PublicKeys {
		key, err := tezos.ParsePublicKey(text)
		if err != nil {
			return Content{}, fmt.Errorf("public key %q: %v", text, err)
		}
		c.PublicKeys = append(c.PublicKeys, key)
	}
	return c, nil
}

// Verify drops the signatures that do not verify, and those of keys that neither the content nor known
// has a public key of, and returns how many it has dropped. A mark without a signature refuses its slot.
func (c *Content) Verify(known []tezos.PublicKey) (dropped int) {
	keys := make(map[tezos.PublicKeyHash]tezos.PublicKey)
	for _, key := range slices.Concat(c.PublicKeys, known) {
		keys[key.Hash()] = key
	}
	for i, m := range c.Marks {
		if m.Signature == nil {
			continue
		}
		key, there := keys[m.Key]
		if !there || key.VerifyDigest(m.Digest, *m.Signature) != nil {
			c.Marks[i].Signature = nil
			dropped++
		}
	}
	return dropped
}
