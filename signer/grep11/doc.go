// Package grep11 signs with keys that an HSM holds behind a GREP11 server: IBM's
// Enterprise PKCS #11 (EP11) over gRPC.
//
// The HSM stores no keys. It returns each private key as a blob, encrypted under the
// HSM's master key, and whoever wants a signature sends the blob along. Generate,
// Import and Derive make such blobs, and Rewrap moves one to a new master key.
//
// Dial returns a Client, which is one server. Client.Key pairs a public key with its
// blobs, and Key.Sign makes one signature. The two implement hsm.Server and hsm.Key.
//
// The package guarantees four things. A call ends within two seconds after it was
// sent, or at the caller's deadline if that is earlier. No call is repeated. Every
// error is one line, names the server's return code, and holds no key material.
// Signatures of secp256k1 and P-256 have a low S. The caller verifies signatures,
// and decides whether to try again.
//
// The wire format is grep11.proto, which unites both generations of IBM's published
// schema. The formats of blobs and public keys, and the return codes, are those of
// "Enterprise PKCS#11 (EP11) Library structure".
package grep11
