package main

import (
	"context"
	"database/sql"
	"net/http"
	"os"

	_ "github.com/mattn/go-sqlite3" // the commit to compare with
	"golang.org/x/sys/unix"

	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// A ceiling is a cost that no signer with a durable watermark can avoid. Each is
// measured alone, by one worker or by as many as the cell has.
const (
	ceilingSync   = "fdatasync"  // of an append of a mark's size
	ceilingCommit = "commit"     // of one row, by SQLite with the ratchet's settings
	ceilingHSM    = "SignSingle" // with the key of a cell, on a connection of its own
	ceilingVerify = "verify"     // of a signature of that key
	ceilingEcho   = "echo"       // HTTP with nothing behind it, on the same kind of connection
)

// markSize is about what the ratchet stores for a mark: key, chain, kind, level,
// round, digest and signature.
const markSize = 180

// syncCeiling appends to a file.
func (b *bench) syncCeiling() (worker, error) {
	file, err := os.CreateTemp(b.dir, "append-") // on the disk of the ratchets
	if err != nil {
		return worker{}, err
	}
	record := make([]byte, markSize)
	ask := func() error {
		if _, err := file.Write(record); err != nil {
			return err
		}
		return unix.Fdatasync(int(file.Fd()))
	}
	w := timed(ask)
	w.end = file.Close
	return w, nil
}

// openCommit makes what the commit ceiling does: it writes a mark's row with SQLite. So much was
// written before that the -wal no longer grows but is written over, as in a ratchet in use.
func (b *bench) openCommit(ctx context.Context) error {
	db, err := sql.Open("sqlite3", "file:"+b.path("commit.db")+
		"?_journal_mode=WAL&_synchronous=FULL&_locking_mode=EXCLUSIVE&_txlock=immediate&_stmt_cache_size=16")
	if err != nil {
		return err
	}
	b.onClose(db.Close)
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE mark (id INTEGER PRIMARY KEY, level INTEGER, rest BLOB)"); err != nil {
		return err
	}
	level := 0
	b.commit = func() error {
		level++
		_, err := db.ExecContext(ctx, "INSERT OR REPLACE INTO mark VALUES (1, ?, zeroblob(170))", level)
		return err
	}
	for range walFrames + 1 {
		if err := b.commit(); err != nil {
			return err
		}
	}
	return nil
}

// walFrames is when SQLite writes over the -wal unless told otherwise
// (https://www.sqlite.org/pragma.html#pragma_wal_autocheckpoint).
const walFrames = 1000

// ceiling makes the workers of a ceiling: one, but for the HSM as many as the cell has.
func (r *running) ceiling(ctx context.Context, b *bench, name string) ([]worker, error) {
	var w worker
	var err error
	switch name {
	case ceilingSync:
		w, err = b.syncCeiling()
	case ceilingCommit:
		w = timed(b.commit)
	case ceilingVerify:
		w, err = r.verifyCeiling(ctx)
	case ceilingEcho:
		w, err = r.echoCeiling(ctx, b)
	case ceilingHSM:
		return r.hsmCeiling(ctx)
	}
	return []worker{w}, err
}

// hsmCeiling signs straight with the card, each worker with a key of its own and all
// on one connection, as pawl does.
func (r *running) hsmCeiling(ctx context.Context) ([]worker, error) {
	workers := make([]worker, r.cell.workers)
	for i := range workers {
		key, err := r.key(i)
		if err != nil {
			return nil, err
		}
		payload := make([]byte, len(tezos.Digest{}))
		workers[i] = timed(func() error {
			payload[0]++
			_, err := key.Sign(ctx, tezos.NewMessage(payload))
			return err
		})
	}
	return workers, nil
}

// verifyCeiling verifies one signature again and again.
func (r *running) verifyCeiling(ctx context.Context) (worker, error) {
	key, err := r.key(0)
	if err != nil {
		return worker{}, err
	}
	message := tezos.NewMessage([]byte("a message"))
	signature, err := key.Sign(ctx, message)
	return timed(func() error { return key.PublicKey().Verify(message, signature) }), err
}

// echoCeiling has the echo answer what pawl is asked, on as many connections.
func (r *running) echoCeiling(ctx context.Context, b *bench) (worker, error) {
	d, err := b.echo(ctx, r.stand.dialer.tls != nil)
	if err != nil {
		return worker{}, err
	}
	c := r.conn(d)
	body := tezostest.Quoted(payload(chains[0], tezos.Attestation, 1, 0))
	w := timed(func() error {
		_, err := c.exchange(http.MethodPost, "/", body, http.StatusOK)
		if err == nil && r.cell.fresh { // octez-client asks two things for a signature
			_, err = c.exchange(http.MethodGet, "/", nil, http.StatusOK)
		}
		return err
	})
	w.end = c.close
	return w, nil
}
