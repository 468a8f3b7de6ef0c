package server_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	tz "blockwatch.cc/tzgo/tezos"

	"pawl/policy"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// clientKey is a key of an Octez client's wallet.
type clientKey struct {
	secret tz.PrivateKey
	public tezos.PublicKey
}

func newClientKey(t *testing.T, kind tz.KeyType) clientKey {
	t.Helper()
	secret, err := tz.GenerateKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	public, err := tezos.ParsePublicKey(secret.Public().String())
	if err != nil {
		t.Fatal(err)
	}
	return clientKey{secret, public}
}

// authenticate signs a sign request, as octez-client does: key is to sign payload.
func (k clientKey) authenticate(t *testing.T, key tezos.PublicKeyHash, payload []byte) tz.Signature {
	t.Helper()
	digest := tezos.DigestOf(slices.Concat([]byte{4, 1}, key[:], payload))
	sig, err := k.secret.Sign(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestAuthenticationByKeysOfAllKinds(t *testing.T) {
	t.Parallel()
	clients := []clientKey{
		newClientKey(t, tz.KeyTypeEd25519),
		newClientKey(t, tz.KeyTypeSecp256k1),
		newClientKey(t, tz.KeyTypeP256),
	}
	stranger := newClientKey(t, tz.KeyTypeEd25519)
	var authorized []tezos.PublicKey
	var hashes []string
	for _, client := range clients {
		authorized = append(authorized, client.public)
		hashes = append(hashes, `"`+client.public.Hash().String()+`"`)
	}
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.P256}, authorized: authorized})

	want := `{"authorized_keys":[` + strings.Join(hashes, ",") + "]}\n"
	if got := do(t, "GET", rig.url+"/authorized_keys", ""); got.status != 200 || got.body != want {
		t.Errorf("authorized_keys: %d %q, want 200 %q", got.status, got.body, want)
	}
	if got := do(t, "GET", rig.keyURL(0), ""); got.status != 200 {
		t.Errorf("the public key needs authentication: %d %s", got.status, got.body)
	}
	post := func(i int, payload []byte, authentication string) reply {
		query := "?version=3&authentication=" + url.QueryEscape(authentication)
		return do(t, "POST", rig.keyURL(i)+query, quoted(payload))
	}
	hash := rig.keys[0].Hash()
	for n, client := range clients {
		payload := tezostest.Attestation(int32(n), 0, 1)
		good := client.authenticate(t, hash, payload)
		for name, authentication := range map[string]string{
			"of a stranger":     stranger.authenticate(t, hash, payload).String(),
			"for another key":   client.authenticate(t, rig.keys[1].Hash(), payload).String(),
			"of other bytes":    client.authenticate(t, hash, tezostest.Attestation(int32(n), 0, 2)).String(),
			"of the payload":    signatureOf(t, client, payload),
			"of another client": stranger.authenticate(t, hash, payload).Generic(),
		} {
			got := post(0, payload, authentication)
			if msg := got.refusal(t); got.status != 401 || msg != "invalid authentication signature" {
				t.Errorf("%v signature %s: %d %q, want 401", client.public.Kind(), name, got.status, msg)
			}
		}
		if got := rig.post(t, 0, payload); got.status != 401 {
			t.Errorf("%v without signature: %d %s, want 401", client.public.Kind(), got.status, got.body)
		}
		checkSigned(t, post(0, payload, good.String()), rig.keys[0], payload)
		checkSigned(t, post(0, payload, good.Generic()), rig.keys[0], payload)
	}
}

// signatureOf signs the payload alone, without the prefix of sign requests.
func signatureOf(t *testing.T, client clientKey, payload []byte) string {
	t.Helper()
	digest := tezos.DigestOf(payload)
	sig, err := client.secret.Sign(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig.String()
}

// A client without authentication learns nothing: neither which keys exist nor what they may sign
// or have signed.
func TestAuthenticationComesFirst(t *testing.T) {
	t.Parallel()
	client := newClientKey(t, tz.KeyTypeEd25519)
	rig := newRig(t, setup{authorized: []tezos.PublicKey{client.public}, policy: &policy.Policy{Baking: true}})
	signed := tezostest.Attestation(5, 0, 1)
	authentication := client.authenticate(t, rig.keys[0].Hash(), signed)
	checkSigned(t, do(t, "POST", rig.keyURL(0)+"?authentication="+authentication.String(), quoted(signed)), rig.keys[0], signed)
	for name, request := range map[string][2]string{
		"unknown key":   {rig.url + "/keys/tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z", quoted(signed)},
		"tz4":           {rig.url + "/keys/tz4EECtMxAuJ9UDLaiMZH7G1GCFYUWsj8HZn", quoted(signed)},
		"denied":        {rig.keyURL(0), quoted(tezostest.Transaction(rig.keys[0].Hash()))},
		"malformed":     {rig.keyURL(0), quoted(signed[:20])},
		"below":         {rig.keyURL(0), quoted(tezostest.Attestation(4, 0, 1))},
		"same slot":     {rig.keyURL(0), quoted(tezostest.Attestation(5, 0, 2))},
		"signed before": {rig.keyURL(0), quoted(signed)},
	} {
		got := do(t, "POST", request[0], request[1])
		if msg := got.refusal(t); got.status != 401 || msg != "missing authentication signature field" {
			t.Errorf("%s: %d %q, want 401", name, got.status, msg)
		}
		got = do(t, "POST", request[0]+"?authentication="+signatureOf(t, client, []byte("else")), request[1])
		if msg := got.refusal(t); got.status != 401 || msg != "invalid authentication signature" {
			t.Errorf("%s: %d %q, want 401", name, got.status, msg)
		}
	}
}

func TestEmptyListOfAuthorizedKeysRefusesAll(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{authorized: []tezos.PublicKey{}})
	if got := do(t, "GET", rig.url+"/authorized_keys", ""); got.body != "{\"authorized_keys\":[]}\n" {
		t.Errorf("authorized_keys %q, want an empty list", got.body)
	}
	if got := rig.post(t, 0, tezostest.Attestation(1, 0, 1)); got.status != 401 {
		t.Errorf("got %d %s, want 401", got.status, got.body)
	}
}

// The signer does not have the keys of the vectors: a request that passes authentication is a 404,
// one that fails it a 401.
func TestAuthenticationVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/authentication.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Hex, Signature string
		PublicKey            string `json:"public_key"`
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		client, err := tezos.ParsePublicKey(v.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		rig := newRig(t, setup{authorized: []tezos.PublicKey{client}})
		signed := unhex(t, v.Hex)
		target := fmt.Sprintf("%s/keys/%v?authentication=%s", rig.url, tezos.PublicKeyHash(signed[2:23]), v.Signature)
		if got := do(t, "POST", target, quoted(signed[23:])); got.status != 404 {
			t.Errorf("%s: %d %s, want to pass and be 404", v.Name, got.status, got.body)
		}
		signed[30] ^= 1
		if got := do(t, "POST", target, quoted(signed[23:])); got.status != 401 {
			t.Errorf("%s with a bit of the payload changed: %d %s, want 401", v.Name, got.status, got.body)
		}
	}
}
