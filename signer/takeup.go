package signer

import (
	"context"
	"os"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
)

// configFile is the keys.json that a signer was opened from. There is none with path "".
type configFile struct {
	path string
	turn chan struct{} // of one place: who looks at the file has it, and what follows
	seen os.FileInfo   // as it was at the last look
	bad  bool          // and could not be read
	told string        // why, once said
}

// changed looks at the file, and says whether it is to be read: when it is not as the last
// look found it, or, with rereadBad, when it could not be read then. One that is not there
// has not changed: it may be about to be replaced.
func (f *configFile) changed(rereadBad bool) bool {
	info, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	same := os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size()
	f.seen = info
	return !same || f.bad && rereadBad
}

// lookAtConfig takes up the blobs of a keys.json that has changed, or gives up when ctx
// is done. Many may call it at once: one of them reads the file.
func (s *Signer) lookAtConfig(ctx context.Context, rereadBad bool) {
	if s.config.path == "" {
		return
	}
	select {
	case s.config.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	looked := make(chan struct{})
	go func() { // a file system that hangs holds this one goroutine
		defer close(looked)
		s.takeUpBlobs(rereadBad)
		<-s.config.turn
	}()
	select {
	case <-looked:
	case <-ctx.Done():
	}
}

// takeUpBlobs offers the key blobs of a keys.json that has changed to the keys, so that
// they know their next ones when the HSM finalises its new master key. All else in the
// file waits for a restart. That is safe at any moment: no key loses the blob in use, the
// public keys are those of the start, and a signature that does not verify with them is
// never released, whatever blob made it. A file that is no keys.json changes nothing.
func (s *Signer) takeUpBlobs(rereadBad bool) {
	if !s.config.changed(rereadBad) {
		return
	}
	cfg, findings, err := Load(s.config.path)
	s.config.bad = err != nil
	if err != nil {
		if text := err.Error(); text != s.config.told {
			s.log.Warn("keys.json has changed and cannot be read", "err", text)
			s.config.told = text
		}
		return
	}
	s.config.seen, s.config.told = cfg.file, ""
	for _, f := range findings {
		if f.Severity >= Unopenable {
			s.log.Warn("keys.json has changed and would not start again", "path", f.Path, "finding", f.Text)
		}
	}
	fresh := 0
	for i := range cfg.Keys {
		if s.offer(&cfg.Keys[i]) {
			fresh++
		}
	}
	s.log.Info("keys.json has changed: only key blobs are taken up before a restart", "keys_with_new_blobs", fresh)
}

// offer gives a key its blobs of keys.json at each server, and tells whether there is a
// new one.
func (s *Signer) offer(key *KeyConfig) (fresh bool) {
	hash := key.PublicKey.Hash()
	known, ok := s.keys[hash]
	if !ok {
		return false
	}
	blobs, err := key.blobs()
	for _, p := range known.places {
		hsmKey, ok := p.Key.(*grep11.Key)
		if !ok {
			continue
		}
		added, unsound := hsmKey.Offer(blobs...)
		if added {
			p.offered.Add(1)
			fresh = true
		}
		if err == nil {
			err = unsound // at each server the same
		}
	}
	if err != nil {
		s.log.Warn("key blob of keys.json not taken up", "pkh", hash.String(), "err", err.Error())
	}
	return fresh
}

// blobs are those of the key that can be read, and why one of a file of its own cannot.
// Parse has told of the others.
func (k *KeyConfig) blobs() ([]ep11.Blob, error) {
	blob, err := k.current()
	var blobs []ep11.Blob
	for _, b := range []ep11.Blob{blob, k.NextBlob} {
		if b != nil {
			blobs = append(blobs, b)
		}
	}
	return blobs, err
}
