// Package bench measures what pawl adds to the three costs that no signer with
// a durable watermark can avoid: the HSM's own time, one commit, one HTTP
// exchange. All are measured in the same run, in turns, for the machines that
// run it are shared and noisy.
package bench

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // the commit to compare with

	"pawl/policy"
	"pawl/ratchet"
	"pawl/server"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/grep11/softcard"
	"pawl/tezos"
)

// BenchmarkSign reports the median of one attestation signed over HTTP
// (keep-alive; HSM behind mutual TLS; durable) and of its three ceilings, in
// microseconds, and the ratio of the first to the sum of the others.
func BenchmarkSign(b *testing.B) {
	for _, kind := range []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256} {
		b.Run(kind.String(), func(b *testing.B) {
			s := newStand(b, kind)
			var request, hsm, commit, echo []time.Duration
			for level := uint32(1); b.Loop(); level++ {
				echo = append(echo, took(b, func() error { return s.post(s.echoURL, level) }))
				commit = append(commit, took(b, func() error { return s.commit(level) }))
				hsm = append(hsm, took(b, func() error { return s.signSingle(level) }))
				request = append(request, took(b, func() error { return s.post(s.signURL, level) }))
			}
			ceilings := median(hsm) + median(commit) + median(echo)
			b.ReportMetric(micros(median(request)), "µs/request")
			b.ReportMetric(micros(median(hsm)), "µs/SignSingle")
			b.ReportMetric(micros(median(commit)), "µs/commit")
			b.ReportMetric(micros(median(echo)), "µs/echo")
			b.ReportMetric(float64(median(request))/float64(ceilings), "ratio")
			b.ReportMetric(0, "ns/op") // of all four together: says nothing
		})
	}
}

func took(b *testing.B, do func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := do(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// stand is a signer with one key, and the ceilings beside it.
type stand struct {
	client           http.Client
	signURL, echoURL string
	key              *grep11.Key
	db               *sql.DB
}

func newStand(b *testing.B, kind tezos.KeyKind) *stand {
	b.Helper()
	hsm := dialCard(b)
	made, err := hsm.Generate(b.Context(), kind, false)
	if err != nil {
		b.Fatal(err)
	}
	s := &stand{}
	if s.key, err = hsm.Key(made.PublicKey, made.Blob); err != nil {
		b.Fatal(err)
	}
	marks := openRatchet(b, made.PublicKey.Hash())
	sign, err := signer.New([]signer.Entry{{Key: s.key, Policy: policy.Policy{Baking: true}, Ratchet: marks, Server: hsm}}, signer.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = sign.Close() })
	octez := server.New(server.Config{Signer: sign})
	s.signURL = serve(b, octez, octez.Handler()) + "/keys/" + made.PublicKey.Hash().String()
	s.echoURL = serve(b, octez, http.HandlerFunc(echo))
	s.db = openSQLite(b)
	return s
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

// dialCard runs a software card behind mutual TLS.
func dialCard(b *testing.B) *grep11.Client {
	b.Helper()
	dir := softcard.Dir(filepath.Join(b.TempDir(), "card"))
	if _, err := dir.Init(); err != nil {
		b.Fatal(err)
	}
	card, err := softcard.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	ln := listen(b)
	background(b, func(ctx context.Context) error { return card.Serve(ctx, ln, dir, false) })
	file := func(name string) string { return filepath.Join(string(dir), name) }
	client, err := grep11.Dial(grep11.Config{
		Address: ln.Addr().String(), CertPath: file("client.pem"), KeyPath: file("client-key.pem"), CACertPath: file("ca.pem"),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	return client
}

func openRatchet(b *testing.B, key tezos.PublicKeyHash) *ratchet.DB {
	b.Helper()
	path := filepath.Join(b.TempDir(), "ratchet.db")
	if err := ratchet.Create(b.Context(), path); err != nil {
		b.Fatal(err)
	}
	db, err := ratchet.Open(b.Context(), path, ratchet.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := db.RegisterNew(b.Context(), key); err != nil {
		b.Fatal(err)
	}
	return db
}

// openSQLite opens a database with the ratchet's settings and a row of its size.
func openSQLite(b *testing.B) *sql.DB {
	b.Helper()
	path := filepath.Join(b.TempDir(), "commit.db")
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_locking_mode=EXCLUSIVE&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	b.Cleanup(func() { _ = db.Close() })
	if _, err := db.ExecContext(b.Context(), "CREATE TABLE mark (id INTEGER PRIMARY KEY, level INTEGER, rest BLOB)"); err != nil {
		b.Fatal(err)
	}
	return db
}

func (s *stand) commit(level uint32) error {
	const upsert = "INSERT INTO mark VALUES (1, ?, zeroblob(170)) ON CONFLICT (id) DO UPDATE SET level = excluded.level WHERE excluded.level > mark.level"
	_, err := s.db.ExecContext(context.Background(), upsert, level)
	return err
}

func (s *stand) signSingle(level uint32) error {
	_, err := s.key.Sign(context.Background(), tezos.DigestOf(attestation(level)))
	return err
}

func (s *stand) post(url string, level uint32) error {
	body := fmt.Sprintf("%q\n", hex.EncodeToString(attestation(level)))
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", response.Status, answer))
	}
	return errors.Join(err, response.Body.Close())
}

// attestation is one of 80 bytes on mainnet.
func attestation(level uint32) []byte {
	p := make([]byte, 80)
	copy(p, []byte{0x13, 0x7a, 0x06, 0xa7, 0x70})
	p[37] = 0x15
	binary.BigEndian.PutUint32(p[40:], level)
	return p
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	ln, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return ln
}

// serve serves handler as pawl does and returns its URL.
func serve(b *testing.B, s *server.Server, handler http.Handler) string {
	b.Helper()
	ln := listen(b)
	background(b, func(ctx context.Context) error { return s.Serve(ctx, ln, handler, nil) })
	return "http://" + ln.Addr().String()
}

// background runs a server until the benchmark ends.
func background(b *testing.B, run func(context.Context) error) {
	b.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}
