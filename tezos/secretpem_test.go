package tezos_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"blockwatch.cc/tzgo/base58"

	"pawl/tezos"
)

func encodeSecret(magic string, raw []byte) string { return base58.CheckEncode(raw, []byte(magic)) }

// Keys that OpenSSL 3.0.19 has written: `openssl ecparam -name secp256k1 -genkey`, and
// that key converted by ec and pkcs8. `openssl ec -text` printed k1Public.
const (
	k1Public = "03844ae1d3f7235706a7e920aff2cf5084770e089e9c9c6c42be6af086d8f4cd68"
	k1SEC1   = "-----BEGIN EC PRIVATE KEY-----\n" +
		"MHQCAQEEIE1+pA15Vt3+hpyDSy6uZgmuqFXaTKH/5k04vkIgaujXoAcGBSuBBAAK\n" +
		"oUQDQgAEhErh0/cjVwan6SCv8s9QhHcOCJ6cnGxCvmrwhtj0zWjCDDwSLH18IZrt\n" +
		"xyaZTHncOZmEGipiKje9kdypPFN8jw==\n-----END EC PRIVATE KEY-----\n"
	k1Compressed = "-----BEGIN EC PRIVATE KEY-----\n" +
		"MFQCAQEEIE1+pA15Vt3+hpyDSy6uZgmuqFXaTKH/5k04vkIgaujXoAcGBSuBBAAK\n" +
		"oSQDIgADhErh0/cjVwan6SCv8s9QhHcOCJ6cnGxCvmrwhtj0zWg=\n-----END EC PRIVATE KEY-----\n"
	k1NoPublic = "-----BEGIN EC PRIVATE KEY-----\n" +
		"MC4CAQEEIE1+pA15Vt3+hpyDSy6uZgmuqFXaTKH/5k04vkIgaujXoAcGBSuBBAAK\n-----END EC PRIVATE KEY-----\n"
	k1PKCS8 = "-----BEGIN PRIVATE KEY-----\n" +
		"MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgTX6kDXlW3f6GnINLLq5m\n" +
		"Ca6oVdpMof/mTTi+QiBq6NehRANCAASESuHT9yNXBqfpIK/yz1CEdw4InpycbEK+\n" +
		"avCG2PTNaMIMPBIsfXwhmu3HJplMedw5mYQaKmIqN72R3Kk8U3yP\n-----END PRIVATE KEY-----\n"
	k1Params   = "-----BEGIN EC PARAMETERS-----\nBgUrgQQACg==\n-----END EC PARAMETERS-----\n"
	k1Explicit = "-----BEGIN EC PRIVATE KEY-----\n" +
		"MIIBUQIBAQQgTX6kDXlW3f6GnINLLq5mCa6oVdpMof/mTTi+QiBq6NeggeMwgeAC\n" +
		"AQEwLAYHKoZIzj0BAQIhAP////////////////////////////////////7///wv\n" +
		"MEQEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABCAAAAAAAAAAAAAA\n" +
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAABwRBBHm+Zn753LusVaBilc6HCwcCm/zbLc4o\n" +
		"2VnygVsW+BeYSDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj/sQ1LgCIQD/////\n" +
		"///////////////+uq7c5q9IoDu/0l6M0DZBQQIBAaFEA0IABIRK4dP3I1cGp+kg\n" +
		"r/LPUIR3DgienJxsQr5q8IbY9M1owgw8Eix9fCGa7ccmmUx53DmZhBoqYio3vZHc\n" +
		"qTxTfI8=\n-----END EC PRIVATE KEY-----\n"
	k1Encrypted = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n" +
		"DEK-Info: AES-128-CBC,169E95D6EFFD1EEBA6E17772AC3735EE\n\n" +
		"Euolagph5xb/vZ6ltcNkfSXdrOZelpWnVPBG87sJPcuxb6SjbMX+2QOj0wHy9F0a\n" +
		"Ysqp0bB39AdUy+MBv4/lgcvzOOrrlx6x7DdSsSxZOUFNafE7Tm7vB/IpalHfHULf\n" +
		"Ey4GK0BserzIq6WgJ4CTWAYPKRvPJUZ6O71fN6C5DCM=\n-----END EC PRIVATE KEY-----\n"
	k1EncryptedPKCS8 = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" +
		"MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgacfJ59Gge/AICCAAw\n" +
		"DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEBKwgM50GVN61+DCpLPm4VkEgZDk\n" +
		"V3LkiUxF65uH/W17tlGZHNMn4/kvjqP3TU+KtvB7szxxXIobhitvc00iEsDPhZj8\n" +
		"wKb4Q1XyV2O7dQFgc+z3fYfrNe0MdDlBp9xwVMX/hEPxmI4g4gjCRyxWMDUBA/6U\n" +
		"yZ44iWmWrtbk2HGcjixS5XBFCCPINvrKNw02pc6Uy80DewXTcwPQ8YNjclG2gi0=\n-----END ENCRYPTED PRIVATE KEY-----\n"
)

