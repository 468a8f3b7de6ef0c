package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// domains are the cards of one master key behind the servers of a keys.json with two keys.
type domains struct {
	t       *testing.T
	cards   []*softcard.Card
	stop    []func()
	address []string
	config  string
}

func masterKeyOf(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

func newDomains(t *testing.T, n int) *domains {
	t.Helper()
	dir := cardtest.Folder(t)
	d := &domains{t: t, config: filepath.Join(string(dir), "keys.json")}
	for range n {
		server := cardtest.Serve(t, cardtest.New(t, 1), dir)
		d.cards, d.stop, d.address = append(d.cards, server.Card), append(d.stop, server.Stop), append(d.address, server.Address)
	}
	d.write(map[string]any{})
	keys := make(map[string]any)
	servers, err := connectionOf(d.config)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		made, err := newKey(t.Context(), servers, tezos.P256, false)
		if err != nil {
			t.Fatal(err)
		}
		keys[made.PublicKey.Hash().String()] = map[string]any{"public_key": made.PublicKey.String(), "secret_key": made.Blob.Hex()}
	}
	d.write(keys)
	return d
}

func (d *domains) write(keys map[string]any) {
	d.t.Helper()
	text, err := json.Marshal(map[string]any{
		"url": d.address, "cert_path": "client.pem", "key_path": "client-key.pem", "cacert_path": "ca.pem", "keys": keys,
	})
	if err == nil {
		err = os.WriteFile(d.config, text, 0o600)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// commit loads and commits a new master key at one.
func (d *domains) commit(at int, masterKey byte) {
	d.t.Helper()
	if err := errors.Join(d.cards[at].LoadNext(masterKeyOf(masterKey)), d.cards[at].CommitNext()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *domains) finalise(at int) {
	d.t.Helper()
	if err := d.cards[at].Finalise(); err != nil {
		d.t.Fatal(err)
	}
}

// with returns the keys, of which those with a next blob are counted.
func (d *domains) keys() (keys []config.KeySpec, rotating int) {
	d.t.Helper()
	cfg, err := loadConfig(d.config)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, key := range cfg.Keys {
		if key.NextBlob != nil {
			rotating++
		}
	}
	return cfg.Keys, rotating
}

// noCall is the answer of a server that does not know the call at all.
func noCall() *softcard.Fault {
	return &softcard.Fault{Call: "RewrapKeyBlob", Err: status.Error(codes.Unimplemented, "unknown method RewrapKeyBlob")}
}

// TestRewrapAsksAllServers: nothing is written unless each is about to take the same new
// master key, or has it, or cannot tell. One that is not is named, with the way out.
func TestRewrapAsksAllServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at   func(d *domains)
		want string // of the error, with A and B for the addresses; "" when it rewraps
		note string
	}{
		"the same at both":         {func(d *domains) { d.commit(0, 2); d.commit(1, 2) }, "", ""},
		"another at the second":    {func(d *domains) { d.commit(0, 2); d.commit(1, 3) }, "but at B ", ""},
		"not committed there":      {func(d *domains) { d.commit(0, 2) }, " at B: RewrapKeyBlob: CKR_IBM_WK_NOT_INITIALIZED (0x80010009): no new master key is committed: load and commit the same new master key there too; take", ""},
		"not committed at either":  {func(*domains) {}, " at A: RewrapKeyBlob: CKR_IBM_WK_NOT_INITIALIZED", ""},
		"the first has finalised":  {func(d *domains) { d.commit(0, 2); d.finalise(0); d.commit(1, 2) }, "", ""},
		"it has finalised another": {func(d *domains) { d.commit(0, 3); d.finalise(0); d.commit(1, 2) }, " at A: RewrapKeyBlob: CKR_IBM_WK_NOT_INITIALIZED", ""},
		"the second is silent":     {func(d *domains) { d.commit(0, 2); d.stop[1]() }, " at B: RewrapKeyBlob: Unavailable: ", ""},
		"both are silent":          {func(d *domains) { d.stop[0](); d.stop[1]() }, "see that the server and its card answer; take one that is gone for good out of url; rewrapping ", ""},
		"the first has no such call": {func(d *domains) {
			d.commit(0, 2)
			d.commit(1, 2)
			d.cards[0].SetFaults(noCall())
		}, "", "note: A has no RewrapKeyBlob: see yourself that it has the same new master key"},
		"the second refuses the call": {func(d *domains) {
			d.commit(0, 2)
			d.cards[1].SetFaults(&softcard.Fault{Call: "RewrapKeyBlob", Err: softcard.Refusal(ep11.CodeFunctionNotSupported)})
		}, "", "note: B has no RewrapKeyBlob"},
		"neither has the call": {func(d *domains) {
			d.cards[0].SetFaults(noCall())
			d.cards[1].SetFaults(noCall())
		}, " at B: RewrapKeyBlob: Unimplemented: unknown method RewrapKeyBlob: this GREP11 server has no RewrapKeyBlob: update it", ""},
		"trouble once at each": {func(d *domains) {
			d.commit(0, 2)
			d.commit(1, 2)
			d.cards[0].SetFaults(&softcard.Fault{Call: "RewrapKeyBlob", Err: softcard.Unavailable(), Times: 1})
			d.cards[1].SetFaults(&softcard.Fault{Call: "RewrapKeyBlob", Err: softcard.Refusal(ep11.CodeDeviceError), Times: 1})
		}, "", ""},
		"trouble twice": {func(d *domains) {
			d.commit(0, 2)
			d.commit(1, 2)
			d.cards[1].SetFaults(&softcard.Fault{Call: "RewrapKeyBlob", Err: softcard.Refusal(ep11.CodeDeviceError), Times: 2})
		}, " at B: RewrapKeyBlob: CKR_DEVICE_ERROR (0x30): as the fault wants it: see that the server and its card answer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDomains(t, 2)
			test.at(d)
			named := strings.NewReplacer(d.address[0], "A", d.address[1], "B")
			out, errOut, code := rewrapKeys(t, d.config)
			errOut = named.Replace(errOut)
			_, rotating := d.keys()
			if test.want == "" && (code != 0 || strings.Count(out, "rewrapped\n") != 2 || rotating != 2 || !strings.Contains(errOut, test.note)) {
				t.Errorf("exit %d, %q, %q, %d next blobs; want two keys rewrapped and %q", code, out, errOut, rotating, test.note)
			}
			if test.want != "" && (code != 1 || out != "" || rotating != 0 || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, test.want)) {
				t.Errorf("exit %d, %q, %q, %d next blobs; want one line with %q", code, out, errOut, rotating, test.want)
			}
		})
	}
}

