// Package ratchet keeps the high watermark of every key in one SQLite file.
//
// It guarantees that for each slot (chain id, key, kind, level, round) at most
// one signature is ever released, and only once that signature is durable:
//
//   - Each mark (chain id, key, kind) only rises. The condition stands in the
//     statement that writes it, and the statement decides, not a look before it.
//   - The row holds the signature itself. Identical bytes asked again get the
//     stored signature, also after a crash; a mark without one refuses its slot.
//   - A signature leaves after COMMIT has returned without an error under
//     synchronous=FULL, and after the database and its -wal were found in their
//     place. When the outcome of a commit is unknown nothing leaves any more:
//     [DB.Failed] is closed and the process must exit.
//   - A missing, foreign, copied, restored or replaced file is refused, never
//     taken for a new start. [Create] is the only way to a new file. So is one that
//     lacks the last mark, which is noted in a file beside it: a -wal that was damaged
//     after a kill, older content that was written into the file. And one with a row that is
//     not as it was written: each bears a digest of itself, checked when it is read.
//
// It does not guard against two hosts that each have a ratchet for one key, nor
// against someone who, while no daemon runs, edits the file with SQLite or restores it
// together with that note; nor against a disk that loses what it has synced.
//
// Refusals use the words of octez-signer's high watermark
// (src/lib_signer_backends and src/bin_signer/handler.ml of Octez).
package ratchet
