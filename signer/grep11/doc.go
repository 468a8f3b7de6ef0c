// Package grep11 signs with keys that live behind a GREP11 server: IBM's Enterprise
// PKCS #11 (EP11) over gRPC.
//
// It guarantees that a call ends within two seconds or the caller's deadline, that no
// call is repeated, that every error is one line without key material and names the
// server's return code, and that signatures of secp256k1 and P-256 have a low S.
// It does not verify signatures and does not try again: the caller does both.
//
// The wire format is grep11.proto, both generations of IBM's published schema in one.
// Formats of blobs and public keys, and the return codes, are those of "Enterprise
// PKCS#11 (EP11) Library structure".
package grep11
