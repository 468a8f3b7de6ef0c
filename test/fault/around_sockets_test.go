package fault_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pawl/ratchet"
)

// socketTrouble is a way to hold a connection that is open: what is sent, and whether the answers
// are read.
type socketTrouble struct {
	name string
	send func(conn io.Writer, key string) error
	// unread is set if nobody reads the answers, and many requests are sent. On a slow machine the HSM may time out
	// then: readiness tells it, nothing is signed in that slot, and signing goes on all the same.
	unread bool
}

var socketTroubles = []socketTrouble{
	{"silent", func(io.Writer, string) error { return nil }, false},
	{"idle", raw("GET /authorized_keys HTTP/1.1\r\nHost: x\r\n\r\n%.0s"), false},
	{"half a head", raw("GET /keys/%s HTTP/1.1\r\nHo"), false},
	{"head by drops", slowHead, false},
	{"body by drops", slowBody, false},
	{"body that does not come", func(conn io.Writer, key string) error {
		_, err := io.WriteString(conn, head(key, "Content-Length: 1000\r\n"))
		return err
	}, false},
	{"answers not read", func(conn io.Writer, _ string) error {
		_, err := io.WriteString(conn, strings.Repeat("GET /authorized_keys HTTP/1.1\r\nHost: x\r\n\r\n", 100_000))
		return err
	}, true},
	{"a TLS hello", raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%.0s"), false},
}

// limits are those that a daemon logs when it listens.
type limits struct{ Connections, AdminConnections, OpenFiles int }

var limitsInLog = regexp.MustCompile(`"connections":(\d+),"admin_connections":(\d+),"open_files":(\d+)`)

func (d *daemon) limits(t *testing.T) (l limits) {
	t.Helper()
	d.await(t, "telling its limits", func() bool {
		found := limitsInLog.FindStringSubmatch(d.log.String())
		if found == nil {
			return false
		}
		l.Connections, _ = strconv.Atoi(found[1]) // digits
		l.AdminConnections, _ = strconv.Atoi(found[2])
		l.OpenFiles, _ = strconv.Atoi(found[3])
		return true
	})
	return l
}

// strangers hold connections of an address until they are told to go: as many at a time as it has
// and some more, and a new one for each that is closed.
type strangers struct {
	stop chan struct{}
	all  sync.WaitGroup
}

// hold returns when each stranger has had a connection. They come from an address of their own, or
// from that of the bakers: then they cannot be told from bakers, and come more slowly.
func hold(url string, many int, key string, trouble socketTrouble, pause time.Duration) *strangers {
	s := &strangers{stop: make(chan struct{})}
	var dialer net.Dialer
	if pause == 0 {
		pause = 5 * time.Millisecond
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	}
	var first sync.WaitGroup
	for range many {
		first.Add(1)
		met := sync.OnceFunc(first.Done)
		s.all.Go(func() {
			for {
				if conn, err := dialer.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
					met()
					s.holdOne(conn, key, trouble)
				}
				select {
				case <-s.stop:
					met()
					return
				case <-time.After(pause):
				}
			}
		})
	}
	first.Wait()
	return s
}

// holdOne makes trouble until the daemon closes the connection, or the strangers leave.
func (s *strangers) holdOne(conn net.Conn, key string, trouble socketTrouble) {
	var sides sync.WaitGroup
	ended := make(chan struct{})
	sides.Go(func() {
		err := trouble.send(conn, key)
		if err == nil && !trouble.unread {
			_, _ = io.Copy(io.Discard, conn) // until it is closed
		}
		close(ended)
	})
	select {
	case <-ended:
	case <-s.stop:
	}
	_ = conn.Close()
	sides.Wait()
}

func (s *strangers) leave() {
	close(s.stop)
	s.all.Wait()
}

// startFew runs the daemon with a limit of open files.
func (r *rig) startFew(t *testing.T, files int) *daemon {
	t.Helper()
	few := *r
	few.pawl = "/bin/sh"
	few.before = []string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, files), "sh", r.pawl}
	return few.start(t)
}