// Keys of RFC 8410 section 10: that of 10.3, without and with its public key and an
// attribute, and the public key of 10.1.
const (
	rfc8410Public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
	rfc8410Short  = "-----BEGIN PRIVATE KEY-----\n" +
		"MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n"
	rfc8410Long = "-----BEGIN PRIVATE KEY-----\n" +
		"MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n" +
		"oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n" +
		"Z9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PRIVATE KEY-----\n"
)

func TestParseSecretKeyReadsPEM(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, public string }{
		"SEC1":                 {k1SEC1, k1Public},
		"SEC1 after params":    {k1Params + k1SEC1, k1Public},
		"SEC1 compressed":      {k1Compressed, k1Public},
		"SEC1 without public":  {k1NoPublic, k1Public},
		"PKCS8":                {k1PKCS8, k1Public},
		"text around it":       {"a note\n" + k1PKCS8 + "another", k1Public},
		"byte order mark":      {"\ufeff" + k1PKCS8, k1Public},
		"Windows lines":        {strings.ReplaceAll(k1PKCS8, "\n", "\r\n"), k1Public},
		"RFC 8410":             {rfc8410Short, rfc8410Public},
		"RFC 8410 with public": {rfc8410Long, rfc8410Public},
	} {
		key, err := tezos.ParseSecretKey([]byte(c.text), noPassphrase)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := hex.EncodeToString(key.PublicKey().Bytes()); got != c.public {
			t.Errorf("%s: %s, want %s", name, got, c.public)
		}
	}
}

// Keys that crypto/x509 has written are read, for each curve that it knows.
func TestParseSecretKeyReadsGosPEM(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	public, seed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	edwards, err := x509.MarshalPKCS8PrivateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind   string
		der    []byte
		public []byte
	}{{"EC PRIVATE KEY", sec1, point}, {"PRIVATE KEY", pkcs8, point}, {"PRIVATE KEY", edwards, public}} {
		key, err := tezos.ParseSecretKey(pem.EncodeToMemory(&pem.Block{Type: c.kind, Bytes: c.der}), noPassphrase)
		if err != nil {
			t.Errorf("%s: %v", c.kind, err)
			continue
		}
		if string(key.PublicKey().Point()) != string(c.public) {
			t.Errorf("%s: public key %x, want %x", c.kind, key.PublicKey().Point(), c.public)
		}
	}
}

