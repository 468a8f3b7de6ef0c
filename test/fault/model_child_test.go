package fault_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// childVariable makes this program the process with the ratchet, as model.Start wants
// it. Its value is a lie that the process tells, or "honest".
const childVariable = "PAWL_FAULT_RATCHET"

// TestRatchetChild is that process.
func TestRatchetChild(t *testing.T) {
	lie := os.Getenv(childVariable)
	if lie == "" {
		t.Skip("is run by the tests of the model")
	}
	c := &ratchetChild{requests: make(map[string]*childRequest), lie: lie}
	for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
		words := strings.Fields(scanner.Text())
		if err := c.obey(words[0], words[1:]); err != nil {
			fmt.Println("command", words, "failed:", err)
			os.Exit(1)
		}
	}
	os.Exit(0) // not the end of a test: nothing may be printed, and the ratchet stays open
}

type ratchetChild struct {
	out      sync.Mutex
	db       *ratchettest.DB
	requests map[string]*childRequest
	lie      string
}

// childRequest is a request, and how the HSM and the caller are told what to do.
type childRequest struct {
	hsm   chan []string
	leave context.CancelFunc
}

// say writes a line at once: a kill leaves nothing behind in a buffer.
func (c *ratchetChild) say(words ...any) {
	c.out.Lock()
	defer c.out.Unlock()
	_, _ = fmt.Fprintln(os.Stdout, words...)
}

func (c *ratchetChild) obey(command string, args []string) error {
	ctx := context.Background()
	switch command {
	case "create":
		if err := sqlite.Create(ctx, args[0]); err != nil {
			return err
		}
		c.say("created")
	case "open":
		return c.open(args[0], args[1])
	case "ask":
		return c.ask(args[0], args[1:])
	case "hsm":
		return c.hsm(args)
	case "leave":
		c.requests[args[0]].leave()
	case "register":
		n, err := numbers(args)
		if err != nil {
			return err
		}
		c.say(registered(c.db.Register(ctx, childKey(n[0]), childChain(n[1]), int32(n[2]))))
	case "new":
		n, err := numbers(args)
		if err != nil {
			return err
		}
		c.say(registered(c.db.RegisterNew(ctx, childKey(n[0]))))
	case "state":
		return c.state(ctx)
	case "close":
		c.close()
	default:
		return errors.New("unknown command")
	}
	return nil
}

func (c *ratchetChild) open(path, maxGap string) error {
	gap, err := strconv.Atoi(maxGap)
	if err != nil {
		return err
	}
	if err := c.beforeOpen(path); err != nil {
		return err
	}
	db, err := ratchettest.OpenDB(context.Background(), path, ratchettest.Options{MaxLevelGap: int32(gap)})
	switch {
	case errors.Is(err, ratchet.ErrMissing):
		c.say("failed missing")
	case errors.Is(err, ratchet.ErrLocked):
		c.say("failed locked")
	case errors.Is(err, ratchet.ErrSuspect):
		c.say("failed suspect")
	case err != nil:
		c.say("failed other", err)
	case isFenced(db):
		c.say("failed suspect")
		return db.Close()
	default:
		c.db = db
		c.say("opened")
	}
	return nil
}

// isFenced reports whether a start has found that marks may be missing. The walk goes on as after a refusal.
func isFenced(db *ratchettest.DB) bool {
	all, err := db.Store.List(context.Background())
	return err == nil && len(all.HeldBack()) > 0
}

// ask has a goroutine ask, and waits until it has boarded its flight: a second request
// finds the queue as the first one left it.
func (c *ratchetChild) ask(id string, args []string) error {
	n, err := numbers(args)
	if err != nil {
		return err
	}
	mark := ratchet.Mark{Key: childKey(n[0]), ChainID: childChain(n[1]), Kind: tezos.Kind(n[2]), Level: int32(n[3]), Round: int32(n[4])}
	message := childMessage(n[5])
	ctx, cancel := context.WithCancel(context.Background())
	r := &childRequest{hsm: make(chan []string, 1), leave: cancel}
	c.requests[id] = r
	boarded := make(chan struct{})
	tell := sync.OnceFunc(func() { close(boarded) })
	go func() {
		release, err := c.db.Sign(waiting{ctx, tell}, mark, message, func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
			c.say("called", id)
			tell()
			return r.sign(ctx, m.Digest())
		})
		c.say("answer", id, c.answer(release, err))
		tell()
	}()
	<-boarded
	c.say("asked", id)
	return nil
}

// waiting tells when Sign waits for its end: then the request has its place in a queue.
type waiting struct {
	context.Context
	tell func()
}

func (w waiting) Done() <-chan struct{} {
	w.tell()
	return w.Context.Done()
}

// hsm tells several at once, so that their commits meet.
func (c *ratchetChild) hsm(args []string) error {
	for len(args) > 1 {
		end := 2
		if args[1] == "ok" {
			end = 3
		}
		c.requests[args[0]].hsm <- args[1:end]
		args = args[end:]
	}
	return nil
}