// fewest is the smallest limit of open files with which the daemon starts, in its own words. It
// starts with no fewer.
func (r *rig) fewest(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("/bin/sh", "-c", `ulimit -n 40; exec "$@"`, "sh", r.pawl, "serve", "--config", r.config(),
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0").CombinedOutput()
	found := regexp.MustCompile(`ulimit -n (\d+)`).FindSubmatch(out)
	if err == nil || found == nil {
		t.Fatalf("with 40 open files: %v, want a refusal that names a number:\n%s", err, out)
	}
	files, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	total.happened(partAround, "40 open files", "the start is refused, with the number that would do")
	return files
}

// TestAroundSockets: strangers hold all connections of both listeners, in every way there is, and
// the daemon has as few descriptors as it starts with. Signing goes on, readiness is told, and
// SIGTERM is not held up.
func TestAroundSockets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	files := r.fewest(t)
	began := time.Now()
	level := int32(1)
	for lives := 0; partAround.goesOn(began, lives, 1); lives++ {
		for i, trouble := range socketTroubles {
			pause := time.Duration((i+lives)%2) * 200 * time.Millisecond
			level = r.liveWithStrangers(t, files, trouble, pause, level)
		}
	}
	if _, err := r.oracle.merge(r.card); err != nil {
		t.Error(err)
	}
}

// liveWithStrangers has a daemon sign for a second while strangers make trouble, and stops it.
func (r *rig) liveWithStrangers(
	t *testing.T, files int, trouble socketTrouble, pause time.Duration, level int32,
) (next int32) {
	t.Helper()
	d := r.startFew(t, files)
	have := d.limits(t)
	if have.OpenFiles != files || have.Connections+have.AdminConnections != 64 {
		t.Errorf("limits %+v, want %d files and 64 connections", have, files)
	}
	d.client.Transport = &http.Transport{DisableKeepAlives: true} // as octez-client
	key := r.keys[0].Hash().String()
	atBakers := hold(d.url, have.Connections+20, key, trouble, pause)
	defer atBakers.leave()
	atAdmin := hold(d.admin, have.AdminConnections+20, key, trouble, pause)
	defer atAdmin.leave()
	signed := 0
	for end := time.Now().Add(time.Second); signed < 5 || time.Now().Before(end); level++ {
		mark := ratchet.Mark{Key: r.keys[int(level)%len(r.keys)].Hash(), ChainID: chain, Kind: kinds[0], Level: level}
		a := r.post(d, ask{mark, 0})
		if trouble.unread && a.hsmFailed() && time.Since(d.started) < time.Minute {
			continue
		}
		if a.status != http.StatusOK {
			t.Errorf("%s: %v, want a signature", trouble.name, a)
			break
		}
		if signed++; signed%5 == 0 {
			d.wantReady(t, trouble)
		}
	}
	d.wantGaveWay(t, trouble.name)
	d.wantStop(t, trouble.name)
	t.Logf("%s, from the same address %t: %d signatures, %v in all", trouble.name, pause > 0, signed, time.Since(d.started))
	total.happenedTimes(partAround, "sockets: "+trouble.name, "signed meanwhile", signed)
	return level
}

// getAdmin asks the other listener, and wants an answer.
func (d *daemon) getAdmin(t *testing.T, path string) (status int, text string) {
	t.Helper()
	res, err := d.client.Get(d.admin + path)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return res.StatusCode, string(body)
}

func (d *daemon) wantReady(t *testing.T, trouble socketTrouble) {
	t.Helper()
	status, text := d.getAdmin(t, "/readyz")
	tells := trouble.unread && status == http.StatusServiceUnavailable && strings.Contains(text, "DeadlineExceeded")
	if status != http.StatusOK && !tells {
		t.Errorf("%s: readiness %d %s, want 200", trouble.name, status, text)
	}
}

var gaveWay = regexp.MustCompile(`(?m)^pawl_connections_closed_total\{listener="signing",reason="(full|share)"\} [1-9]`)

// wantGaveWay: connections gave way, and a line or two tell of it.
func (d *daemon) wantGaveWay(t *testing.T, name string) {
	t.Helper()
	if _, metrics := d.getAdmin(t, "/metrics"); !gaveWay.MatchString(metrics) {
		t.Errorf("%s: no connection gave way: what held the strangers off?", name)
	}
}

// wantStop: SIGTERM ends the daemon as if there were no strangers. What has not arrived whole gets
// a second; without that bound it was five and ten.
func (d *daemon) wantStop(t *testing.T, name string) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	<-d.exited
	if took := time.Since(began); d.cmd.ProcessState.ExitCode() != 0 || took > 4500*time.Millisecond {
		t.Errorf("%s: exit code %d, %v after SIGTERM; the log:\n%s", name, d.cmd.ProcessState.ExitCode(), took, d.log)
	}
}
