//go:build amd64

package fault_test

import (
	"maps"
	"math/rand/v2"
	"slices"

	"pawl/tezos"
)

// sector is what a disk writes whole: of a write that the power cut interrupts it has
// some of these and not others.
const sector = 512

// stepKind is what a program can do to its folder, and what it can say to the world.
type stepKind uint8

const (
	stepCreate     stepKind = iota // a new file under a name
	stepLink                       // one more name of a file
	stepUnlink                     // a name is taken away
	stepWrite                      // into a file
	stepTruncate                   // a file gets a size
	stepSync                       // fsync or fdatasync of a file
	stepSyncNames                  // fsync of the folder
	stepMade                       // somebody was told that the ratchet is there
	stepRegistered                 // somebody was told that a key is registered
	stepRetired                    // somebody was told that a key is retired
	stepAnswer                     // a signature leaves
)

func (k stepKind) String() string {
	return [...]string{"create", "link", "unlink", "write", "truncate", "sync", "sync of the folder", "ratchet made", "key registered", "key retired", "answer"}[k]
}

// diskStep is one step of a recording. Files go by number: the second file of a name is
// another one.
type diskStep struct {
	kind   stepKind
	file   int
	name   string              // of stepCreate, stepLink and stepUnlink
	offset int64               // of stepWrite; the size of stepTruncate
	data   []byte              // of stepWrite
	key    tezos.PublicKeyHash // of stepRegistered and stepRetired
	text   string              // of stepAnswer: the signature
	ask    ask                 // of stepAnswer: what it is of
}

// cutDisk is what is certain after some steps of a recording, and what is not.
type cutDisk struct {
	// strict: only a sync of the folder makes a name durable. Otherwise that of a new
	// file does so for its own name, as on ext4 and xfs.
	strict  bool
	files   []cutContent
	names   map[string]int
	changes []nameChange // that no sync has made durable
}

type cutContent struct {
	durable []byte
	pending []diskStep // writes and truncates that no sync has made durable
}

// nameChange is a new name of a file, or the end of one.
type nameChange struct {
	name    string
	file    int // or noFile
	durable bool
}

const noFile = -1

func (d *cutDisk) do(o diskStep) {
	switch o.kind {
	case stepCreate:
		d.files = append(d.files, cutContent{})
		d.changes = append(d.changes, nameChange{name: o.name, file: o.file})
	case stepLink:
		d.changes = append(d.changes, nameChange{name: o.name, file: o.file})
	case stepUnlink:
		d.changes = append(d.changes, nameChange{name: o.name, file: noFile})
	case stepWrite, stepTruncate:
		d.files[o.file].pending = append(d.files[o.file].pending, o)
	case stepSync:
		d.sync(o.file)
	case stepSyncNames:
		d.names = d.namesWith(func(int) bool { return true })
		d.changes = nil
	case stepMade, stepRegistered, stepRetired, stepAnswer:
	}
}

func (d *cutDisk) sync(file int) {
	f := &d.files[file]
	for _, o := range f.pending {
		f.durable = o.whole(f.durable)
	}
	f.pending = nil
	for i, c := range d.changes {
		if c.file == file && !d.strict {
			d.changes[i].durable = true
		}
	}
}

// unsynced reports whether a power cut has a choice.
func (d *cutDisk) unsynced() bool {
	return len(d.changes) > 0 || slices.ContainsFunc(d.files, func(f cutContent) bool { return len(f.pending) > 0 })
}

// size is what all files have together.
func (d *cutDisk) size() (size int) {
	for _, file := range d.names {
		size += len(d.files[file].durable)
		for _, o := range d.files[file].pending {
			size += len(o.data)
		}
	}
	return size
}

// told reports whether it is the world that learns something, and no file that changes.
func (o diskStep) told() bool { return o.kind >= stepMade }

// whole applies a write or a truncate to what a file holds.
func (o diskStep) whole(data []byte) []byte {
	if o.kind == stepTruncate {
		return resized(data, o.offset)
	}
	return o.part(data, func(int64) bool { return true })
}