// sign is the HSM. It looks at the flight's end only when it shall hang until then.
func (r *childRequest) sign(ctx context.Context, digest tezos.Digest) (tezos.Signature, error) {
	switch how := <-r.hsm; how[0] {
	case "ok":
		n, err := strconv.ParseUint(how[1], 10, 64)
		if err != nil {
			return tezos.Signature{}, err
		}
		raw := binary.BigEndian.AppendUint64(make([]byte, 0, 64), n)
		return tezos.NewSignature(tezos.P256, append(append(raw, digest[:]...), make([]byte, 24)...))
	case "hang":
		<-ctx.Done()
		return tezos.Signature{}, ctx.Err()
	}
	return tezos.Signature{}, errors.New("CKR_FUNCTION_FAILED")
}

func (c *ratchetChild) answer(release ratchet.Release, err error) string {
	var refused *ratchet.RefusedError
	switch {
	case errors.As(err, &refused) && refused.Reason == ratchet.OtherBytes && c.lie == lieOtherBytes:
		return "signed 0"
	case errors.As(err, &refused):
		return fmt.Sprintf("refused %s %d %d", refused.Reason, refused.Level, refused.Round)
	case errors.Is(err, ratchet.ErrQueueFull):
		return "full"
	case errors.Is(err, ratchet.ErrStopped):
		return "stopped"
	case errors.Is(err, context.Canceled):
		return "gone"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case err != nil:
		return "hsm"
	}
	word := "signed"
	if release.Stored {
		word = "stored"
	}
	return fmt.Sprintf("%s %d", word, c.lieAbout(release, binary.BigEndian.Uint64(release.Signature.Bytes())))
}

func registered(err error) string {
	var refused *ratchet.RefusedError
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("refused %s %d %d", refused.Reason, refused.Level, refused.Round)
	case err != nil:
		return "error"
	}
	return "registered"
}

// state prints what stands in the file, as the model does.
func (c *ratchetChild) state(ctx context.Context) error {
	registrations, err := c.db.Registrations(ctx)
	if err != nil {
		return err
	}
	words := []any{"state"}
	for _, r := range registrations {
		if r.AnyChain {
			words = append(words, fmt.Sprintf("%d/*", keyNumber(r.Key)))
		}
	}
	for _, r := range registrations {
		if !r.AnyChain {
			words = append(words, fmt.Sprintf("%d/%d>=%d", keyNumber(r.Key), r.ChainID[3], r.FromLevel))
		}
	}
	marks, err := c.db.Marks(ctx)
	if err != nil {
		return err
	}
	for _, m := range marks {
		words = append(words, fmt.Sprintf("%d/%d/%d=%d,%d,%d",
			keyNumber(m.Key), m.ChainID[3], m.Kind, m.Level, m.Round, messageNumber(m.Digest)))
	}
	c.say(words...)
	return nil
}

// close says when no request is let in any more: then one of no registered key gets
// another refusal.
func (c *ratchetChild) close() {
	closed := make(chan error, 1)
	go func() { closed <- c.db.Close() }()
	for {
		_, err := c.db.Sign(context.Background(), ratchet.Mark{Key: childKey(1 << 30), Kind: tezos.Block}, tezos.Message{}, nil)
		if errors.Is(err, ratchet.ErrStopped) {
			break
		}
	}
	c.say("closing")
	go func() {
		if err := <-closed; err != nil {
			c.say("not closed:", err)
			return
		}
		c.say("closed")
	}()
}

func childKey(n int) tezos.PublicKeyHash {
	key := tezos.PublicKeyHash{byte(tezos.P256)}
	binary.BigEndian.PutUint64(key[1:], uint64(n))
	return key
}

func keyNumber(key tezos.PublicKeyHash) uint64 { return binary.BigEndian.Uint64(key[1:]) }

func childChain(n int) tezos.ChainID { return tezos.ChainID{3: byte(n)} }

func childMessage(n int) tezos.Message {
	return tezos.NewMessage(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// messageNumber is the number of the message with this digest, or -1. The model counts up
// from 0 to fill a queue.
func messageNumber(digest tezos.Digest) int {
	for n := range 100 {
		if message := childMessage(n); message.Digest() == digest {
			return n
		}
	}
	return -1
}

func numbers(args []string) (n []int, err error) {
	for _, arg := range args {
		number, err := strconv.Atoi(arg)
		if err != nil {
			return nil, err
		}
		n = append(n, number)
	}
	return n, nil
}

// The lies, each of which the model must notice.
const (
	lieFreshAgain = "a fresh signature for the same bytes"
	lieOlderFile  = "older content after a kill"
	lieOtherBytes = "a signature for other bytes of a slot"
	honest        = "honest"
)

var lies = []string{lieFreshAgain, lieOlderFile, lieOtherBytes}

// lieAbout changes the number of a stored signature.
func (c *ratchetChild) lieAbout(release ratchet.Release, number uint64) uint64 {
	if c.lie == lieFreshAgain && release.Stored {
		return number + 1
	}
	return number
}

// beforeOpen writes the content of the last opening into the very files, which a
// ratchet cannot notice, or keeps it for the next.
func (c *ratchetChild) beforeOpen(path string) error {
	if c.lie != lieOlderFile {
		return nil
	}
	for _, name := range []string{path, path + "-wal"} {
		content, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		older, known := os.ReadFile(name + ".older")
		if known == nil {
			err = errors.Join(err, os.WriteFile(name, older, 0o600))
		}
		if err := errors.Join(err, os.WriteFile(name+".older", content, 0o600)); err != nil {
			return err
		}
	}
	return nil
}
