package main

import (
	"context"
	"errors"
	"fmt"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
)

// seeToTheServer is what to do about a server that does not answer, or whose card is in
// trouble: what holds for the others need not hold for it.
const seeToTheServer = "see that the server and its card answer; take one that is gone for good out of url"

// rewrapped is the outcome for one key at one server.
type rewrapped struct {
	at   *grep11.Client
	next ep11.Blob
	err  error
}

// rewrapper has all servers rewrap one key, and gives the first that does, with what it
// gave. Each HSM domain has a new master key register of its own: it is an error when
// another server is about to take another key, or none, or does not answer.
func rewrapper(
	ctx context.Context, s *streams, clients []*grep11.Client, key rotatingKey,
) (*grep11.Client, ep11.Blob, error) {
	var first *rewrapped
	answers := atEach(clients, func(client *grep11.Client) rewrapped {
		next, err := key.rewrap(ctx, client)
		return rewrapped{client, next, err}
	})
	errs := make([]error, len(answers))
	for i := range answers {
		if errs[i] = answers[i].err; errs[i] == nil && first == nil {
			first = &answers[i]
		}
	}
	if first == nil {
		return nil, nil, inOneLine(errs)
	}
	for i := range answers {
		errs[i] = answers[i].agrees(ctx, s, key, *first)
	}
	return first.at, first.next, inOneLine(errs)
}

// agrees returns nil if the server is about to take the new master key of the first, or has
// it already, or cannot tell.
func (r rewrapped) agrees(ctx context.Context, s *streams, key rotatingKey, first rewrapped) error {
	refusal, refused := errors.AsType[*grep11.Error](r.err)
	otherKey := refused && (grep11.RefusesBlob(r.err) || refusal.Code == ep11.CodeIBMWKNotInitialized)
	switch {
	case r.err == nil && wrappingKey(r.next) == wrappingKey(first.next):
		return nil
	case r.err == nil:
		return withHint(fmt.Errorf("the new master key at %s is %s, but at %s %s",
			first.at.Address(), wrappingKey(first.next), r.at.Address(), wrappingKey(r.next)), "load and commit the same "+
			"one at each")
	case cannotRewrap(r.err):
		s.notef("note: %s has no RewrapKeyBlob: see yourself that it has the same new master key", r.at.Address())
		return nil
	case otherKey && key.try(ctx, r.at, first.next) == nil:
		return nil // it has finalised
	case otherKey:
		return withHint(r.err, "load and commit the same new master key there too; take a server of another HSM out of url")
	}
	return r.err
}

// try has a server sign a random digest with one blob of the key, in two tries.
func (k *rotatingKey) try(ctx context.Context, client *grep11.Client, blob ep11.Blob) error {
	return twice(ctx, func() error {
		return tryKey(ctx, client, grep11.Generated{PublicKey: k.public, Blob: blob})
	})
}
