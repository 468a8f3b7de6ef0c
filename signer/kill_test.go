package signer_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// kills is how often TestKillOneOfTwoServers kills one.
var kills = flag.Int("kills", 4, "kills of a server in TestKillOneOfTwoServers")

// killEnv has a process of this test be a card: folder and address.
const killEnv = "PAWL_TEST_KILL"

// process is a software card in a process of its own.
type process struct {
	card *card
	cmd  *exec.Cmd
}

// run starts the process, at the address that the card had before if it had one.
func (p *process) run(t *testing.T) {
	t.Helper()
	p.cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillOneOfTwoServers$")
	p.cmd.Env = append(os.Environ(), killEnv+"="+string(p.card.Dir)+"|"+p.card.Address)
	p.cmd.Stderr = os.Stderr
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("the card's process: %v", err)
	}
	p.card.Address = strings.TrimSpace(line)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// killChild serves a card until the process is killed.
func killChild(t *testing.T, dir softcard.Dir, address string) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := softcard.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(ln.Addr())
	if err := c.Serve(context.Background(), ln, dir, false); err != nil {
		t.Fatal(err)
	}
}

// TestKillOneOfTwoServers: a server is killed under load at random moments, one that is
// in use and with the other one in use, and started again a little later. No request fails.
// The worst latency is printed. It kills -kills times.
func TestKillOneOfTwoServers(t *testing.T) {
	if child := os.Getenv(killEnv); child != "" {
		dir, address, _ := strings.Cut(child, "|")
		killChild(t, softcard.Dir(dir), address)
		return
	}
	t.Parallel()
	maker := newCard(t)
	var cards [2]*process
	var clients []*grep11.Client
	for i := range cards {
		cards[i] = &process{card: &card{Server: &cardtest.Server{Dir: maker.Dir, Address: "127.0.0.1:0"}}}
		cards[i].run(t)
		cfg := cards[i].card.Config()
		cfg.MaxInFlight = 0 // as by default
		client, err := grep11.Dial(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
	}
	p := newPool(t, maker, 4, tezos.P256, clients...)
	p.watched(t)
	p.await(t, true, true)

	load := p.load(t)
	time.Sleep(300 * time.Millisecond)
	quiet := load.cut()
	began := time.Now()
	for n := 0; n < *kills && !t.Failed(); n++ {
		one := rand.IntN(len(cards))
		time.Sleep(rand.N(200 * time.Millisecond))
		cards[one].kill()
		time.Sleep(rand.N(300 * time.Millisecond))
		cards[one].run(t)
		p.await(t, true, true)
	}
	took := load.cut()
	load.end()
	states := p.Servers()
	t.Logf("%d kills in %v: %d requests, %d failed; latency p50 %v, p99 %v, worst %v (without kills: %d requests, p50 %v, worst %v)",
		*kills, time.Since(began).Round(time.Millisecond), len(took), load.failed.Load(),
		quantile(took, .5), quantile(took, .99), quantile(took, 1), len(quiet), quantile(quiet, .5), quantile(quiet, 1))
	t.Logf("tries that failed and were made again at the other server: %d", states[0].Failed+states[1].Failed)
	if worst := quantile(took, 1); worst > 4*time.Second {
		t.Errorf("worst latency %v: a flight has five seconds", worst)
	}
}

// load asks without pause for blocks and votes of each key.
type load struct {
	mu     sync.Mutex
	took   []time.Duration
	failed atomic.Int64
	end    func()
}

func (p *pool) load(t *testing.T) *load {
	t.Helper()
	l := &load{}
	var workers sync.WaitGroup
	var over atomic.Bool
	l.end = sync.OnceFunc(func() { over.Store(true); workers.Wait() })
	t.Cleanup(l.end)
	for i := range p.keys {
		for _, payload := range []func(level uint32) []byte{
			func(level uint32) []byte { return block(level, 0, 0) },
			func(level uint32) []byte { return vote(tezos.Attestation, level, 0, 0) },
		} {
			workers.Go(func() {
				for level := uint32(1); !over.Load(); level++ {
					took, err := p.sign(t, i, payload(level))
					if err != nil {
						l.failed.Add(1)
						t.Errorf("key %d, level %d: %v", i, level, err)
						return
					}
					l.mu.Lock()
					l.took = append(l.took, took)
					l.mu.Unlock()
				}
			})
		}
	}
	return l
}

// cut returns the latencies since the last cut, in order of size.
func (l *load) cut() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := l.took
	l.took = nil
	slices.Sort(took)
	return took
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))].Round(10 * time.Microsecond)
}
