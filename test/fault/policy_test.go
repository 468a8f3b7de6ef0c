package fault_test

import (
	"net/http"
	"slices"
	"testing"

	"pawl/ratchet"
	"pawl/tezos"
)

// chains are those that the keys sign on, each with watermarks of its own.
var chains = []tezos.ChainID{chain, {0x57, 0x52, 0xa7, 0x0d}}

// keyPolicy is what one key may sign, as keys.json says it and as the oracle judges.
type keyPolicy struct {
	only tezos.ChainID // zero: any
	last int32         // the highest level; 0: any
}

// policies are the keys', one for each kind: none would do for another key's requests.
var policies = map[tezos.KeyKind]keyPolicy{
	tezos.Ed25519:   {},
	tezos.Secp256k1: {last: 2_000_000_000},
	tezos.P256:      {only: chain},
}

// entry is the policy in keys.json.
func (p keyPolicy) entry() map[string]any {
	entry := map[string]any{"baking": true, "operations": []string{}}
	if p.only != (tezos.ChainID{}) {
		entry["chains"] = []string{p.only.String()}
	}
	if p.last > 0 {
		entry["not_after_level"] = p.last
	}
	return entry
}

func (p keyPolicy) allows(mark ratchet.Mark) bool {
	return (p.only == tezos.ChainID{} || mark.ChainID == p.only) && (p.last == 0 || mark.Level <= p.last)
}

// chainsOf are those that a key may sign on.
func chainsOf(key tezos.PublicKey) []tezos.ChainID {
	return slices.DeleteFunc(slices.Clone(chains), func(c tezos.ChainID) bool {
		return !policies[key.Kind()].allows(ratchet.Mark{ChainID: c})
	})
}

// chainOf is one of them; they take turns.
func chainOf(key tezos.PublicKey, turn int) tezos.ChainID {
	may := chainsOf(key)
	return may[turn%len(may)]
}

// forbidden is what no key's own policy allows and another's would: a chain of the
// others, and a level above the last.
func (r *rig) forbidden(level int32) (asks []ask) {
	for _, key := range r.keys {
		for _, kind := range kinds {
			for _, mark := range []ratchet.Mark{
				{ChainID: chains[1], Level: level}, {ChainID: chains[0], Level: policies[tezos.Secp256k1].last + 1},
			} {
				mark.Key, mark.Kind = key.Hash(), kind
				if !policies[key.Kind()].allows(mark) {
					asks = append(asks, ask{mark: mark})
				}
			}
		}
	}
	return asks
}

// refusesForbidden has a daemon asked for what is forbidden: 403, or 503 if it is short
// of time.
func (r *rig) refusesForbidden(t *testing.T, d *daemon, level int32) {
	t.Helper()
	asks := r.forbidden(level)
	refused := 0
	for _, a := range r.postAll(d, asks, nil) {
		for tries := 0; tries < 10 && a.status == http.StatusServiceUnavailable; tries++ {
			a = r.post(d, a.ask)
		}
		if a.status == http.StatusForbidden {
			refused++
		} else {
			t.Errorf("%v, want 403: the key's policy forbids it", a)
		}
	}
	total.happenedTimes(partLoad, "asked for what the policy of another key would allow", "refused", refused)
}

// TestForbidden: what no policy allows is asked for: each key has a policy of its own,
// and the oracle knows it.
func TestForbidden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.start(t)
	if asks := r.forbidden(5); len(asks) != 2*len(kinds) {
		t.Fatalf("%d asks, want those of two keys", len(asks))
	}
	for level := range int32(10) {
		r.refusesForbidden(t, d, level)
		var asks []ask
		for _, key := range r.keys {
			for _, c := range chainsOf(key) {
				asks = append(asks, ask{mark: ratchet.Mark{Key: key.Hash(), ChainID: c, Kind: tezos.Block, Level: level}})
			}
		}
		for _, a := range r.postAll(d, asks, nil) {
			for tries := 0; tries < 10 && a.status >= http.StatusInternalServerError; tries++ {
				a = r.post(d, a.ask)
			}
			if a.status != http.StatusOK {
				t.Errorf("%v, want a signature", a)
			}
		}
	}
	if _, err := r.oracle.merge(r.card); err != nil {
		t.Error(err)
	}
}
