package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// lane is what has one high watermark: key, chain and kind. One connection at a
// time asks for its payloads, with levels that rise.
type lane struct {
	public    tezos.PublicKey
	path      string // of the key
	chain     tezos.ChainID
	kind      tezos.Kind
	level     int32
	payload   []byte // the last one, and its signature
	signature string
}

// lanesOf returns the lanes of a key, from a level on.
func lanesOf(key tezos.PublicKey, level int32) []*lane {
	path := "/keys/" + key.Hash().String()
	var lanes []*lane
	for _, chain := range chains {
		for _, kind := range kinds {
			lanes = append(lanes, &lane{public: key, path: path, chain: chain, kind: kind, level: level})
		}
	}
	return lanes
}

// sign asks for the signature of the next level.
func (l *lane) sign(c *conn) (err error) {
	l.level++
	l.payload = payload(l.chain, l.kind, l.level, 0)
	l.signature, err = l.ask(c)
	return err
}

func (l *lane) ask(c *conn) (string, error) {
	body, err := c.exchange(http.MethodPost, l.path, tezostest.Quoted(l.payload), http.StatusOK)
	if err != nil {
		return "", err
	}
	var answer struct{ Signature string }
	err = json.Unmarshal(body, &answer)
	return answer.Signature, err
}

// signAsOctez asks first whether it has to authenticate.
func (l *lane) signAsOctez(c *conn) error {
	if _, err := c.exchange(http.MethodGet, "/authorized_keys", nil, http.StatusOK); err != nil {
		return err
	}
	return l.sign(c)
}

// repeat asks for the last signature again.
func (l *lane) repeat(c *conn) error {
	again, err := l.ask(c)
	if err == nil && again != l.signature {
		err = fmt.Errorf("a second signature of one slot: %s and %s", l.signature, again)
	}
	return err
}

// conflict asks for other bytes of the last slot, and wants to be refused.
func (l *lane) conflict(c *conn) error {
	_, err := c.exchange(http.MethodPost, l.path, tezostest.Quoted(payload(l.chain, l.kind, l.level, 1)), anyRefusal)
	return err
}

// get asks for the public key.
func (l *lane) get(c *conn) error {
	body, err := c.exchange(http.MethodGet, l.path, nil, http.StatusOK)
	if err == nil && !bytes.Contains(body, []byte(l.public.String())) {
		err = fmt.Errorf("GET %s: want %v, got %s", l.path, l.public, body)
	}
	return err
}

// verify returns nil if the last signature is that of the key.
func (l *lane) verify() error {
	if l.signature == "" {
		return nil
	}
	signature, err := tezos.ParseSignature(l.signature)
	if err == nil {
		err = l.public.Verify(tezos.NewMessage(l.payload), signature)
	}
	if err != nil {
		return fmt.Errorf("signature %q of %x by %v: %w", l.signature, l.payload, l.public, err)
	}
	return nil
}

// share gives each of n workers lanes of its own, from as few chains as will do.
func share(lanes []*lane, n int) ([][]*lane, error) {
	shares := make([][]*lane, n)
	dealt := 0
	for _, chain := range chains {
		for _, l := range lanes {
			if l.chain == chain {
				shares[dealt%n] = append(shares[dealt%n], l)
				dealt++
			}
		}
		if dealt >= n {
			return shares, nil
		}
	}
	return nil, fmt.Errorf("%d connections need as many lanes, there are %d", n, dealt)
}
