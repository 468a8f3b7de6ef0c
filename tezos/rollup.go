package tezos

import "bytes"

// This file reads the bodies of smart rollup operations (sc_rollup_*.ml). Addresses and
// hashes have no tag. What has a length before it and is not a list is not looked into.

// Sizes in bytes.
const (
	rollupSize   = 20
	rollupHash   = 32 // of a commitment or a state
	maxWhitelist = 4094
	maxRawData   = 4096
)

func (r *reader) rollupOriginate(*Content) {
	const lastPVM = 2 // arith, wasm_2_0_0, riscv
	at := r.pos
	if pvm := r.byte("PVM kind"); pvm > lastPVM {
		r.fail(at, "PVM kind 0x%02x is unknown", pvm)
	}
	r.dynamic("kernel")
	r.dynamic("type")
	if r.flag("whitelist") {
		r.whitelist()
	}
}

// whitelist reads a list of keys. maxWhitelist includes the length field
// (sc_rollup_whitelist_repr.ml).
func (r *reader) whitelist() {
	at := r.pos
	outer := r.open("whitelist")
	if size := r.end - at; size > maxWhitelist {
		r.fail(at, "whitelist of %d bytes is over %d", size, maxWhitelist)
	}
	for r.more() {
		r.pkh("whitelist")
	}
	r.close(outer)
}

func (r *reader) rollupAddMessages(*Content) {
	at := r.pos
	outer := r.open("messages")
	if r.pos == r.end {
		r.fail(at, "has no messages")
	}
	for r.more() {
		r.dynamic("message")
	}
	r.close(outer)
}

func (r *reader) rollupCement(*Content) { r.bytes(rollupSize, "rollup") }

func (r *reader) rollupPublish(*Content) {
	r.bytes(rollupSize, "rollup")
	r.bytes(rollupHash, "state")
	r.natural32("inbox level")
	r.bytes(rollupHash, "predecessor")
	at := r.pos
	if ticks := r.bytes(8, "number of ticks"); ticks != nil && ticks[0]&0x80 != 0 {
		r.fail(at, "number of ticks is negative")
	}
}

func (r *reader) rollupExecute(*Content) {
	r.bytes(rollupSize, "rollup")
	r.bytes(rollupHash, "commitment")
	r.dynamic("output proof")
}

func (r *reader) rollupRecoverBond(*Content) {
	r.bytes(rollupSize, "rollup")
	r.pkh("staker")
}

// rollupTimeout reads two stakers, which Octez writes in ascending order
// (sc_rollup_game_repr.ml, Index).
func (r *reader) rollupTimeout(*Content) {
	r.bytes(rollupSize, "rollup")
	alice := r.pkh("staker")
	at := r.pos
	bob := r.pkh("staker")
	if bytes.Compare(alice[:], bob[:]) > 0 {
		r.fail(at, "stakers are not in ascending order")
	}
}

// rollupRefute reads a move in a refutation game (sc_rollup_game_repr.ml).
func (r *reader) rollupRefute(*Content) {
	r.bytes(rollupSize, "rollup")
	r.pkh("opponent")
	at := r.pos
	switch tag := r.byte("refutation"); tag {
	case 0x00:
		r.bytes(rollupHash, "player commitment")
		r.bytes(rollupHash, "opponent commitment")
	case 0x01:
		r.bigNatural("choice")
		r.refutationStep()
	default:
		r.fail(at, "refutation has unknown tag 0x%02x", tag)
	}
}

func (r *reader) refutationStep() {
	at := r.pos
	switch tag := r.byte("step"); tag {
	case 0x00:
		r.dissection()
	case 0x01:
		r.dynamic("PVM step")
		if r.flag("input proof") {
			r.inputProof()
		}
	default:
		r.fail(at, "step has unknown tag 0x%02x", tag)
	}
}

func (r *reader) dissection() {
	outer := r.open("dissection")
	for r.more() {
		if r.flag("state") {
			r.bytes(rollupHash, "state")
		}
		r.bigNatural("tick")
	}
	r.close(outer)
}

// inputProof reads an input proof, which has no length before it (sc_rollup_proof_repr.ml).
func (r *reader) inputProof() {
	at := r.pos
	switch tag := r.byte("input proof"); tag {
	case 0x00:
		r.natural32("inbox level")
		r.bigNatural("message counter")
		r.dynamic("inbox proof")
	case 0x01:
		r.revealProof()
	case 0x02: // first input
	default:
		r.fail(at, "input proof has unknown tag 0x%02x", tag)
	}
}

func (r *reader) revealProof() {
	at := r.pos
	switch tag := r.byte("reveal proof"); tag {
	case 0x00:
		r.rawData()
	case 0x01, 0x03: // metadata, DAL parameters
	case 0x02:
		r.natural32("published level")
		r.byte("slot index")
		r.bytes(2, "page index")
		r.dynamic("DAL proof")
	default:
		r.fail(at, "reveal proof has unknown tag 0x%02x", tag)
	}
}

// rawData reads bytes with a length of two bytes before them.
func (r *reader) rawData() {
	at := r.pos
	n := 0
	if b := r.bytes(2, "raw data"); b != nil {
		n = int(b[0])<<8 | int(b[1])
	}
	if n > maxRawData {
		r.fail(at, "raw data of %d bytes is over %d", n, maxRawData)
	}
	r.bytes(n, "raw data")
}
