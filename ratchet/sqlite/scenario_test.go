package sqlite_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"pawl/ratchet"
	"pawl/tezos"
)

// scenarioKeys stand for the keys that the scenario names. No signature is verified
// here; tz1-A is the source of its manager operation.
var scenarioKeys = map[string]tezos.PublicKeyHash{
	"tz1-A": {0x00, 0x02, 0x29, 0x8c, 0x03, 0xed, 0x7d, 0x45, 0x4a, 0x10, 0x1e, 0xb7, 0x02, 0x2b, 0xc9, 0x5f, 0x7e, 0x5f, 0x41, 0xac, 0x78},
	"tz1-B": {byte(tezos.Ed25519), 0xb},
	"tz4-A": {byte(tezos.BLS12381), 0xa},
}

// TestScenario replays requests whose answers by octez-signer are known. Two that
// Octez takes for consensus requests are malformed here: step 22 has the layout of
// another kind of key, and step 26 is cut short. Operations have no watermark.
func TestScenario(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/watermark-scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	var scenario struct {
		Steps []struct {
			Step    int    `json:"step"`
			What    string `json:"what"`
			Key     string `json:"key"`
			Payload string `json:"payload"`
			Octez   string `json:"octez_signer"`
		} `json:"steps"`
	}
	if err := json.Unmarshal(content, &scenario); err != nil || len(scenario.Steps) != 26 {
		t.Fatalf("%d steps, %v, want 26", len(scenario.Steps), err)
	}
	path := newFile(t)
	opts := options{MaxLevelGap: 1<<31 - 1} // it jumps from level 35 to 12180922
	db := open(t, path, opts)
	for _, key := range scenarioKeys {
		if err := db.RegisterNew(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range scenario.Steps {
		payload, err := hex.DecodeString(s.Payload)
		if err != nil {
			t.Fatal(err)
		}
		request, err := tezos.ParseRequest(payload, scenarioKeys[s.Key])
		if s.Step == 22 || s.Step == 26 {
			if !errors.Is(err, tezos.ErrMalformed) {
				t.Errorf("step %d, %s: got %v, want %v", s.Step, s.What, err, tezos.ErrMalformed)
			}
			continue
		}
		if err != nil {
			t.Fatalf("step %d, %s: %v", s.Step, s.What, err)
		}
		consensus, ok := request.(tezos.Consensus)
		if !ok {
			continue
		}
		m := ratchet.Mark{
			Key: scenarioKeys[s.Key], ChainID: consensus.ChainID, Kind: consensus.Kind,
			Level: consensus.Level, Round: consensus.Round,
		}
		if got := scenarioAnswer(t, db, m, tezos.NewMessage(payload)); got != s.Octez {
			t.Errorf("step %d, %s:\n\tgot  %s\n\twant %s", s.Step, s.What, got, s.Octez)
		}
		closeDB(t, db)
		db = open(t, path, opts)
	}
}

// scenarioAnswer signs and returns the outcome in the words of the scenario.
func scenarioAnswer(t *testing.T, db *DB, m ratchet.Mark, d tezos.Message) string {
	t.Helper()
	asked := false
	release, err := db.Sign(t.Context(), m, d, func(context.Context, tezos.Message) (tezos.Signature, error) {
		asked = true
		return signatureOf(t, d, 0), nil
	})
	switch {
	case err != nil:
		return "error: " + strings.TrimSpace(err.Error())
	case release.Stored == asked || release.Signature != signatureOf(t, d, 0):
		t.Errorf("stored is %t, the HSM was asked is %t", release.Stored, asked)
		return ""
	case release.Stored:
		return "stored signature returned"
	}
	return "signed"
}
