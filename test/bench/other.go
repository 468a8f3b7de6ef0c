package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"pawl/tezos"
)

// measureOther puts the load on a signer that is not ours. Cells for which it has too
// few keys are left out.
func (c *runCmd) measureOther(ctx context.Context, b *bench, r *report) error {
	s, err := c.other()
	if err != nil {
		return err
	}
	if err := r.describe("/proc/self/exe", b.dir); err != nil {
		return err
	}
	r.Program, r.Size = c.URL, 0
	var cells []cell
	for _, cell := range otherCells() {
		if _, err := share(s.lanes, cell.workers); err == nil && (c.Only == nil || c.Only.MatchString(cell.name)) {
			cells = append(cells, cell)
		}
	}
	return c.measure(ctx, b, r, cells, map[string]*stand{"": s})
}

// other asks the signer for the public keys.
func (c *runCmd) other() (*stand, error) {
	d, err := dialerOf(c.URL)
	if err != nil {
		return nil, err
	}
	s := &stand{dialer: d, pid: c.PID}
	connection := &conn{dialer: d, fresh: true}
	for _, hash := range c.Keys {
		body, err := connection.exchange(http.MethodGet, "/keys/"+hash, nil, http.StatusOK)
		if err != nil {
			return nil, err
		}
		var answer struct {
			PublicKey string `json:"public_key"`
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return nil, fmt.Errorf("key %s: %w", hash, err)
		}
		key, err := tezos.ParsePublicKey(answer.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", hash, err)
		}
		s.lanes = append(s.lanes, lanesOf(key, c.Level)...)
	}
	return s, nil
}

func dialerOf(text string) (dialer, error) {
	u, err := url.Parse(text)
	if err != nil {
		return dialer{}, err
	}
	d := dialer{address: u.Host}
	switch {
	case u.Port() == "" || u.Path != "" && u.Path != "/":
		return dialer{}, fmt.Errorf("--url %s: want http://host:port or https://host:port", text)
	case u.Scheme == "https":
		d.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	case u.Scheme != "http":
		return dialer{}, fmt.Errorf("--url %s: want http or https", text)
	}
	return d, nil
}

// otherCells are those that ask nothing of the signer but the protocol.
func otherCells() []cell {
	machine := []string{ceilingSync, ceilingEcho}
	return []cell{
		{name: "1 connection", load: signing, workers: 1, ceilings: machine},
		{name: "2 fresh connections", load: asOctez, workers: 1, fresh: true, ceilings: machine},
		{name: "16 connections", load: signing, workers: 16},
		{name: "16 times 2 fresh", load: asOctez, workers: 16, fresh: true},
		{name: "64 connections", load: signing, workers: 64},
		{name: "GET /keys, 16 connections", load: getting, workers: 16},
		{name: "identical again, 16 connections", load: repeating, workers: 16},
		{name: "conflicting, 16 connections", load: conflicting, workers: 16},
	}
}
