package main

import (
	"context"
	"errors"

	"pawl/ratchet"
	"pawl/server"
)

// ratchetState is what ratchets hold.
type ratchetState struct {
	marks         []ratchet.Entry
	registrations []ratchet.Registration // nil when a daemon was asked, which tells marks only
	daemon        string                 // address of the admin listener that was asked, or ""
}

// readRatchets reads the files, or asks the daemon that holds one of them.
func readRatchets(ctx context.Context, paths []string, admin string) (ratchetState, error) {
	var state ratchetState
	for _, path := range paths {
		err := state.readFile(ctx, path)
		if errors.Is(err, ratchet.ErrLocked) {
			return askHolder(ctx, admin, err)
		}
		if err != nil {
			return ratchetState{}, err
		}
	}
	return state, nil
}

// askHolder asks the daemon for its marks, after a file was found locked.
func askHolder(ctx context.Context, admin string, locked error) (ratchetState, error) {
	marks, err := server.AdminClient{Address: admin}.Marks(ctx)
	if err != nil {
		return ratchetState{}, withHint(locked, "its daemon was asked at %s and did not tell the marks (%v): name its admin listener with --admin", admin, err)
	}
	return ratchetState{marks: marks, daemon: admin}, nil
}

// readFile adds what the file at path holds.
func (s *ratchetState) readFile(ctx context.Context, path string) (err error) {
	db, err := ratchet.Open(ctx, path, ratchet.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return s.read(ctx, db)
}

// read adds what an open ratchet holds.
func (s *ratchetState) read(ctx context.Context, db *ratchet.DB) error {
	marks, err := db.Marks(ctx)
	if err != nil {
		return err
	}
	registrations, err := db.Registrations(ctx)
	s.marks = append(s.marks, marks...)
	s.registrations = append(s.registrations, registrations...)
	return err
}
