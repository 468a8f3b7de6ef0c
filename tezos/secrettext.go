package tezos

// This file reads private keys from Octez's text forms, clear and encrypted.

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"
)

// secretForm is a base58check form of secret keys.
type secretForm struct {
	prefix
	kind      KeyKind
	encrypted bool
}

// The forms of secret keys come from src/lib_crypto/base58.ml (Prefix), and the encrypted
// ones from src/lib_signer_backends/encrypted.ml (Encodings).
var secretForms = [...]secretForm{
	{prefix{"edsk", "\x0d\x0f\x3a\x07", secretSize, 54}, Ed25519, false},     // the seed
	{prefix{"edsk", "\x2b\xf6\x4e\x07", 2 * secretSize, 98}, Ed25519, false}, // seed‖public key
	{prefix{"spsk", "\x11\xa2\xe0\xc9", secretSize, 54}, Secp256k1, false},
	{prefix{"p2sk", "\x10\x51\xee\xbd", secretSize, 54}, P256, false},
	{prefix{"edesk", "\x07\x5a\x3c\xb3\x29", encryptedSize, 88}, Ed25519, true},
	{prefix{"spesk", "\x09\xed\xf1\xae\x96", encryptedSize, 88}, Secp256k1, true},
	{prefix{"p2esk", "\x09\x30\x39\x73\xab", encryptedSize, 88}, P256, true},
}

// otherForms are the prefixes of texts that a user may take for a supported secret key.
var otherForms = []struct{ text, err string }{
	{"BLsk", "a tz4 secret key: only tz1, tz2 and tz3 keys can be brought into the HSM"},
	{"BLesk", "a tz4 secret key: only tz1, tz2 and tz3 keys can be brought into the HSM"},
	{"mdsk", "a tz5 secret key: only tz1, tz2 and tz3 keys can be brought into the HSM"},
	{"edpk", "a public key"},
	{"sppk", "a public key"},
	{"p2pk", "a public key"},
	{"BLpk", "a public key"},
}

// The parameters of encrypted.ml: a salt of 8 bytes, PBKDF2 with HMAC-SHA512 in 32,768
// rounds, and a NaCl secretbox with a zero nonce. The nonce is safe because each derived
// key is used once.
const (
	saltSize      = 8
	rounds        = 32768
	boxKeySize    = 32
	encryptedSize = saltSize + secretbox.Overhead + secretSize
)

// ErrWrongPassphrase is the error for an encrypted key that the passphrase does not open.
var ErrWrongPassphrase = errors.New("wrong passphrase")

var errNoSecretKey = errors.New("not a secret key: want edsk…, spsk…, p2sk…, edesk…, spesk…, p2esk… or PEM")

// ParseSecretKey reads a secret key in any form that Octez or OpenSSL writes:
//
//   - edsk… (54 or 98 characters), spsk…, p2sk…, with or without "unencrypted:";
//   - edesk…, spesk…, p2esk…, with or without "encrypted:";
//   - PEM with SEC1 (EC PRIVATE KEY) or PKCS #8 (PRIVATE KEY) inside, of P-256,
//     secp256k1 or Ed25519. An encrypted one is [ErrEncryptedPEM].
//
// It ignores white space around the text and a byte order mark before it. It calls passphrase
// only for an encrypted key, and zeroes the answer. No error quotes text. The caller zeroes
// text and the key.
func ParseSecretKey(text []byte, passphrase func() ([]byte, error)) (*SecretKey, error) {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
	if bytes.Contains(text, pemBegin) {
		return parseSecretPEM(text)
	}
	text = bytes.TrimPrefix(bytes.TrimPrefix(text, []byte("unencrypted:")), []byte("encrypted:"))
	form, err := secretFormOf(text)
	if err != nil {
		return nil, err
	}
	payload, err := form.decodeSecret(text)
	if err != nil {
		return nil, fmt.Errorf("secret key: %v", err)
	}
	defer clear(payload)
	if form.encrypted {
		return openSecret(form.kind, payload, passphrase)
	}
	return clearSecret(form.kind, payload)
}

