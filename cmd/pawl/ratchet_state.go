package main

import (
	"context"
	"errors"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/server"
)

// ratchetState is the content of ratchets.
type ratchetState struct {
	ratchet.Snapshot        // without registrations when a daemon was asked, which tells marks only
	daemon           string // address of the admin listener that was asked, or ""
}

// readRatchets reads the files, changing nothing, or asks the daemon that holds one of them.
func readRatchets(ctx context.Context, paths []string, admin string) (ratchetState, error) {
	var state ratchetState
	for _, path := range paths {
		held, err := sqlite.Read(ctx, path)
		if errors.Is(err, ratchet.ErrLocked) {
			return askHolder(ctx, admin, err)
		}
		if err != nil {
			return ratchetState{}, err
		}
		state.Marks = append(state.Marks, held.Marks...)
		state.Registrations = append(state.Registrations, held.Registrations...)
	}
	return state, nil
}

// askHolder asks the daemon for its marks, after a file was found locked.
func askHolder(ctx context.Context, admin string, locked error) (ratchetState, error) {
	marks, err := server.AdminClient{Address: admin}.Marks(ctx)
	if err != nil {
		return ratchetState{}, withHint(locked,
			"its daemon was asked at %s and did not tell the marks (%v): name its admin listener with --admin", admin, err)
	}
	return ratchetState{Snapshot: ratchet.Snapshot{Marks: marks}, daemon: admin}, nil
}
