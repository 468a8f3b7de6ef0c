package audit_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pawl/internal/audit"
	"pawl/tezos"
)

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// TestLine: the fields in their order, and none that is empty.
func TestLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 15, 4, 5, 678_900_000, time.FixedZone("", 3600))
	begin := `{"seq":1,"prev":"` + zeros + `","time":"2026-12-01T14:04:05.678Z",`
	for want, e := range map[string]audit.Event{
		`"event":"stop"}`: {Name: audit.Stop},
		`"event":"signed","pkh":"tz3LL3cfMfBV4fPaPZdcj9TjPa3XbvLiXw9V","chain_id":"NetXdQprcVkpaWU","kind":"block","level":0,"round":0,` +
			`"digest":"0100000000000000000000000000000000000000000000000000000000000000"}`: {
			Name: audit.Signed, Key: key, ChainID: mainnet, Kind: tezos.Block, Digest: tezos.Digest{1},
		},
		`"event":"register","level":7,"detail":"<a> & \"b\""}`: {Name: audit.Register, Level: 7, Detail: `<a> & "b"`},
		`"event":"dropped","count":12,"reason":"x"}`:           {Name: audit.Dropped, Count: 12, Reason: "x"},
		`"event":"retire","reason":"` + "\uFFFD" + `a"}`:       {Name: audit.Retire, Reason: "\xffa"},
	} {
		e.Time = at
		if got := string(audit.LineOf(e)); got != begin+want {
			t.Errorf("got\n%s, want\n%s", got, begin+want)
		}
	}
}

var (
	key     = tezos.PublicKeyHash{2}
	mainnet = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70}
)

// TestNoSecretInLine: a person may type anything as a reason.
func TestNoSecretInLine(t *testing.T) {
	t.Parallel()
	const secret = "edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh"
	for _, e := range []audit.Event{{Reason: "it was " + secret}, {Detail: secret}} {
		if line := string(audit.LineOf(e)); strings.Contains(line, secret[4:]) {
			t.Errorf("the line is %s", line)
		}
	}
}

// TestLongLine: a line is cut, whatever its texts are, to the longest one that is allowed.
func TestLongLine(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a", "é", "\x01", "a\xff", "\u2028", "😀\x02"} {
		long := strings.Repeat(text, 1<<16)
		for _, e := range []audit.Event{
			{Name: audit.Signed, Detail: long},
			{Name: audit.Signed, Reason: long},
			{Name: audit.Name(long), Reason: long, Detail: long},
		} {
			e.Key, e.ChainID, e.Kind, e.Digest = key, mainnet, tezos.Preattestation, tezos.Digest{1}
			line := audit.LineOf(e)
			var said struct{ Reason, Detail string }
			if err := json.Unmarshal(line, &said); err != nil || len(line) >= audit.MaxLine {
				t.Errorf("%q: %d bytes, %v, want a line of %d at most", text, len(line)+1, err, audit.MaxLine)
			}
			if len(said.Reason)+len(said.Detail) < 500 {
				t.Errorf("%q: only %d and %d bytes of text are left", text, len(said.Reason), len(said.Detail))
			}
		}
	}
}
