package ratchet_test

import (
	"reflect"
	"testing"

	"pawl/ratchet"
	"pawl/tezos"
)

// TestJudge is the one rule as a table: a standing, a mark, and the verdict.
func TestJudge(t *testing.T) {
	t.Parallel()
	const gap = 100
	d, other := bytesNumber(1).Digest(), bytesNumber(2).Digest()
	signature := signatureOf(t, bytesNumber(1), 0)
	at := func(level, round int32) *ratchet.StoredMark {
		return &ratchet.StoredMark{Mark: block(level, round), Digest: d, Signature: &signature}
	}
	imported := &ratchet.StoredMark{Mark: block(10, 2)}
	voted := func(level int32) *ratchet.StoredMark {
		m := block(level, 0)
		m.Kind = tezos.Attestation
		return &ratchet.StoredMark{Mark: m, Digest: d, Signature: &signature}
	}
	with := func(s ratchet.Standing, marks ...*ratchet.StoredMark) ratchet.Standing {
		for _, m := range marks {
			if m != nil {
				s.AddMark(*m, tezos.Block)
			}
		}
		return s
	}
	from := func(floor int32, marks ...*ratchet.StoredMark) ratchet.Standing {
		return with(ratchet.Standing{Registered: true, HasFloor: true, Floor: floor, Confined: true, Chains: 1}, marks...)
	}
	fresh := func(marks ...*ratchet.StoredMark) ratchet.Standing {
		return with(ratchet.Standing{Registered: true, NeverUsed: true, Chains: 1}, marks...)
	}
	const signs, stored = ratchet.Reason(0), ratchet.Reason(255)
	for name, test := range map[string]struct {
		standing ratchet.Standing
		mark     ratchet.Mark
		digest   tezos.Digest
		want     ratchet.Reason
	}{
		"nothing signed yet":                     {from(0, nil), block(1, 0), d, signs},
		"a higher level":                         {from(0, at(10, 2)), block(11, 0), d, signs},
		"a higher round":                         {from(0, at(10, 2)), block(10, 3), d, signs},
		"a lower level, a higher round":          {from(0, at(10, 2)), block(9, 7), d, ratchet.BelowWatermark},
		"a lower round":                          {from(0, at(10, 2)), block(10, 1), d, ratchet.BelowWatermark},
		"the same slot and bytes":                {from(0, at(10, 2)), block(10, 2), d, stored},
		"the same slot, other bytes":             {from(0, at(10, 2)), block(10, 2), other, ratchet.OtherBytes},
		"the same slot of an imported mark":      {from(0, imported), block(10, 2), d, ratchet.NoSignature},
		"above an imported mark":                 {from(0, imported), block(10, 3), d, signs},
		"below an imported mark":                 {from(0, imported), block(10, 1), d, ratchet.BelowWatermark},
		"not registered":                         {ratchet.Standing{}, block(1, 0), d, ratchet.NotRegistered},
		"not registered, with a mark":            {with(ratchet.Standing{}, at(10, 2)), block(11, 0), d, ratchet.NotRegistered},
		"registered elsewhere":                   {ratchet.Standing{Chains: 1}, block(1, 0), d, ratchet.NotRegistered},
		"never used, the first chain":            {ratchet.Standing{NeverUsed: true}, block(1<<31-1, 0), d, signs},
		"never used, the eighth chain":           {ratchet.Standing{NeverUsed: true, Chains: 7}, block(1, 0), d, signs},
		"never used, a ninth chain":              {ratchet.Standing{NeverUsed: true, Chains: 8}, block(1, 0), d, ratchet.TooManyChains},
		"never used, confined to other chains":   {ratchet.Standing{NeverUsed: true, Confined: true, Chains: 1}, block(1, 0), d, ratchet.NotRegistered},
		"never used, confined, a ninth chain":    {ratchet.Standing{NeverUsed: true, Confined: true, Chains: 8}, block(1, 0), d, ratchet.NotRegistered},
		"never used, on a chain that it opened":  {ratchet.Standing{Registered: true, NeverUsed: true, Confined: true, Chains: 9}, block(1, 0), d, signs},
		"below the floor":                        {from(50, nil), block(49, 0), d, ratchet.BelowFloor},
		"at the floor":                           {from(50, nil), block(50, 0), d, signs},
		"the stored one, though below a floor":   {from(50, at(10, 2)), block(10, 2), d, stored},
		"the gap above the floor":                {from(50, nil), block(150, 0), d, signs},
		"over the gap above the floor":           {from(50, nil), block(151, 0), d, ratchet.LevelGap},
		"the gap above the mark":                 {from(50, at(80, 0)), block(180, 0), d, signs},
		"over the gap above the mark":            {from(50, at(80, 0)), block(181, 0), d, ratchet.LevelGap},
		"the floor is above the mark":            {from(90, at(80, 0)), block(190, 0), d, signs},
		"over the gap above such a floor":        {from(90, at(80, 0)), block(191, 0), d, ratchet.LevelGap},
		"the first mark of a new key has no gap": {fresh(nil), block(1<<31-1, 0), d, signs},
		"the second one has":                     {fresh(at(80, 0)), block(181, 0), d, ratchet.LevelGap},
		"the gap above another kind":             {from(50, at(80, 0), voted(500)), block(600, 0), d, signs},
		"over the gap above another kind":        {from(50, at(80, 0), voted(500)), block(601, 0), d, ratchet.LevelGap},
		"the gap above a kind that is behind":    {from(50, at(80, 0), voted(60)), block(180, 0), d, signs},
		"over it":                                {from(50, at(80, 0), voted(60)), block(181, 0), d, ratchet.LevelGap},
		"another kind alone, and the gap":        {from(50, voted(500)), block(600, 0), d, signs},
		"another kind alone, over the gap":       {from(50, voted(500)), block(601, 0), d, ratchet.LevelGap},
		"a floor above all kinds":                {from(700, at(80, 0), voted(500)), block(800, 0), d, signs},
		"over the gap above such a floor too":    {from(700, at(80, 0), voted(500)), block(801, 0), d, ratchet.LevelGap},
		"a new key, another kind, and the gap":   {fresh(voted(500)), block(600, 0), d, signs},
		"a new key, another kind, over the gap":  {fresh(voted(500)), block(601, 0), d, ratchet.LevelGap},
		"another kind is no watermark":           {from(50, at(80, 0), voted(500)), block(81, 0), d, signs},
		"the highest level, without wrapping":    {from(0, at(80, 0)), block(1<<31-1, 0), d, ratchet.LevelGap},
	} {
		got, err := test.standing.Judge(test.mark, test.digest, gap)
		switch {
		case test.want == signs:
			if got != nil || err != nil {
				t.Errorf("%s: %v, %v; want it signed", name, got, err)
			}
		case test.want == stored:
			if err != nil || got == nil || *got != signature {
				t.Errorf("%s: %v, %v; want the stored signature", name, got, err)
			}
		case got != nil:
			t.Errorf("%s: %v; want it refused for %s", name, got, test.want)
		default:
			wantRefused(t, err, test.want, "")
		}
	}
}