func TestParseSecretKeyRefusesPEM(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherCurve, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	otherCurve8, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	sec1 := derOf(t, k1SEC1)
	for name, c := range map[string]struct{ text, want string }{
		"encrypted SEC1":          {k1Encrypted, "encrypted"},
		"encrypted PKCS8":         {k1EncryptedPKCS8, "encrypted"},
		"explicit parameters":     {k1Explicit, "curve spelled out"},
		"P-384":                   {block("EC PRIVATE KEY", otherCurve), "another kind or curve"},
		"P-384 in PKCS8":          {block("PRIVATE KEY", otherCurve8), "another kind or curve"},
		"no end":                  {k1SEC1[:len(k1SEC1)-20], "does not end"},
		"a damaged second key":    {k1SEC1 + strings.Replace(rfc8410Short, "MC4C", "MC*C", 1), "is damaged"},
		"hybrid":                  {block("EC PRIVATE KEY", hybrid(sec1)), "hybrid form"},
		"two keys":                {k1SEC1 + rfc8410Short, "more than one"},
		"RSA":                     {block("RSA PRIVATE KEY", sec1), `"RSA PRIVATE KEY" is not supported`},
		"OpenSSH":                 {block("OPENSSH PRIVATE KEY", sec1), `"OPENSSH PRIVATE KEY" is not supported`},
		"parameters only":         {k1Params, "no private key"},
		"a certificate":           {block("CERTIFICATE", sec1), "no private key"},
		"cut off":                 {block("EC PRIVATE KEY", sec1[:len(sec1)-1]), "malformed"},
		"trailing byte":           {block("EC PRIVATE KEY", append(slices.Clip(sec1), 0)), "malformed"},
		"SEC1 as PKCS8":           {block("PRIVATE KEY", sec1), "malformed"},
		"empty":                   {block("PRIVATE KEY", nil), "malformed"},
		"another's public key":    {block("EC PRIVATE KEY", changed(sec1, -1)), "belongs to another key"},
		"another's in RFC 8410":   {block("PRIVATE KEY", changed(derOf(t, rfc8410Long), -1)), "belongs to another key"},
		"unused bits in RFC 8410": {block("PRIVATE KEY", changed(derOf(t, rfc8410Long), -33)), "belongs to another key"},
		"two curves":              {block("PRIVATE KEY", unhex(t, twoCurves)), "malformed"},
		"parameters of Ed25519": {
			block("PRIVATE KEY", unhex(t, "3030020100300706032b6570050004220420"+strings.Repeat("01", 32))), "malformed",
		},
		"behind the seed": {
			block("PRIVATE KEY", unhex(t, "3030020100300506032b657004240420"+strings.Repeat("01", 32)+"0500")), "malformed",
		},
		"no curve":    {block("EC PRIVATE KEY", unhex(t, "3007020101040201"+"02")), "does not name its curve"},
		"zero scalar": {block("EC PRIVATE KEY", unhex(t, "300f020101040100a00706052b8104000a")), "group order"},
		"long scalar": {
			block("EC PRIVATE KEY", unhex(t, "302f0201010421"+strings.Repeat("01", 33)+"a00706052b8104000a")), "33 bytes",
		},
		"short Ed25519 seed": {block("PRIVATE KEY", unhex(t, "300f020100300506032b657004030401"+"01")), "1 bytes"},
	} {
		key, err := tezos.ParseSecretKey([]byte(c.text), noPassphrase)
		if err == nil || key != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if strings.HasPrefix(name, "encrypted") && !errors.Is(err, tezos.ErrEncryptedPEM) {
			t.Errorf("%s: %v is not ErrEncryptedPEM", name, err)
		}
	}
}

// A scalar may be written without its leading zero bytes.
func TestParseSecretKeyPadsShortScalars(t *testing.T) {
	t.Parallel()
	short := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: unhex(t, "300f020101040101a00706052b8104000a")})
	key, err := tezos.ParseSecretKey(short, noPassphrase)
	if err != nil {
		t.Fatal(err)
	}
	const want = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
	if got := hex.EncodeToString(key.PublicKey().Bytes()); got != want {
		t.Errorf("public key %s, want %s", got, want)
	}
}

// twoCurves returns the scalar 1 in SEC1 that names secp256k1, within PKCS #8 that names
// P-256.
const twoCurves = "302b020100301306072a8648ce3d020106082a8648ce3d0301070411" + "300f020101040101a00706052b8104000a"

func derOf(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

// changed returns der with one byte changed, counted from the end.
func changed(der []byte, at int) []byte { return changedBy(der, at, 1) }

func changedBy(der []byte, at int, bits byte) []byte {
	der = slices.Clone(der)
	der[len(der)+at] ^= bits
	return der
}

// hybrid returns sec1 with its uncompressed point, which comes last, in the form 07‖X‖Y.
func hybrid(sec1 []byte) []byte { return changedBy(sec1, -65, 4^7) }

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// No input makes ParseSecretKey panic. A key that it returns signs for its public key. With
// an error it returns no key.
func FuzzParseSecretKey(f *testing.F) {
	for _, c := range secretTexts {
		f.Add([]byte(c.text))
	}
	for _, text := range []string{k1SEC1, k1PKCS8, rfc8410Long, k1Explicit, k1Encrypted} {
		f.Add([]byte(text))
		block, _ := pem.Decode([]byte(text))
		f.Add([]byte("-----BEGIN PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString(block.Bytes) +
			"\n-----END PRIVATE KEY-----\n"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := tezos.ParseSecretKey(text, noPassphrase)
		if (key == nil) != (err != nil) {
			t.Fatalf("key %t, error %v", key != nil, err)
		}
		if key == nil {
			return
		}
		again, err := tezos.NewSecretKey(key.PublicKey().Kind(), key.Bytes())
		if err != nil || again.PublicKey() != key.PublicKey() {
			t.Fatalf("%v: %v", key.PublicKey(), err)
		}
	})
}
