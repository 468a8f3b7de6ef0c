package fault_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/server"
)

// daemon is a running `pawl serve`.
type daemon struct {
	url     string
	admin   string // the URL of the other listener
	started time.Time
	cmd     *exec.Cmd
	client  *http.Client
	exited  chan struct{}
	log     *tail

	once     sync.Once
	killedAt time.Time
}

// start runs the daemon and waits until it listens.
func (r *rig) start(t *testing.T) *daemon {
	t.Helper()
	return r.serve(t, r.config())
}

// serve is start with another keys.json and environment.
func (r *rig) serve(t *testing.T, config string, environment ...string) *daemon {
	t.Helper()
	d := &daemon{
		started: time.Now(),
		cmd:     exec.Command(r.pawl, append(r.before, "serve", "--config", config, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")...),
		client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
		exited:  make(chan struct{}),
		log:     &tail{listening: make(chan logLine, 1)},
	}
	d.cmd.Env = append(os.Environ(), pointEnv+"="+r.orders(), clockEnv+"="+r.clock()) // read by patched programs only
	d.cmd.Env = append(d.cmd.Env, environment...)
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.exited)
		d.log.read(stderr)
		_ = d.cmd.Wait() // it is killed
	}()
	t.Cleanup(d.kill)
	select {
	case line := <-d.log.listening:
		d.url, d.admin = "http://"+line.Address, "http://"+line.Admin
	case <-d.exited:
		t.Fatalf("pawl serve ended before it listened:\n%s", d.log)
	case <-time.After(time.Minute):
		t.Fatalf("pawl serve does not listen:\n%s", d.log)
	}
	return d
}

// marks asks the other listener for the high watermarks.
func (d *daemon) marks() (map[ratchet.Mark]position, error) {
	res, err := d.client.Get(d.admin + "/ratchet")
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var told server.Ratchet
	if err := json.NewDecoder(res.Body).Decode(&told); err != nil {
		return nil, err
	}
	marks := make(map[ratchet.Mark]position)
	for _, m := range told.Marks {
		e, err := m.Stored()
		if err != nil {
			return nil, err
		}
		marks[ratchet.Mark{Key: e.Key, ChainID: e.ChainID, Kind: e.Kind}] = position{e.Level, e.Round}
	}
	return marks, nil
}

// strike sends SIGKILL, the first time it is called.
func (d *daemon) strike() {
	d.once.Do(func() {
		d.killedAt = time.Now()
		_ = d.cmd.Process.Signal(syscall.SIGKILL) // has ended already: the test sees it
	})
}

// kill strikes and waits until nothing is left of the daemon.
func (d *daemon) kill() {
	d.strike()
	<-d.exited
	d.client.CloseIdleConnections()
}

// tail keeps the last lines of a log and finds in it what the tests wait for.
type tail struct {
	listening chan logLine
	mu        sync.Mutex
	reached   bool // the point of an order
	lines     []string
}

type logLine struct{ Msg, Address, Admin string }

func (l *tail) read(from io.Reader) {
	for scanner := bufio.NewScanner(from); scanner.Scan(); {
		var line logLine
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Msg == "listening" {
			l.listening <- line
		}
		l.mu.Lock()
		l.reached = l.reached || line.Msg == pointReached
		if l.lines = append(l.lines, scanner.Text()); len(l.lines) > 40 {
			l.lines = l.lines[1:]
		}
		l.mu.Unlock()
	}
}

// pointReached reports whether an order was carried out.
func (l *tail) pointReached() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reached
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(l.lines)
}

// answer is what became of an ask. Without an answer, err says why.
type answer struct {
	ask
	status    int
	signature string // of status 200
	text      string // of any other
	err       error
}

// notStored reports whether the disk had no room for the mark.
func (a answer) notStored() bool {
	return strings.Contains(a.text, "did not store the mark: nothing was signed")
}

// hsmFailed reports whether both tries at the card failed. On a machine that is busy they time out.
func (a answer) hsmFailed() bool { return strings.Contains(a.text, "HSM failed: nothing was signed") }

func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%v: %v", a.ask, a.err)
	}
	return fmt.Sprintf("%v: %d %s%s", a.ask, a.status, a.signature, a.text)
}

// post asks the daemon and tells the oracle of every signature.
func (r *rig) post(d *daemon, a ask) answer {
	total.add(func(t *tally) { t.requests++ })
	r.oracle.asks(a.payload())
	body := `"` + hex.EncodeToString(a.payload()) + `"`
	req, err := http.NewRequest(http.MethodPost, d.url+"/keys/"+a.mark.Key.String(), bytes.NewBufferString(body))
	if err != nil {
		return answer{ask: a, err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	// A connection that has been idle is closed by the daemon, perhaps at this moment. With this header
	// net/http asks again on another one: identical bytes get the same answer.
	req.Header["Idempotency-Key"] = nil // not sent
	res, err := d.client.Do(req)
	if err != nil {
		return answer{ask: a, err: err}
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{ask: a, err: err}
	}
	if res.StatusCode != http.StatusOK {
		return answer{ask: a, status: res.StatusCode, text: string(text)}
	}
	var signed struct{ Signature string }
	if err := json.Unmarshal(text, &signed); err != nil {
		return answer{ask: a, err: fmt.Errorf("%q: %v", text, err)}
	}
	r.oracle.released(a.mark, a.payload(), signed.Signature)
	return answer{ask: a, status: res.StatusCode, signature: signed.Signature}
}

// postAll has a client for each ask, all at the same moment.
func (r *rig) postAll(d *daemon, asks []ask, each func(answer)) []answer {
	answers := make([]answer, len(asks))
	var clients sync.WaitGroup
	begin := make(chan struct{})
	for i, a := range asks {
		clients.Go(func() {
			<-begin
			answers[i] = r.post(d, a)
			if each != nil {
				each(answers[i])
			}
		})
	}
	close(begin)
	clients.Wait()
	return answers
}
