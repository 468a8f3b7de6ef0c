// Package ep11 holds what a client of a GREP11 server and a server both speak: the
// constants and return codes of Enterprise PKCS #11 (EP11), and the clear part of a key
// blob. It knows neither gRPC nor a key's secret.
//
// Numbers and formats are those of "Enterprise PKCS#11 (EP11) Library structure" and its
// header ep11.h, and of PKCS #11 v2.40 and v3.0.
package ep11