// part applies those sectors of a write that were chosen, by their number in the file.
func (o diskStep) part(data []byte, chosen func(sector int64) bool) []byte {
	for at, end := o.offset, o.offset+int64(len(o.data)); at < end; {
		next := min(end, (at/sector+1)*sector)
		if chosen(at / sector) {
			data = resized(data, max(int64(len(data)), next))
			copy(data[at:next], o.data[at-o.offset:next-o.offset])
		}
		at = next
	}
	return data
}

// resized cuts data or fills it with zeros.
func resized(data []byte, size int64) []byte {
	if n := int64(len(data)); n < size {
		return append(data, make([]byte, size-n)...)
	}
	return data[:size]
}

// namesWith are the names that are certain and those changes that were chosen.
func (d *cutDisk) namesWith(chosen func(change int) bool) map[string]int {
	names := maps.Clone(d.names)
	if names == nil {
		names = make(map[string]int)
	}
	for i, c := range d.changes {
		switch {
		case !c.durable && !chosen(i):
		case c.file == noFile:
			delete(names, c.name)
		default:
			names[c.name] = c.file
		}
	}
	return names
}

// snapshot is a folder after a power cut.
type snapshot map[string]cutFile

type cutFile struct {
	file int
	data []byte
}

// cutFate decides what a power cut leaves of what was not synced.
type cutFate uint8

const (
	loseAll   cutFate = iota
	keepAll           // no power cut: only the process is gone
	keepFirst         // of each file the first few writes, and a part of the next
	keepSome          // each write is there or not
	tearSome          // each sector is there or not
	keepMost          // nearly all is there, the rest lost or torn
	cutFates
)

func (f cutFate) String() string {
	return [...]string{
		"power cut, nothing unsynced is there",
		"process killed, everything is there",
		"power cut, unsynced writes up to one, which is torn",
		"power cut, some unsynced writes",
		"power cut, some sectors of unsynced writes",
		"power cut, most of the unsynced writes",
	}[f]
}

// cut makes the folder as a power cut of that fate leaves it.
func (d *cutDisk) cut(f cutFate, random *rand.Rand) snapshot {
	s := make(snapshot)
	for name, file := range d.cutNames(f, random) {
		s[name] = cutFile{file, d.files[file].cut(f, random)}
	}
	return s
}

func (d *cutDisk) cutNames(f cutFate, random *rand.Rand) map[string]int {
	first := 0 // that many changes in order
	if f == keepFirst {
		first = random.IntN(len(d.changes) + 1)
	}
	return d.namesWith(func(change int) bool {
		if f == keepFirst {
			return change < first
		}
		return f == keepAll || f != loseAll && random.IntN(2) == 0
	})
}

// cut returns the content of a file. A write that is lost may have made the file longer
// all the same.
func (c cutContent) cut(f cutFate, random *rand.Rand) []byte {
	data := slices.Clone(c.durable)
	first := 0
	if f == keepFirst {
		first = random.IntN(len(c.pending) + 1)
	}
	for i, o := range c.pending {
		fate := o.fate(f, i-first, random)
		if fate == keepAll {
			data = o.whole(data)
		}
		if fate == tearSome {
			data = o.part(data, func(int64) bool { return random.IntN(2) == 0 })
		}
		if f != loseAll && f != keepAll && o.kind == stepWrite && random.IntN(4) == 0 {
			data = resized(data, max(int64(len(data)), o.offset+int64(len(o.data))))
		}
	}
	return data
}

// fate is what becomes of one write or truncate: keepAll, tearSome or loseAll. Behind
// says how far it is behind the first ones, which are there; a truncate is never torn.
func (o diskStep) fate(f cutFate, behind int, random *rand.Rand) cutFate {
	chance := random.IntN
	switch {
	case f == loseAll, f == keepAll:
		return f
	case f == keepFirst && behind < 0, f == keepSome && chance(2) == 0, f == keepMost && chance(8) > 0:
		return keepAll
	case o.kind == stepTruncate && f != keepFirst && chance(2) == 0:
		return keepAll
	case o.kind == stepWrite && (f == tearSome || f == keepFirst && behind == 0 || f == keepMost && chance(2) == 0):
		return tearSome
	}
	return loseAll
}
