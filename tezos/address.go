package tezos

import "strings"

// CheckAddress returns nil when s is an address that a transaction can pay or call: a
// public key hash (tz1 to tz5) or a smart contract (KT1).
func CheckAddress(s string) error {
	if strings.HasPrefix(s, contractPrefix.text) {
		_, err := contractPrefix.decode(s)
		return err
	}
	_, err := ParsePublicKeyHash(s)
	return err
}
