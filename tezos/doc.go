// Package tezos turns bytes into types and back: keys, addresses, signatures
// and the payloads that a remote signer is asked to sign. It does no I/O.
//
// It guarantees that
//
//   - [ParseRequest] gives all of a payload or nothing: every byte is accounted
//     for, and no form that a Tezos node would not write itself is accepted;
//   - parsing a text form and printing it again gives the same text;
//   - [PublicKey.Verify] accepts what a Tezos node accepts for tz1, tz2 and tz3
//     keys, and is an error for every other kind.
//
// It does not know which protocol is active, whether an account exists or what
// a slot, a committee or a gas limit allows: a payload that parses may still be
// refused by a node.
//
// The formats are those of Octez 25.1 for the protocols Seoul (023), Tallinn
// (024), Ushuaia (025) and Alpha: operation_repr.ml, block_header_repr.ml and
// fitness_repr.ml of src/proto_*/lib_protocol, src/lib_crypto, and the vendored
// data-encoding library. Names of Octez files in this package are below those
// folders.
package tezos
