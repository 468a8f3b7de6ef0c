package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"pawl/signer/grep11"
	"pawl/signer/hsm"
)

// dialAll begins to connect to each server. The caller closes them with closeAll.
func dialAll(servers []grep11.Config) ([]*grep11.Client, error) {
	clients := make([]*grep11.Client, 0, len(servers))
	for _, server := range servers {
		client, err := grep11.Dial(server)
		if err != nil {
			closeAll(clients)
			return nil, err
		}
		clients = append(clients, client)
	}
	return clients, nil
}

// closeAll closes the connections, calls in flight included.
func closeAll(clients []*grep11.Client) {
	for _, client := range clients {
		_ = client.Close()
	}
}

// dialFirst returns the server that answers first. All are asked at the same time, so any
// number of silent ones costs one timeout. A single server is not waited for: the first call
// tells more.
func dialFirst(ctx context.Context, servers []grep11.Config) (*grep11.Client, error) {
	clients, err := dialAll(servers)
	if err != nil {
		return nil, err
	}
	if len(clients) == 1 {
		return clients[0], nil
	}
	type answer struct {
		from int
		err  error
	}
	answers := make(chan answer, len(clients))
	for i, client := range clients {
		go func() { answers <- answer{i, client.Ping(ctx)} }()
	}
	silent := make([]string, len(clients))
	for range clients {
		a := <-answers
		if a.err == nil {
			closeAll(append(clients[:a.from:a.from], clients[a.from+1:]...))
			return clients[a.from], nil
		}
		silent[a.from] = fmt.Sprintf("%s: %v", servers[a.from].Address, a.err)
	}
	closeAll(clients)
	return nil, fmt.Errorf("no GREP11 server answers: %s", strings.Join(silent, "; "))
}

// atEach asks the servers at the same time, and gives the answers in their order.
func atEach[Answer any](clients []*grep11.Client, ask func(*grep11.Client) Answer) []Answer {
	answers := make([]Answer, len(clients))
	var asking sync.WaitGroup
	for i, client := range clients {
		asking.Go(func() { answers[i] = ask(client) })
	}
	asking.Wait()
	return answers
}

// inOneLine joins the errors that are not nil into one, each with its remedy.
func inOneLine(errs []error) error {
	var lines []string
	for _, err := range errs {
		if err != nil {
			lines = append(lines, hintInLine(err).Error())
		}
	}
	if lines == nil {
		return nil
	}
	return errors.New(strings.Join(lines, "; "))
}

// twice repeats a call if the connection failed or the card was in trouble, as the daemon does
// with a signature.
func twice(ctx context.Context, call func() error) error {
	err := call()
	if !grep11.Transient(err) {
		return err
	}
	select {
	case <-time.After(hsm.RetryPause):
		return call()
	case <-ctx.Done():
		return err
	}
}
