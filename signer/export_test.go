package signer

// TakeUpBlobs is what Watch does each second about a keys.json that changed.
func (s *Signer) TakeUpBlobs() { s.takeUpBlobs() }
