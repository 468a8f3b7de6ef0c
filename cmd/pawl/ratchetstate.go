package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/server"
)

// ratchetState is what ratchets hold.
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
	marks, err := askDaemon(ctx, admin)
	if err != nil {
		return ratchetState{}, withHint(locked, "its daemon was asked at %s and did not tell the marks (%v): name its admin listener with --admin", admin, err)
	}
	return ratchetState{Snapshot: ratchet.Snapshot{Marks: marks}, daemon: admin}, nil
}

// A daemon answers at once; a list of ten thousand marks has 3 MB.
const (
	askTimeout    = 5 * time.Second
	maxAnswerSize = 64 << 20
)

// askDaemon asks the admin listener of a daemon for its marks.
func askDaemon(ctx context.Context, admin string) ([]ratchet.StoredMark, error) {
	var list []server.Mark
	if err := askAdmin(ctx, admin, "/ratchet", &list, http.StatusOK); err != nil {
		return nil, err
	}
	return parseMarks(list)
}

// askAdmin reads the JSON that the admin listener of a daemon answers with one of the
// statuses.
func askAdmin(ctx context.Context, admin, path string, into any, statuses ...int) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	if !slices.Contains(statuses, res.StatusCode) {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswerSize)).Decode(into); err != nil {
		return fmt.Errorf("its answer: %w", err)
	}
	return nil
}

func parseMarks(list []server.Mark) ([]ratchet.StoredMark, error) {
	entries := make([]ratchet.StoredMark, len(list))
	for i, m := range list {
		entry, err := m.Stored()
		if err != nil {
			return nil, fmt.Errorf("its mark %d: %w", i+1, err)
		}
		entries[i] = entry
	}
	return entries, nil
}
