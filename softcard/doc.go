// Package softcard is a GREP11 server in software, for demonstrations and tests.
//
// It answers as a Crypto Express card in EP11 mode does behind IBM's GREP11
// server: keys leave it only as blobs wrapped under a master key, public keys
// bear a MAC, ECDSA signatures are randomised and have high S about every second
// time, usage flags are enforced, and each refusal carries one Grep11Error. Both
// generations of the wire are read on every request and filled in every answer.
// Formats are those seen on real cards; the names are of "Enterprise PKCS#11
// (EP11) Library structure".
//
// It is no HSM. Whoever reads its master.key reads every key it ever made, the
// curve arithmetic of secp256k1 and that of Schnorr signatures are not constant in time,
// and the process holds private keys in clear memory while it signs.
//
// Tests can have it fail: see Fault. Nothing else sets a fault.
//
// It makes, imports, exports and derives keys, signs, verifies, encrypts, hashes, gives
// attributes and random bytes: every call of the service but Login and Logout, which are
// answered CKR_FUNCTION_NOT_SUPPORTED. Keys are of Ed25519, secp256k1, P-224, P-256,
// P-384, P-521, RSA, DSA, Diffie-Hellman, AES and triple DES, or generic secrets;
// GetMechanismList is the list of what it can do with them. BLS, post-quantum keys and other
// curves it does not have. Of what is no public format, the wrapping of attribute-bound keys,
// it has one of its own.
//
// Its master key can be changed as a card's is, in two registers: see Dir.LoadNext.
//
// Only what the transport itself refuses, such as a message over gRPC's 4 MiB, comes
// without a Grep11Error.
package softcard
