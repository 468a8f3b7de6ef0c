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
	ratchet.Snapshot
	daemon string   // address of the admin listener that was asked, or ""
	found  []string // why a start would fence keys
}

// readRatchets reads the files, changing nothing, or asks the daemon that holds one of them.
func readRatchets(ctx context.Context, paths []string, configPath, admin string) (ratchetState, error) {
	var state ratchetState
	for _, path := range paths {
		held, err := sqlite.Read(ctx, path)
		if errors.Is(err, ratchet.ErrLocked) {
			return askHolder(ctx, admin, err)
		}
		if err != nil {
			return ratchetState{}, withNewRatchet(err, configPath, path)
		}
		if held.Finding.Verdict != sqlite.InPlace {
			state.found = append(state.found, held.Finding.Text)
		}
		state.Marks = append(state.Marks, held.Marks...)
		state.Registrations = append(state.Registrations, held.Registrations...)
	}
	return state, nil
}

// askHolder asks the daemon what it holds, after a file was found locked.
func askHolder(ctx context.Context, admin string, locked error) (ratchetState, error) {
	all, err := server.AdminClient{Address: admin}.Ratchet(ctx)
	if err != nil {
		return ratchetState{}, withHint(locked,
			"its daemon was asked at %s and did not tell (%v): name its admin listener with --admin", admin, err)
	}
	return ratchetState{Snapshot: all, daemon: admin}, nil
}
