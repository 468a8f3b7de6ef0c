package fault_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// hsmWire passes on what pawl and the card say to each other, and can hold back what
// the card says: then its replies come late, to calls that are over.
type hsmWire struct {
	address string
	to      string
	gate    sync.RWMutex // a reply passes under RLock
}

func newHSMWire(t *testing.T, to string) *hsmWire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &hsmWire{address: ln.Addr().String(), to: to}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { w.pass(client) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		passing.Wait() // the daemon is gone, and with it the connections
	})
	return w
}

// pass serves one connection until either side ends it.
func (w *hsmWire) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	card, err := net.Dial("tcp", w.to)
	if err != nil {
		return // the card is down, and pawl sees that by the end of its connection
	}
	defer func() { _ = card.Close() }()
	var asking sync.WaitGroup
	asking.Go(func() {
		_, _ = io.Copy(card, client)
		_ = card.Close()
	})
	w.reply(client, card)
	_ = client.Close()
	asking.Wait()
}

func (w *hsmWire) reply(client, card net.Conn) {
	for buffer := make([]byte, 1<<16); ; {
		n, err := card.Read(buffer)
		w.gate.RLock()
		if n > 0 {
			_, err = client.Write(buffer[:n])
		}
		w.gate.RUnlock()
		if err != nil {
			return
		}
	}
}

// hold keeps all replies until letGo.
func (w *hsmWire) hold() (letGo func()) {
	w.gate.Lock()
	return sync.OnceFunc(w.gate.Unlock)
}