// secretFormOf finds the form by its prefix, and by its length if two have the same prefix.
func secretFormOf(text []byte) (secretForm, error) {
	var found *secretForm
	for i, form := range secretForms {
		if bytes.HasPrefix(text, []byte(form.text)) && (found == nil || len(text) == form.chars) {
			found = &secretForms[i]
		}
	}
	if found != nil {
		return *found, nil
	}
	for _, other := range otherForms {
		if bytes.HasPrefix(text, []byte(other.text)) {
			return secretForm{}, fmt.Errorf("%s… is %s", other.text, other.err)
		}
	}
	return secretForm{}, errNoSecretKey
}

// clearSecret makes a key from a seed, from a scalar, or from seed‖public key.
func clearSecret(kind KeyKind, payload []byte) (*SecretKey, error) {
	key, err := NewSecretKey(kind, payload[:secretSize])
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	if public := payload[secretSize:]; len(public) > 0 && !key.public.hasPoint(public) {
		key.Zero()
		return nil, errOtherPublic
	}
	return key, nil
}

var errOtherPublic = errors.New("secret key: the public key beside it belongs to another key")

// openSecret decrypts a key that encrypted.ml has encrypted.
func openSecret(kind KeyKind, payload []byte, passphrase func() ([]byte, error)) (*SecretKey, error) {
	phrase, err := passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(phrase)
	derived, err := pbkdf2.Key(sha512.New, string(phrase), payload[:saltSize], rounds, boxKeySize)
	if err != nil {
		return nil, fmt.Errorf("secret key: %v", err)
	}
	defer clear(derived)
	raw, ok := secretbox.Open(nil, payload[saltSize:], new([24]byte), (*[boxKeySize]byte)(derived))
	if !ok {
		return nil, fmt.Errorf("secret key: %w", ErrWrongPassphrase)
	}
	defer clear(raw)
	return clearSecret(kind, raw)
}

const (
	base58Digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	checksumSize = 4
)

// decodeSecret is decode without strings and big integers, which cannot be zeroed. It
// accepts exactly the texts that encode writes, because the length is fixed and no prefix
// starts with a zero byte.
func (p prefix) decodeSecret(text []byte) ([]byte, error) {
	if len(text) != p.chars {
		return nil, fmt.Errorf("%s… has %d characters, want %s", p.text, len(text), wantedChars(p.text))
	}
	whole := make([]byte, len(p.magic)+p.size+checksumSize)
	defer clear(whole)
	for _, c := range text {
		digit := strings.IndexByte(base58Digits, c)
		if digit < 0 {
			return nil, errBase58
		}
		multiplyAdd(whole, digit)
	}
	body, checksum := whole[:len(whole)-checksumSize], whole[len(whole)-checksumSize:]
	once := sha256.Sum256(body)
	twice := sha256.Sum256(once[:])
	if !bytes.Equal(twice[:checksumSize], checksum) || string(body[:len(p.magic)]) != p.magic {
		return nil, errBase58
	}
	return bytes.Clone(body[len(p.magic):]), nil
}

// multiplyAdd multiplies a big-endian number by 58 and adds a digit. It cannot overflow for
// any form: 58^54 < 256^40, 58^88 < 256^65, 58^98 < 256^72.
func multiplyAdd(number []byte, digit int) {
	carry := digit
	for i := len(number) - 1; i >= 0; i-- {
		carry += len(base58Digits) * int(number[i])
		number[i] = byte(carry & 0xff)
		carry >>= 8
	}
}

// wantedChars returns the lengths of the forms with a prefix, for an error.
func wantedChars(text string) string {
	var lengths []string
	for _, form := range secretForms {
		if form.text == text {
			lengths = append(lengths, fmt.Sprint(form.chars))
		}
	}
	return strings.Join(lengths, " or ")
}
