// Package hostlock lets one daemon of a host serve a key, whichever ratchet it has, and says who holds a lock.
//
// It is the second of two locks. The first one is on the ratchet's file, and two daemons with a ratchet
// each pass it.
package hostlock
