// Package softcard is a GREP11 server in software, for demonstrations and tests. It is a
// program of its own: pawl talks to it over the network, as it does to an HSM.
//
// It behaves like a Crypto Express card in EP11 mode behind IBM's GREP11 server. Keys
// leave it only as blobs wrapped under a master key. Public keys carry a MAC. ECDSA
// signatures are random, and about half of them have a high S. Usage flags are enforced,
// and every refusal carries one Grep11Error. It reads both generations of the wire in
// every request and fills both in every answer. Formats are those seen on real cards;
// names are those of "Enterprise PKCS#11 (EP11) Library structure".
//
// # It is not an HSM
//
// Whoever reads its master.key can read every key it ever made. Its arithmetic on
// secp256k1 and for Schnorr signatures is not constant in time. The process holds private
// keys in clear memory while it signs.
//
// # Use
//
// Dir.Init makes a card's folder, Open opens it, and Card.Serve serves it behind mutual
// TLS. New makes a card in memory. Tests start cards with package cardtest. For clients of
// IBM Cloud Card.AnyClient does without their certificates, and Card.BearerToken asks for a
// token with each call.
//
// The master key of a card changes as it does in an HSM, through two registers: see
// Dir.LoadNext. Tests can make calls fail: see Fault. Nothing else sets a fault.
//
// # What it offers
//
// It has every call of the service but Login and Logout, which fail with
// CKR_FUNCTION_NOT_SUPPORTED. Keys are Ed25519, secp256k1, P-224, P-256, P-384, P-521, RSA,
// DSA, Diffie-Hellman, AES, triple DES, or generic secrets; GetMechanismList tells what it
// does with them. It has no BLS and no other curves: CKR_CURVE_NOT_SUPPORTED. It has no
// post-quantum keys: their mechanisms are CKR_MECHANISM_INVALID, which IBM's clients take for an
// answer. The format of attribute-bound keys is not published, so it uses one of its own.
//
// Where a template is silent a key is as on cards, which may surprise: it is extractable, and an AES
// key signs, verifies, encrypts and decrypts. Attributes that the card does not know are ignored.
// Of the numbers of mechanisms and attributes the low 32 bits count.
//
// Errors of the transport, such as a message over gRPC's 4 MiB, carry no Grep11Error.
package softcard