// TestSnapshotStanding: the standing of a mark is taken from its own key, chain and kind.
func TestSnapshotStanding(t *testing.T) {
	t.Parallel()
	vote := block(7, 0)
	vote.Kind = tezos.Attestation
	elsewhere := tezos.ChainID{9}
	all := ratchet.Snapshot{
		Marks: []ratchet.StoredMark{{Mark: block(5, 1)}, {Mark: vote}},
		Registrations: []ratchet.Registration{
			{Key: baker, AnyChain: true},
			{Key: baker, ChainID: mainnet, FromLevel: 3},
			{Key: baker, ChainID: elsewhere, NoFloor: true},
			{Key: keyNumber(2), ChainID: mainnet, FromLevel: 4},
		},
	}
	for name, test := range map[string]struct {
		mark ratchet.Mark
		want ratchet.Standing
	}{
		"block": {block(1, 1), ratchet.Standing{
			Registered: true, HasFloor: true, Floor: 3, NeverUsed: true, Confined: true, Chains: 2,
			Mark: &all.Marks[0], Signed: true, Highest: 7,
		}},
		"another kind": {vote, ratchet.Standing{
			Registered: true, HasFloor: true, Floor: 3, NeverUsed: true, Confined: true, Chains: 2,
			Mark: &all.Marks[1], Signed: true, Highest: 7,
		}},
		"another chain": {ratchet.Mark{Key: baker, ChainID: elsewhere, Kind: tezos.Block}, ratchet.Standing{
			Registered: true, NeverUsed: true, Confined: true, Chains: 2,
		}},
		"no such chain": {ratchet.Mark{Key: baker, Kind: tezos.Block}, ratchet.Standing{
			NeverUsed: true, Confined: true, Chains: 2,
		}},
		"another key": {ratchet.Mark{Key: keyNumber(2), ChainID: mainnet, Kind: tezos.Block}, ratchet.Standing{
			Registered: true, HasFloor: true, Floor: 4, Confined: true, Chains: 1,
		}},
		"no such key": {ratchet.Mark{Key: keyNumber(3), ChainID: mainnet, Kind: tezos.Block}, ratchet.Standing{}},
	} {
		if got := all.Standing(test.mark); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// TestAllowed: what registrations allow, in words.
func TestAllowed(t *testing.T) {
	t.Parallel()
	made := ratchet.Registration{Key: baker, AnyChain: true}
	opened := func(n byte) ratchet.Registration {
		return ratchet.Registration{Key: baker, ChainID: tezos.ChainID{n}, NoFloor: true}
	}
	registered := ratchet.Registration{Key: baker, ChainID: mainnet, FromLevel: 12}
	full := ratchet.Snapshot{Registrations: []ratchet.Registration{made}}
	for n := range byte(ratchet.MaxChains) {
		full.Registrations = append(full.Registrations, opened(n))
	}
	of := func(rows ...ratchet.Registration) ratchet.Snapshot { return ratchet.Snapshot{Registrations: rows} }
	for name, test := range map[string]struct {
		all           ratchet.Snapshot
		row           ratchet.Registration
		chain, allows string
	}{
		"made":                  {of(made), made, "others", "any level: made by pawl, and not used there yet"},
		"made, chain 0 open":    {of(made, opened(0)), made, "others", "any level: made by pawl, and not used there yet"},
		"opened":                {of(made, opened(0)), opened(0), tezos.ChainID{}.String(), "any level: made by pawl, and a request opened the chain"},
		"registered":            {of(made, registered), registered, mainnet.String(), "from level 12 on"},
		"made, and registered":  {of(made, registered), made, "others", "nothing: it is registered for another chain"},
		"made, and eight open":  {full, made, "others", "nothing: it has 8 chains already"},
		"opened and registered": {of(made, opened(0), registered), opened(0), tezos.ChainID{}.String(), "any level: made by pawl, and a request opened the chain"},
	} {
		if chain, allows := test.all.Allowed(test.row); chain != test.chain || allows != test.allows {
			t.Errorf("%s: %s, %s; want %s, %s", name, chain, allows, test.chain, test.allows)
		}
	}
	if got := (ratchet.Standing{}).Allows(); got != "nothing: not registered" {
		t.Errorf("not registered: %s", got)
	}
}
