package tezos

// This file lists the kinds of operations, and the tags that are never signed.

import (
	"fmt"
	"slices"
)

// OperationKind is Octez's name for a kind of operation contents. Four transactions of an
// account to itself are kinds of their own, named after their entrypoint: "stake",
// "unstake", "finalize_unstake" and "set_delegate_parameters".
type OperationKind string

// The kinds of operations that a key may be asked to sign.
const (
	OpReveal                 OperationKind = "reveal"
	OpTransaction            OperationKind = "transaction"
	OpStake                  OperationKind = "stake"
	OpUnstake                OperationKind = "unstake"
	OpFinalizeUnstake        OperationKind = "finalize_unstake"
	OpSetDelegateParameters  OperationKind = "set_delegate_parameters"
	OpOrigination            OperationKind = "origination"
	OpDelegation             OperationKind = "delegation"
	OpRegisterGlobalConstant OperationKind = "register_global_constant"
	OpSetDepositsLimit       OperationKind = "set_deposits_limit"
	OpIncreasePaidStorage    OperationKind = "increase_paid_storage"
	OpUpdateConsensusKey     OperationKind = "update_consensus_key"
	OpUpdateCompanionKey     OperationKind = "update_companion_key"
	OpTransferTicket         OperationKind = "transfer_ticket"
	OpRollupOriginate        OperationKind = "smart_rollup_originate"
	OpRollupAddMessages      OperationKind = "smart_rollup_add_messages"
	OpRollupCement           OperationKind = "smart_rollup_cement"
	OpRollupPublish          OperationKind = "smart_rollup_publish"
	OpRollupRefute           OperationKind = "smart_rollup_refute"
	OpRollupTimeout          OperationKind = "smart_rollup_timeout"
	OpRollupExecute          OperationKind = "smart_rollup_execute_outbox_message"
	OpRollupRecoverBond      OperationKind = "smart_rollup_recover_bond"
	OpDALPublishCommitment   OperationKind = "dal_publish_commitment"
	OpProposals              OperationKind = "proposals"
	OpBallot                 OperationKind = "ballot"
	OpDrainDelegate          OperationKind = "drain_delegate"
	OpFailingNoop            OperationKind = "failing_noop"
)

// OperationKinds returns every kind of operation that a key may be asked to sign.
func OperationKinds() []OperationKind {
	return []OperationKind{
		OpReveal, OpTransaction, OpStake, OpUnstake, OpFinalizeUnstake, OpSetDelegateParameters,
		OpOrigination, OpDelegation, OpRegisterGlobalConstant, OpSetDepositsLimit, OpIncreasePaidStorage,
		OpUpdateConsensusKey, OpUpdateCompanionKey, OpTransferTicket, OpRollupOriginate,
		OpRollupAddMessages, OpRollupCement, OpRollupPublish, OpRollupRefute, OpRollupTimeout,
		OpRollupExecute, OpRollupRecoverBond, OpDALPublishCommitment, OpProposals, OpBallot,
		OpDrainDelegate, OpFailingNoop,
	}
}

// ParseOperationKind reads the name of a kind in [OperationKinds].
func ParseOperationKind(s string) (OperationKind, error) {
	if kind := OperationKind(s); slices.Contains(OperationKinds(), kind) {
		return kind, nil
	}
	return "", fmt.Errorf("unknown operation kind %.40q: want a name that Octez uses, such as delegation", s)
}

// refusedTags holds the contents that Octez knows but that are not signed under magic byte
// 0x03, with the reason (operation_repr.ml, contents_cases).
var refusedTags = map[byte]string{
	0x01: "seed_nonce_revelation is never signed",
	0x02: "double_consensus_operation_evidence is never signed",
	0x03: "double_baking_evidence is never signed",
	0x04: "activate_account is never signed",
	0x08: "vdf_revelation is never signed",
	0x14: "preattestation is signed under magic byte 0x12 only",
	0x15: "attestation is signed under magic byte 0x13 only",
	0x17: "attestation_with_dal is signed under magic byte 0x13 only",
	0x18: "dal_entrapment_evidence is never signed",
	0x1e: "preattestations_aggregate is never signed",
	0x1f: "attestations_aggregate is never signed",
	0x28: "preattestation of a tz4 key is signed under magic byte 0x12 only",
	0x29: "attestation of a tz4 key is signed under magic byte 0x13 only",
	0xfa: "zk_rollup_origination is not supported",
	0xfb: "zk_rollup_publish is not supported",
	0xfc: "zk_rollup_update is not supported",
	0xff: "signature_prefix is never signed",
}