// rewrappedDomains are two that are about to take master key 2.
func rewrappedDomains(t *testing.T) *domains {
	t.Helper()
	d := newDomains(t, 2)
	d.commit(0, 2)
	d.commit(1, 2)
	if _, errOut, code := rewrapKeys(t, d.config); code != 0 {
		t.Fatal(errOut)
	}
	return d
}

// TestPromoteAsksAllServers: nothing is promoted unless each has signed with each next blob.
// One that has not is named, with the way out.
func TestPromoteAsksAllServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at   func(d *domains)
		want string // of the error, with B for the second server; "" when it promotes
	}{
		"both have finalised":  {func(d *domains) { d.finalise(0); d.finalise(1) }, ""},
		"the second has not":   {func(d *domains) { d.finalise(0) }, " at B: SignSingle: CKR_IBM_WKID_MISMATCH (0x80010001): "},
		"what to do then":      {func(d *domains) { d.finalise(0) }, ": nothing was changed: finalise the new master key in the HSM first\n"},
		"the second is silent": {func(d *domains) { d.finalise(0); d.stop[1]() }, " at B: SignSingle: Unavailable: "},
		"what to do about it":  {func(d *domains) { d.finalise(0); d.stop[1]() }, ": see that the server and its card answer; take one that is gone for good out of url\n"},
		"the second signs badly": {func(d *domains) {
			d.finalise(0)
			d.finalise(1)
			d.cards[1].SetFaults(&softcard.Fault{Call: "SignSingle", Skip: 1, Spoil: softcard.FlipBits(9)})
		}, " at B: "},
		"the second is in trouble": {func(d *domains) {
			d.finalise(0)
			d.finalise(1)
			d.cards[1].SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeDeviceError), Times: 2})
		}, " at B: SignSingle: CKR_DEVICE_ERROR"},
		"the second is so once": {func(d *domains) {
			d.finalise(0)
			d.finalise(1)
			d.cards[1].SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeDeviceError), Times: 1})
		}, ""},
		"the second lacks the rest": {func(d *domains) {
			d.finalise(0)
			d.finalise(1)
			d.cards[1].SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeMechanismInvalid)})
		}, " at B: SignSingle: CKR_MECHANISM_INVALID"},
		"a third one at the second": {func(d *domains) { d.finalise(0); d.finalise(1); d.commit(1, 3); d.finalise(1) }, ": the HSM accepts neither blob of this key: it has a third master key\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := rewrappedDomains(t)
			before, _ := d.keys()
			test.at(d)
			out, errOut, code := rewrapKeys(t, d.config, "--promote")
			errOut = strings.ReplaceAll(errOut, d.address[1], "B")
			after, rotating := d.keys()
			if test.want == "" && (code != 0 || rotating != 0 || strings.Count(out, "signs and is promoted\n") != 2 || !bytes.Equal(after[0].Blob, before[0].NextBlob)) {
				t.Errorf("exit %d, %q, %q, %d next blobs; want two keys promoted", code, out, errOut, rotating)
			}
			if test.want != "" && (code != 1 || rotating != 2 || out != "" || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, test.want)) {
				t.Errorf("exit %d, %q, %q, %d next blobs; want one line with %q", code, out, errOut, rotating, test.want)
			}
		})
	}
}

// TestCheckNamesTheServerThatHasFinalised: two servers on either side of a change of the
// master key.
func TestCheckNamesTheServerThatHasFinalised(t *testing.T) {
	t.Parallel()
	d := rewrappedDomains(t)
	d.finalise(1)
	got := runCheck(t, d.config)
	got.want(t, 2, "ok", "keys.", "signed a probe at server "+d.address[0])
	got.want(t, 2, "warning", "keys.", "server "+d.address[1]+": signs with secret_key_next")
}
