// Package transfer is how what a ratchet holds leaves a host and comes to another one: the export of
// pawl, and the state files of other signers. It reads and writes files and no ratchet.
package transfer
