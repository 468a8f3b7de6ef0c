// Package tezos reads and writes what a Tezos signer handles: keys, addresses,
// signatures, and the payloads that a remote signer is asked to sign. It does no I/O.
//
// [ParseRequest] turns a payload into a [Request]: a [Consensus] message with its chain,
// level and round, an [Operation] with its contents, or [Michelson] data. A [Message] is
// a payload with its digest, a [PublicKey] verifies the [Signature] of one, and a
// [SecretKey] is a clear key on its way into an HSM.
//
// The package guarantees that
//
//   - [ParseRequest] reads a whole payload or returns an error. It accounts for every
//     byte, and accepts only the encoding that a Tezos node would write;
//   - a text form that is parsed and printed again is the same text;
//   - [PublicKey.Verify] accepts what a Tezos node accepts for tz1, tz2 and tz3
//     keys, and returns an error for every other kind.
//
// The package does not know which protocol is active, whether an account exists, or what
// a slot, a committee or a gas limit allows. A node may refuse a payload that parses.
//
// The formats are those of Octez 25.1 for the protocols Seoul (023), Tallinn
// (024), Ushuaia (025) and Alpha: operation_repr.ml, block_header_repr.ml and
// fitness_repr.ml of src/proto_*/lib_protocol, src/lib_crypto, and the vendored
// data-encoding library. Comments name Octez files without these folders.
package tezos
