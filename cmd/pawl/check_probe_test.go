package main

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pawl/internal/check"
	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/softcard"
)

func TestCheckNamesTheKeyThatLacksAMechanism(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, &oddServer{lacks: []uint64{ep11.MechIBMEd25519SHA512}})
	got := runCheck(t, config)
	got.want(t, 1, "error", "keys.tz1", "lacks CKM_IBM_ED25519_SHA512 (0x8001001c)")
	got.want(t, 1, "error", "keys.tz1", "it signed, and yet the daemon leaves the server out")
	got.want(t, 1, "error", "", "")

	// What a key does not only lack in the list, but cannot do.
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeMechanismInvalid)})
	got = runCheck(t, config)
	got.want(t, 1, "error", "keys.tz1", "lacks CKM_IBM_ED25519_SHA512")
	got.want(t, 1, "error", "keys.tz2", "CKR_MECHANISM_INVALID")
	got.want(t, 1, "error", "keys.tz3", "CKR_MECHANISM_INVALID")
}

// Each code of the card has its remedy, and the key is named.
func TestCheckTellsWhyAKeyDoesNotSign(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	for code, remedy := range map[ep11.Code]string{
		ep11.CodeIBMWKIDMismatch:         "another master key",
		ep11.CodeIBMBlobError:            "restore it",
		ep11.CodeIBMWKNotInitialized:     "load it",
		ep11.CodeMechanismInvalid:        "enable the mechanism",
		ep11.CodeKeyTypeInconsistent:     "another key, of another curve",
		ep11.CodeKeyFunctionNotPermitted: "may not sign",
		ep11.CodeSessionClosed:           "login session",
		ep11.CodeFunctionCanceled:        "administrator",
	} {
		card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(code)})
		got := runCheck(t, config)
		got.want(t, 3, "error", "keys.", code.String())
		for _, f := range got.Findings {
			if strings.HasPrefix(f.Subject, "keys.") && !strings.Contains(f.Remedy, remedy) {
				t.Errorf("%v: %q, want %q", code, f.Remedy, remedy)
			}
		}
	}
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeIBMWKIDMismatch)})
	runCheck(t, config).want(t, 1, "error", "server", "has not master key")
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeIBMBlobError)}) // of the blobs alone
	got := runCheck(t, config)
	got.want(t, 0, "error", "server", "")
	got.want(t, 1, "warning", "server", "may have master key")
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Spoil: softcard.FlipBits(100)})
	runCheck(t, config).want(t, 3, "error", "keys.", "does not verify")
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Times: 1, Err: softcard.Unavailable()})
	runCheck(t, config).want(t, 3, "ok", "keys.", "signed a probe")
	card.SetFaults(&softcard.Fault{Call: "GetMechanismList", Err: softcard.Refusal(ep11.CodeIBMInternalError)})
	got = runCheck(t, config)
	got.want(t, 1, "error", "server", "CKR_IBM_INTERNAL_ERROR")
	got.want(t, 0, "ok", "keys.", "")
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Skip: 5, Times: 4, Err: softcard.Refusal(ep11.CodeIBMInternalError)})
	runCheck(t, config).want(t, 1, "warning", "server", "46 signatures")
}

// After a change of the master key the rewrapped blobs sign, as they do for the daemon.
func TestCheckUsesRewrappedBlobs(t *testing.T) {
	t.Parallel()
	file, card := checkedDemo(t, nil)
	dir := softcard.Dir(filepath.Dir(file))
	if err := errors.Join(dir.LoadNext(), dir.CommitNext()); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"pawl", "keys", "rewrap", "--config", file}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	runCheck(t, file).want(t, 3, "ok", "keys.", "signed a probe")
	if err := dir.Finalise(); err != nil {
		t.Fatal(err)
	}
	got := runCheck(t, file)
	got.want(t, 3, "warning", "keys.", "signs with secret_key_next")
	got.want(t, 1, "ok", "server", "wraps 3 keys")
	got.want(t, 0, "error", "", "")

	// Which of two codes a card gives then is not documented.
	cfg, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var faults []*softcard.Fault
	for _, key := range cfg.Keys {
		faults = append(faults, &softcard.Fault{Key: key.Blob, Err: softcard.Refusal(ep11.CodeIBMBlobError)})
	}
	card.SetFaults(faults...)
	runCheck(t, file).want(t, 3, "warning", "keys.", "signs with secret_key_next")
}

func TestCheckMeasuresFiftySignatures(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	fault := &softcard.Fault{Call: "SignSingle", Delay: 2 * time.Millisecond}
	card.SetFaults(fault)
	got := runCheck(t, config)
	if !got.OK {
		t.Errorf("%+v", got)
	}
	got.want(t, 3, "ok", "keys.tz", "signed a probe")
	got.want(t, 1, "ok", "server", "reads dialect v1 and v2; keys.json has both")
	got.want(t, 1, "ok", "server", "wraps 3 keys")
	got.want(t, 1, "ok", "ratchet", "synchronous=2")
	if want := 3 + 2 + check.LatencyCalls; fault.Hits() != want {
		t.Errorf("%d signatures were asked for, want %d: one a key, one a dialect, and those measured", fault.Hits(), want)
	}
	for _, f := range got.Findings {
		if l := f.Latency; l != nil {
			if l.Calls != check.LatencyCalls || l.P50 < 2 || l.P90 < l.P50 || l.P99 < l.P90 || l.Max < l.P99 {
				t.Errorf("%+v", l)
			}
			return
		}
	}
	t.Error("no latency")
}

// The blob of a key of another curve is refused, and check says whose it is.
func TestCheckOfExchangedBlobs(t *testing.T) {
	t.Parallel()
	file, _ := checkedDemo(t, nil)
	cfg, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	ed, ec := cfg.Keys[0].Blob.Hex(), cfg.Keys[2].Blob.Hex()
	replaceIn(t, file, ed, "ed")
	replaceIn(t, file, ec, ed)
	replaceIn(t, file, `"ed"`, `"`+ec+`"`)
	got := runCheck(t, file)
	got.want(t, 2, "error", "keys.", "")
	got.want(t, 1, "error", "keys.tz3", "secret_key is the blob of tz1")
	got.want(t, 1, "error", "keys.tz1", "secret_key is the blob of tz3")
	got.wantRemedy(t, "keys.", "exchanged")
}

// The next blobs of two keys are exchanged, and the new master key is finalised.
func TestCheckOfExchangedNextBlobs(t *testing.T) {
	t.Parallel()
	file, _ := checkedDemo(t, nil)
	dir := softcard.Dir(filepath.Dir(file))
	if err := errors.Join(dir.LoadNext(), dir.CommitNext()); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := rewrapKeys(t, file); code != 0 {
		t.Fatal(errOut)
	}
	cfg, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	ed, ec := cfg.Keys[0].NextBlob.Hex(), cfg.Keys[2].NextBlob.Hex()
	replaceIn(t, file, ed, "ed")
	replaceIn(t, file, ec, ed)
	replaceIn(t, file, `"ed"`, `"`+ec+`"`)
	if err := dir.Finalise(); err != nil {
		t.Fatal(err)
	}
	got := runCheck(t, file)
	got.want(t, 1, "error", "keys.tz3", "secret_key_next is the blob of tz1")
	got.want(t, 1, "error", "keys.tz1", "secret_key_next is the blob of tz3")
	got.want(t, 1, "warning", "keys.tz2", "signs with secret_key_next")
}
