//go:build amd64

package fault_test

import (
	"fmt"
	"maps"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/tezos"
)

// recording is all that some processes, one after the other, did to a folder and said
// to the world.
type recording struct {
	ops        []diskStep
	identities []string                       // of each file: what the ratchet's provenance row says of it
	from       int                            // the first step that is of interest: the others make what was there before
	before     map[ratchet.Mark]toldSignature // that may be in it, told or not
}

// identityOf returns the form of the provenance row.
func identityOf(path string) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return "", fmt.Errorf("statx %s: %v", path, err)
	}
	birth := int64(0)
	if st.Mask&unix.STATX_BTIME != 0 {
		birth = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return fmt.Sprintf("%020d/%020d", st.Ino, birth), nil
}

// disk is what the first steps leave.
func (r *recording) disk(strict bool, steps int) *cutDisk {
	d := &cutDisk{strict: strict}
	for _, o := range r.ops[:steps] {
		d.do(o)
	}
	return d
}

// markSlot is what has one mark: a key, a chain and a kind.
type markSlot struct {
	key   tezos.PublicKeyHash
	chain tezos.ChainID
	kind  tezos.Kind
}

func slotOf(m ratchet.Mark) markSlot { return markSlot{m.Key, m.ChainID, m.Kind} }

// toldSignature is a signature that somebody got, or will get.
type toldSignature struct {
	ask
	message   tezos.Message // of the payload, which takes time to make
	signature string
}

// promises are what the world was told: they hold after each power cut.
type promises struct {
	made       bool // the ratchet
	registered map[tezos.PublicKeyHash]bool
	retired    map[tezos.PublicKeyHash]bool
	marks      map[markSlot]toldSignature
}

// with returns the promises after one more step. They are not changed: others check them.
func (p *promises) with(o diskStep) *promises {
	next := *p
	switch o.kind {
	case stepMade:
		next.made = true
	case stepRegistered:
		next.registered = withEntry(p.registered, o.key, true)
	case stepRetired:
		next.retired = withEntry(p.retired, o.key, true)
	case stepAnswer:
		s := toldSignature{o.ask, tezos.NewMessage(o.ask.payload()), o.text}
		if old, ok := p.marks[slotOf(s.mark)]; !ok || isAbove(s.mark, old.mark) {
			next.marks = withEntry(p.marks, slotOf(s.mark), s)
		}
	case stepCreate, stepLink, stepUnlink, stepWrite, stepTruncate, stepSync, stepSyncNames:
	}
	return &next
}

// steps are those that make these promises.
func (p *promises) steps() (steps []diskStep) {
	if p.made {
		steps = append(steps, diskStep{kind: stepMade})
	}
	for key := range p.registered {
		steps = append(steps, diskStep{kind: stepRegistered, key: key})
	}
	for key := range p.retired {
		steps = append(steps, diskStep{kind: stepRetired, key: key})
	}
	for _, s := range p.marks {
		steps = append(steps, diskStep{kind: stepAnswer, ask: s.ask, text: s.signature})
	}
	return steps
}

func withEntry[K comparable, V any](m map[K]V, key K, value V) map[K]V {
	next := maps.Clone(m)
	if next == nil {
		next = make(map[K]V)
	}
	next[key] = value
	return next
}

func isAbove(a, b ratchet.Mark) bool {
	return a.Level > b.Level || a.Level == b.Level && a.Round > b.Round
}

// everTold is every mark that was told of, before or after a cut: no other one may be
// in a file.
func (r *recording) everTold() map[ratchet.Mark]toldSignature {
	all := make(map[ratchet.Mark]toldSignature)
	maps.Copy(all, r.before)
	for _, o := range r.ops {
		if o.kind == stepAnswer {
			all[o.ask.mark] = toldSignature{o.ask, tezos.NewMessage(o.ask.payload()), o.text}
		}
	}
	return all
}
