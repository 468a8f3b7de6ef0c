package server

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
)

const (
	// adminTimeout bounds a question of AdminClient. A daemon answers at once.
	adminTimeout = 5 * time.Second
	// maxAdminAnswer bounds an answer, in bytes. Thirty thousand marks have 10 MB.
	maxAdminAnswer = 64 << 20
)

// AdminClient asks the admin listener of a running daemon. A question takes at most 5 s, and an
// answer over 64 MiB is refused.
type AdminClient struct {
	Address string // host:port
}

// Ratchet returns the marks and registrations of the daemon. The signatures of the marks are as in
// Mark.Stored.
func (a AdminClient) Ratchet(ctx context.Context) (all ratchet.Snapshot, err error) {
	var told Ratchet
	if err := a.get(ctx, ratchetPath, &told, http.StatusOK); err != nil {
		return all, err
	}
	if told.Marks == nil || told.Registrations == nil {
		return all, errors.New("answer is not the expected JSON: it lacks marks or registrations")
	}
	if all, err = told.Snapshot(); err != nil {
		return all, fmt.Errorf("in the answer: %v", err)
	}
	return all, nil
}

// Readiness returns which keys and HSM servers of the daemon are ready.
func (a AdminClient) Readiness(ctx context.Context) (state Readiness, err error) {
	err = a.get(ctx, readyPath, &state, http.StatusOK, http.StatusServiceUnavailable)
	return state, err
}

// get decodes the JSON that path answers with one of the statuses.
func (a AdminClient) get(ctx context.Context, path string, into any, statuses ...int) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Address+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()                      //nolint:errcheck // only read
	if res.StatusCode == http.StatusForbidden { // asked by a name
		return errHost
	}
	if !slices.Contains(statuses, res.StatusCode) {
		return fmt.Errorf("answered with status %d", res.StatusCode)
	}
	return readAnswer(res, into)
}

// errAdminAnswer is for an answer that is over the bound, as announced or as read.
var errAdminAnswer = fmt.Errorf("answer over %d bytes", maxAdminAnswer)

// readAnswer decodes an answer of at most maxAdminAnswer bytes.
func readAnswer(res *http.Response, into any) error {
	if res.ContentLength > maxAdminAnswer {
		return errAdminAnswer
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAdminAnswer+1))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err) // context.DeadlineExceeded, for one
	}
	if len(body) > maxAdminAnswer {
		return errAdminAnswer
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("answer is not the expected JSON: %v", err)
	}
	return nil
}
