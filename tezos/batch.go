package tezos

// This file reads batches of manager operations.

import "math"

const (
	// maxMutez is the largest amount (tez_repr.ml).
	maxMutez = math.MaxInt64
	// maxGas times 1000 still fits an integer of Octez, which has 62 bits
	// (gas_limit_repr.ml).
	maxGas = (1<<62 - 1) / 1000
	// maxCounter and maxStorage exclude numbers of up to 70 bits, which Octez decodes
	// but no account can reach.
	maxCounter = math.MaxUint64
	maxStorage = math.MaxUint64
)

// managerBodies holds the manager operations by tag. Each has a function that reads what
// follows the storage limit (operation_repr.ml, Manager_operations).
var managerBodies = map[byte]struct {
	kind OperationKind
	body func(*reader, *Content)
}{
	0x6b: {OpReveal, (*reader).reveal},
	0x6c: {OpTransaction, (*reader).transaction},
	0x6d: {OpOrigination, (*reader).origination},
	0x6e: {OpDelegation, (*reader).delegation},
	0x6f: {OpRegisterGlobalConstant, (*reader).globalConstant},
	0x70: {OpSetDepositsLimit, (*reader).depositsLimit},
	0x71: {OpIncreasePaidStorage, (*reader).paidStorage},
	0x72: {OpUpdateConsensusKey, (*reader).consensusKey},
	0x73: {OpUpdateCompanionKey, (*reader).companionKey},
	0x9e: {OpTransferTicket, (*reader).transferTicket},
	0xc8: {OpRollupOriginate, (*reader).rollupOriginate},
	0xc9: {OpRollupAddMessages, (*reader).rollupAddMessages},
	0xca: {OpRollupCement, (*reader).rollupCement},
	0xcb: {OpRollupPublish, (*reader).rollupPublish},
	0xcc: {OpRollupRefute, (*reader).rollupRefute},
	0xcd: {OpRollupTimeout, (*reader).rollupTimeout},
	0xce: {OpRollupExecute, (*reader).rollupExecute},
	0xcf: {OpRollupRecoverBond, (*reader).rollupRecoverBond},
	0xe6: {OpDALPublishCommitment, (*reader).dalPublishCommitment},
}

// batch reads manager operations to the end of the payload. It applies the node's rules
// for batches (validate.ml, check_sanity_and_find_public_key and check_batch).
func (r *reader) batch(key PublicKeyHash) []Content {
	var contents []Content
	var counter uint64
	for r.more() {
		c, next := r.manager(key, contents, counter)
		contents = append(contents, c)
		counter = next
	}
	return contents
}

// manager reads one manager operation and returns its counter, which must be last plus
// one unless the operation is the first.
func (r *reader) manager(key PublicKeyHash, before []Content, last uint64) (Content, uint64) {
	r.in = "operation"
	at := r.pos
	tag := r.byte("tag")
	parse, ok := managerBodies[tag]
	if !ok {
		r.refuseTag(at, tag)
		return Content{}, 0
	}
	r.in = string(parse.kind)
	c := Content{Kind: parse.kind}
	if len(before) > 0 && parse.kind == OpReveal {
		r.fail(at, "is not the first operation of its batch")
	}
	if len(before) == 0 {
		c.Source = r.own("source", key)
	} else {
		c.Source = r.sameSource(before[0].Source)
	}
	c.Fee = r.natural("fee", maxMutez)
	at = r.pos
	counter := r.natural("counter", maxCounter)
	if len(before) > 0 && (counter == 0 || counter-1 != last) {
		r.fail(at, "counter is not one more than the last")
	}
	r.natural("gas limit", maxGas)
	r.natural("storage limit", maxStorage)
	parse.body(r, &c)
	return c, counter
}

func (r *reader) sameSource(first PublicKeyHash) PublicKeyHash {
	at := r.pos
	source := r.pkh("source")
	if source != first {
		r.fail(at, "source is not that of the first operation of its batch")
	}
	return source
}

// refuseTag fails for a tag that begins no manager operation, and names what it begins.
func (r *reader) refuseTag(at int, tag byte) {
	if parse, ok := singleBodies[tag]; ok {
		r.fail(at, "%s cannot be in a batch (tag 0x%02x)", parse.kind, tag)
	}
	if reason, ok := refusedTags[tag]; ok {
		r.fail(at, "%s (tag 0x%02x)", reason, tag)
	}
	r.fail(at, "tag 0x%02x is unknown", tag)
}
