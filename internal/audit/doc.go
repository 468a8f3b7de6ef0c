// Package audit keeps the audit trail of a ratchet: JSON lines in files beside it, each chained to the
// line before by its hash.
//
// A line tells a decision about a consensus slot that changed or refused something, or a command that
// changed the store. It has a number (seq, from 1, over all files) and the BLAKE2b-256 of the whole line
// before, without its newline (prev; zeros in the first). The newest lines are in the file that [Path]
// names, older ones in .1, .2 and so on. [Verify] reads them all.
//
// What the chain proves: that no line amid the trail was changed, removed, added or put elsewhere by
// accident, damage or a careless edit. What it does not prove: that nobody has. It has no secret, so
// whoever can write the files can write the whole chain anew. Nor does it tell whether the newest lines
// are all there, or as they were: no line after them says so. Both show if the last hash is kept where
// that person cannot write, and compared. [Log.Head] and Verify tell it.
//
// No signature depends on the trail, and nobody waits for it. Lines are written a little later by a
// goroutine, and synced at a rotation and at Close only. A process that is killed loses the lines of the
// last moment, a host that loses power those that its kernel had not written yet. The next start tells
// that lines may be missing.
package audit
