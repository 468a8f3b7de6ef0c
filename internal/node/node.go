// Package node asks a Tezos node over its RPC how far its chain is. It only reads, and sends nothing
// but the question. pawl signs without a node.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"pawl/tezos"
)

const (
	// headPath is the header of the newest block, in the RPC of Octez
	// (https://octez.tezos.com/docs/shell/rpc.html).
	headPath = "chains/main/blocks/head/header"
	// timeout bounds a question, whatever the caller allows. A node answers at once.
	timeout = 2 * time.Second
	// maxAnswer and maxHTTPHeader bound an answer, in bytes. A header has less than one kilobyte.
	maxAnswer     = 1 << 20
	maxHTTPHeader = 64 << 10
)

// Head is the newest block that a node knows.
type Head struct {
	ChainID tezos.ChainID
	Level   int32     // at least 1
	Time    time.Time // of the block, in UTC
}

// Client asks one node. It may be used by several goroutines at once.
type Client struct {
	url     string // of the header; it may hold a token
	name    string
	timeout time.Duration
	client  *http.Client
}

// New returns a client of the node at an http or https URL, as CheckURL allows it. It connects to nobody.
func New(address string) (*Client, error) {
	u, err := parseURL(address)
	if err != nil {
		return nil, fmt.Errorf("the URL of the node %v", err)
	}
	return &Client{url: u.JoinPath(headPath).String(), name: nameOf(u), timeout: timeout, client: &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil,  // the environment names none for a node
			DisableKeepAlives:      true, // a connection that hangs is not met again
			MaxResponseHeaderBytes: maxHTTPHeader,
		},
		// A node answers by itself, and a token in the path goes nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Name is the host and the port of the node.
func (c *Client) Name() string { return c.name }

// Head asks for the newest block, once and on a connection of its own. It takes two seconds at most. Its
// errors are *Error.
func (c *Client) Head(ctx context.Context) (Head, error) {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.get(bounded)
	if err != nil {
		return Head{}, c.failure(ctx, err)
	}
	head, err := parseHead(answer)
	if err != nil {
		return Head{}, c.failure(ctx, err)
	}
	return head, nil
}

// get returns what the node answers with status 200.
func (c *Client) get(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if response.StatusCode != http.StatusOK {
		return nil, statusError(response.StatusCode)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if len(answer) > maxAnswer {
		return nil, noHeader("answers with more than %d bytes", maxAnswer)
	}
	return answer, err
}

// parseHead reads the header of a block. Whatever the bytes are, it returns a whole head or an error.
func parseHead(answer []byte) (Head, error) {
	var header struct {
		ChainID   string `json:"chain_id"`
		Level     int64  `json:"level"`
		Timestamp string `json:"timestamp"`
	}
	if err := json.Unmarshal(answer, &header); err != nil {
		return Head{}, notJSON(err)
	}
	chain, err := tezos.ParseChainID(header.ChainID)
	if err != nil {
		return Head{}, noHeader("answers with chain_id %s, which is none", quoted(header.ChainID))
	}
	if header.Level < 1 || header.Level > math.MaxInt32 {
		return Head{}, noHeader("answers with level %d, want 1 to %d", header.Level, math.MaxInt32)
	}
	at, err := time.Parse(time.RFC3339, header.Timestamp)
	if err != nil {
		return Head{}, noHeader("answers with timestamp %s, which is none", quoted(header.Timestamp))
	}
	return Head{ChainID: chain, Level: int32(header.Level), Time: at.UTC()}, nil
}

// notJSON says what in an answer is not as it should be. The decoder's own words may quote all of a number.
func notJSON(err error) error {
	field, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return noHeader("answers with what is no JSON")
	case field.Field == "":
		return noHeader("answers with JSON that is no object")
	}
	return noHeader("answers with a %s that is none", field.Field)
}
