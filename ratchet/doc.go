// Package ratchet keeps the invariant of pawl: for each slot (chain id, key, kind, level, round) at
// most one signature is ever released, and only once that signature is durable.
//
//   - Each mark (chain id, key, kind) only rises. [Standing.Judge] is the rule, and a [Store] applies
//     it in the transaction that writes, so that a look before it decides nothing.
//   - The store keeps the signature itself. The same bytes asked again get the stored signature, also
//     after a crash; a mark without one refuses its slot.
//   - A signature leaves after the store has said that it is durable. When the outcome of a commit is
//     unknown nothing leaves any more: [Ratchet.Failed] is closed and the process must exit.
//   - Per slot key one payload is under way at a time; others wait in a short queue.
//
// This package has the rules and the flights, and no storage: package sqlite is the store on one
// host. Refusals use the words of octez-signer's high watermark (src/lib_signer_backends and
// src/bin_signer/handler.ml of Octez).
//
// It does not guard against two hosts that each have their own store for one key. On one host
// internal/hostlock does.
package ratchet
