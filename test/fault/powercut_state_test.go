//go:build amd64

package fault_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// The names in the folder.
const (
	ratchetName = "ratchet.db"
	walName     = ratchetName + "-wal"
	keptName    = ratchetName + "-kept" // of the -wal, for a moment
)

// lay makes the files of a snapshot in an empty folder. They are new ones, and the
// ratchet knows its own: so the names that its provenance has for them are replaced by
// those of the new ones, in all places, and the checksums of a -wal are made good
// where they were good.
func (s snapshot) lay(folder string, identities []string) error {
	var rename []string
	made := make(map[int]string) // by file
	for _, name := range slices.Sorted(maps.Keys(s)) {
		path := filepath.Join(folder, name)
		if first, there := made[s[name].file]; there {
			if err := os.Link(first, path); err != nil {
				return err
			}
			continue
		}
		made[s[name].file] = path
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		now, err := identityOf(path)
		if err != nil {
			return err
		}
		rename = append(rename, identities[s[name].file], now)
	}
	for name, file := range s {
		data := renamed(file.data, rename)
		if name == walName || name == keptName {
			data = renamedWAL(file.data, rename)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// renamed replaces identities by others, which are as long.
func renamed(data []byte, rename []string) []byte {
	for i := 0; i < len(rename); i += 2 {
		data = bytes.ReplaceAll(data, []byte(rename[i]), []byte(rename[i+1]))
	}
	return data
}

// The -wal (https://www.sqlite.org/fileformat.html, section 4.1).
const (
	walHeader   = 32
	frameHeader = 24
)

// renamedWAL does so in those frames that are good, one after the other as SQLite reads
// them. With the first bad one the -wal ends.
func renamedWAL(data []byte, rename []string) []byte {
	if len(data) < walHeader {
		return data
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if binary.BigEndian.Uint32(data)&1 != 0 {
		order = binary.BigEndian
	}
	was := walSum{}.add(order, data[:24])
	pageSize := int(binary.BigEndian.Uint32(data[8:]))
	if !was.is(data[24:32]) || pageSize < 512 || pageSize > 1<<16 {
		return data
	}
	data = bytes.Clone(data)
	salt := data[16:24]
	now, size := was, frameHeader+pageSize
	for frame := data[walHeader:]; len(frame) >= size; frame = frame[size:] {
		head, page := frame[:frameHeader], frame[frameHeader:size]
		was = was.add(order, head[:8]).add(order, page)
		if !bytes.Equal(head[8:16], salt) || !was.is(head[16:24]) {
			break
		}
		copy(page, renamed(page, rename))
		now = now.add(order, head[:8]).add(order, page)
		now.put(head[16:24])
	}
	return data
}

// walSum is the checksum of a -wal up to some place.
type walSum [2]uint32

func (s walSum) add(order binary.ByteOrder, data []byte) walSum {
	for ; len(data) >= 8; data = data[8:] {
		s[0] += order.Uint32(data) + s[1]
		s[1] += order.Uint32(data[4:]) + s[0]
	}
	return s
}

func (s walSum) is(stored []byte) bool {
	return s[0] == binary.BigEndian.Uint32(stored) && s[1] == binary.BigEndian.Uint32(stored[4:])
}

func (s walSum) put(to []byte) {
	binary.BigEndian.PutUint32(to, s[0])
	binary.BigEndian.PutUint32(to[4:], s[1])
}

// The outcomes of a state that is as it should be.
const (
	allMarksThere = "opened, all marks there"
	notMadeYet    = "refused, before its making was reported"
)

var errAsked = errors.New("the HSM was asked")

// judgement is what became of a state. Both errors break a promise: a refused ratchet
// is not there any more, and a loss is what the invariant forbids.
type judgement struct {
	outcome string
	refused error
	loss    error
}

// judge opens the ratchet of a folder and looks for all that was promised, and for what
// nobody was ever told.
func (p *promises) judge(folder string, ever map[ratchet.Mark]toldSignature) judgement {
	ctx := context.Background()
	db, err := ratchettest.OpenDB(ctx, filepath.Join(folder, ratchetName), ratchettest.Options{Witness: ratchettest.NoWitness})
	if err != nil {
		return p.judgeRefusal(folder, err)
	}
	if found := db.Finding(); found.Verdict > sqlite.Unwitnessed { // a power cut sets nothing back
		return p.judgeRefusal(folder, errors.Join(errors.New(found.Text), db.Close()))
	}
	loss := p.check(ctx, db, ever)
	if err := db.Close(); err != nil {
		loss = errors.Join(loss, fmt.Errorf("closing: %v", err))
	}
	if loss != nil {
		return judgement{outcome: "LOST", loss: loss}
	}
	return judgement{outcome: allMarksThere}
}

// wordy is what differs from state to state in the text of a refusal.
var wordy = regexp.MustCompile(`(: marks may be lost.*| \([^)]*\)|: set db to.*|: remove it with.*|: pawl ratchet init.*)$`)

func (p *promises) judgeRefusal(folder string, err error) judgement {
	if !p.made {
		return judgement{outcome: notMadeYet}
	}
	text := strings.ReplaceAll(err.Error(), folder+"/", "")
	for wordy.MatchString(text) {
		text = wordy.ReplaceAllString(text, "")
	}
	return judgement{outcome: "refused: " + text, refused: err}
}

func (p *promises) check(ctx context.Context, db *ratchettest.DB, ever map[ratchet.Mark]toldSignature) error {
	entries, err := db.Marks(ctx)
	if err != nil {
		return err
	}
	var losses []error
	found := make(map[markSlot]ratchet.Mark)
	for _, e := range entries {
		found[slotOf(e.Mark)] = e.Mark
		was, known := ever[e.Mark]
		if !known {
			losses = append(losses, fmt.Errorf("%v: a mark that nobody asked for", ask{mark: e.Mark}))
		} else if err := was.check(ctx, db); err != nil {
			losses = append(losses, err)
		}
	}
	for slot, want := range p.marks {
		if got, ok := found[slot]; !ok || isAbove(want.mark, got) {
			losses = append(losses, fmt.Errorf("%v was released, the ratchet has (%d,%d)", ask{mark: want.mark}, got.Level, got.Round))
		}
	}
	return errors.Join(append(losses, p.checkKeys(ctx, db))...)
}

// check has the same bytes asked for again: the stored signature answers.
func (s toldSignature) check(ctx context.Context, db *ratchettest.DB) error {
	again, err := db.Sign(ctx, s.mark, s.message, func(context.Context, tezos.Message) (tezos.Signature, error) { return tezos.Signature{}, errAsked })
	switch {
	case err != nil:
		return fmt.Errorf("%v again: %v", ask{mark: s.mark}, err)
	case !again.Stored, again.Signature.String() != s.signature:
		return fmt.Errorf("%v again: %v, want the stored %s", ask{mark: s.mark}, again.Signature, s.signature)
	}
	return nil
}

func (p *promises) checkKeys(ctx context.Context, db *ratchettest.DB) error {
	registrations, err := db.Registrations(ctx)
	if err != nil {
		return err
	}
	there := make(map[tezos.PublicKeyHash]bool)
	var losses []error
	for _, r := range registrations {
		if there[r.Key] = true; p.retired[r.Key] && r.Retired == "" {
			losses = append(losses, fmt.Errorf("key %v was retired and is not", r.Key))
		}
	}
	for key := range p.registered {
		if !there[key] {
			losses = append(losses, fmt.Errorf("key %v was registered and is not", key))
		}
	}
	return errors.Join(losses...)
}
