package main

import (
	"slices"
	"time"

	"pawl/tezos"
)

// cell is one line of the table: a load on a stand.
type cell struct {
	name    string
	stand   string
	load    load
	workers int

	oneKind bool          // only keys of
	kind    tezos.KeyKind // this kind
	fresh   bool          // a connection for each request
	resume  bool          // TLS sessions
	waves   bool          // all workers at once, else each as soon as it is answered
	spread  time.Duration // how long "at once" lasts
	rested  bool          // begins when the ratchet has nothing left to do from before
	slowed  time.Duration // what each fsync takes longer

	ceilings []string // measured in turns with the cell
}

// mixed are the kinds that pawl signs with.
var mixed = []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256}

// plans lists the stands: what serves, and from where.
func plans() []plan {
	return []plan{
		{name: "10 keys", keys: 10, kinds: mixed, inFlight: 8},
		{name: "10 keys HTTPS", keys: 10, kinds: mixed, inFlight: 8, tls: true},
		// Of one kind, for the number of keys shall be all that differs.
		{name: "10 tz1 keys", keys: 10, kinds: mixed[:1], inFlight: 8},
		{name: "1000 tz1 keys", keys: 1000, kinds: mixed[:1], inFlight: 8},
		{name: "10000 tz1 keys", keys: 10_000, kinds: mixed[:1], inFlight: 8},
		{name: "HSM 5 ms", keys: 64, kinds: mixed, inFlight: 64, delay: 5 * time.Millisecond},
		{name: "HSM 25 ms", keys: 64, kinds: mixed, inFlight: 64, delay: 25 * time.Millisecond},
	}
}

// all are the ceilings of one signature. Between two that write to the disk, pawl's
// commit among them, lies what leaves it alone for about as long: a disk that has just
// been used answers sooner.
var all = []string{ceilingSync, ceilingEcho, ceilingHSM, ceilingCommit, ceilingVerify}

// ofSignature are those that add up to a signature: the commit holds its fdatasync.
var ofSignature = []string{ceilingEcho, ceilingHSM, ceilingCommit, ceilingVerify}

// cells lists what is measured. Names are unique.
func cells() []cell {
	return slices.Concat(oneConnection(), manyConnections(), withoutHSM(), slowHSM())
}

func oneConnection() []cell {
	return []cell{
		{
			name: "tz1, 1 connection", stand: "10 keys", load: signing, workers: 1, oneKind: true, kind: tezos.Ed25519,
			ceilings: all,
		},
		{
			name: "tz2, 1 connection", stand: "10 keys", load: signing, workers: 1, oneKind: true, kind: tezos.Secp256k1,
			ceilings: all,
		},
		{
			name: "tz3, 1 connection", stand: "10 keys", load: signing, workers: 1, oneKind: true, kind: tezos.P256,
			ceilings: all,
		},
		{
			name: "tz1, 2 fresh connections", stand: "10 keys", load: asOctez, workers: 1, oneKind: true, kind: tezos.Ed25519,
			fresh: true, ceilings: all,
		},
		{
			name: "tz1, HTTPS", stand: "10 keys HTTPS", load: signing, workers: 1, oneKind: true, kind: tezos.Ed25519,
			ceilings: all,
		},
		{
			name: "tz1, HTTPS, 2 fresh, resumed", stand: "10 keys HTTPS", load: asOctez, workers: 1, oneKind: true,
			kind: tezos.Ed25519, fresh: true, resume: true, ceilings: all,
		},
		{
			name: "tz1, HTTPS, 2 fresh", stand: "10 keys HTTPS", load: asOctez, workers: 1, oneKind: true, kind: tezos.Ed25519,
			fresh: true, ceilings: all,
		},
	}
}

func manyConnections() []cell {
	return []cell{
		{name: "10 keys, 16 connections", stand: "10 keys", load: signing, workers: 16},
		{name: "10 keys, 16 times 2 fresh", stand: "10 keys", load: asOctez, workers: 16, fresh: true},
		{name: "10 keys, HTTPS, 16 connections", stand: "10 keys HTTPS", load: signing, workers: 16},
		{name: "10 keys, 64 connections", stand: "10 tz1 keys", load: signing, workers: 64},
		{name: "1000 keys, 64 connections", stand: "1000 tz1 keys", load: signing, workers: 64},
		{name: "10000 keys, 64 connections", stand: "10000 tz1 keys", load: signing, workers: 64},
		{
			name: "10 keys, 64 connections, fsync +5 ms", stand: "10 tz1 keys", load: signing, workers: 64,
			slowed: 5 * time.Millisecond,
		},
	}
}

func withoutHSM() []cell {
	return []cell{
		{name: "GET /keys, 1 connection", stand: "10 keys", load: getting, workers: 1, ceilings: []string{ceilingEcho}},
		{name: "GET /keys, 16 connections", stand: "10 keys", load: getting, workers: 16, rested: true},
		{name: "identical again, 16 connections", stand: "10 keys", load: repeating, workers: 16},
		{name: "conflicting, 16 connections", stand: "10 keys", load: conflicting, workers: 16},
	}
}

func slowHSM() []cell {
	return []cell{
		{name: "HSM 5 ms, 1 connection", stand: "HSM 5 ms", load: signing, workers: 1, ceilings: []string{
			ceilingCommit,
			ceilingHSM,
		}},
		{
			name: "HSM 5 ms, 64 at once", stand: "HSM 5 ms", load: signing, workers: 64, waves: true,
			ceilings: []string{ceilingCommit, ceilingHSM},
		},
		{name: "HSM 5 ms, 64 connections", stand: "HSM 5 ms", load: signing, workers: 64},
		{name: "HSM 25 ms, 1 connection", stand: "HSM 25 ms", load: signing, workers: 1, ceilings: []string{
			ceilingCommit,
			ceilingHSM,
		}},
		{name: "HSM 25 ms, 64 connections", stand: "HSM 25 ms", load: signing, workers: 64},
		{
			name: "HSM 25 ms, 64 at once", stand: "HSM 25 ms", load: signing, workers: 64, waves: true,
			ceilings: []string{ceilingCommit, ceilingHSM},
		},
		{
			name: "HSM 25 ms, 64 within 200 ms", stand: "HSM 25 ms", load: signing, workers: 64, waves: true,
			spread: 200 * time.Millisecond, ceilings: []string{ceilingCommit, ceilingHSM},
		},
	}
}
