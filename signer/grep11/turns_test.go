package grep11_test

import (
	"context"
	"errors"
	"testing"

	"pawl/signer/hsm"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// TestTurnsOfAServer: with one call at once the server is full while that lasts. Who leaves while he waits
// takes nobody's turn along.
func TestTurnsOfAServer(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	server := cardtest.Serve(t, card, cardtest.Folder(t))
	cfg := server.Config()
	cfg.MaxInFlight = 1
	client := cardtest.Dial(t, cfg)
	if err := client.Ping(t.Context()); err != nil || client.State() != hsm.Up {
		t.Fatalf("%v, state %v, want up", err, client.State())
	}
	card.SetFaults(&softcard.Fault{Call: "GenerateKeyPair", Hang: true})
	held := make(chan error, 1)
	go func() {
		_, err := client.Generate(t.Context(), tezos.P256, false)
		held <- err
	}()
	eventually(t, "a call that hangs", func() error {
		if client.State() != hsm.Full {
			return errors.New("the server is not full")
		}
		return nil
	})
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := client.Generate(left, tezos.P256, false); hsm.FaultOf(err) == hsm.Unfit || err == nil {
		t.Errorf("one who has left: %v, want an error of his own", err)
	}
	if client.State() != hsm.Full {
		t.Error("one who has left has taken the turn of another")
	}
	card.SetFaults()
	if err := <-held; err == nil {
		t.Error("a call that hangs has ended well")
	}
	if _, err := client.Generate(t.Context(), tezos.P256, false); err != nil || client.State() != hsm.Up {
		t.Errorf("after it: %v, state %v, want up", err, client.State())
	}
	server.Stop()
	eventually(t, "the end of the connection", func() error {
		if client.State() != hsm.Down {
			return errors.New("the server is not down")
		}
		return nil
	})
}
