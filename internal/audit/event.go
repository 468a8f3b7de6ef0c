package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/blake2b"

	"pawl/tezos"
)

// Name says what happened.
type Name string

// The events. The trail itself writes the last four.
const (
	Signed   Name = "signed"   // a mark rose, and its signature was released
	Refused  Name = "refused"  // a signature of a consensus slot was refused
	Register Name = "register" // a key was registered on a chain
	Raise    Name = "raise"    // the first level that a key may sign was raised
	Retire   Name = "retire"   // a key was retired
	Import   Name = "import"   // what another ratchet held was brought in
	Handover Name = "handover" // a key was bounded, to be handed over
	Fence    Name = "fence"    // a key was fenced
	Unfence  Name = "unfence"  // a fence was lifted

	Start   Name = "start"   // the trail was opened
	Stop    Name = "stop"    // the trail was closed, all that was added is before it
	Dropped Name = "dropped" // Count events found no room or could not be written
	Cut     Name = "cut"     // Count bytes that were no whole line were cut off, or a damaged file was moved aside
)

// Event is one line of the trail. What is empty is left out of the line, with these exceptions: a slot
// (Kind is not 0) has its level and round also if they are 0.
type Event struct {
	Time         time.Time // [Log.Add] fills it in
	Name         Name
	Key          tezos.PublicKeyHash
	ChainID      tezos.ChainID
	Kind         tezos.Kind
	Level, Round int32
	Digest       tezos.Digest
	Count        uint64
	Reason       string // why, in few words; cut after 512 bytes
	Detail       string // more about it; cut after 2048 bytes, or where the line would be too long
}

const (
	// maxLine is the most bytes of a line, with its newline.
	maxLine = 4 << 10
	// What is kept of texts, so that events that wait take little memory.
	maxName, maxReason, maxDetail = 32, 512, 2 << 10

	timeForm = "2006-01-02T15:04:05.000Z"
)

// hash is that of a line.
type hash [blake2b.Size256]byte

func (h hash) String() string { return hex.EncodeToString(h[:]) }

// hashOf is the hash of a line without its newline.
func hashOf(line []byte) hash { return blake2b.Sum256(line) }

// link is where a line is in the chain.
type link struct {
	seq  uint64
	hash hash // of the line
}

// jsonLine is the form of a line. The order of the fields is that of the text.
type jsonLine struct {
	Seq     uint64 `json:"seq"`
	Prev    string `json:"prev"`
	Time    string `json:"time"`
	Event   Name   `json:"event"`
	Key     string `json:"pkh,omitempty"`
	ChainID string `json:"chain_id,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Level   *int32 `json:"level,omitempty"`
	Round   *int32 `json:"round,omitempty"`
	Digest  string `json:"digest,omitempty"`
	Count   uint64 `json:"count,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// bounded is the event with texts that are not too long to wait in memory.
func (e Event) bounded() Event {
	e.Name = Name(shortened(string(e.Name), maxName))
	e.Reason, e.Detail = shortened(e.Reason, maxReason), shortened(e.Detail, maxDetail)
	return e
}

// shortened cuts a text after so many bytes at most, between two characters. The rest is not kept in memory.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	most = max(most, 0)
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return strings.Clone(text[:most])
}

// clean is a text without secret keys, of valid UTF-8.
func clean(text string) string {
	if text == "" {
		return ""
	}
	return tezos.RedactKeys(strings.ToValidUTF8(text, "\uFFFD"))
}

// appendLine appends the line of an event after the one of before, and returns its link.
func appendLine(lines []byte, e Event, before link) ([]byte, link) {
	e.Reason, e.Detail = clean(e.Reason), clean(e.Detail)
	line := e.line(before)
	for len(line) > maxLine-1 {
		// A byte of text takes six of the line at most, and one at least.
		e.Detail, e.Reason = shorterBy(e.Detail, e.Reason, (len(line)-(maxLine-1)+5)/6)
		line = e.line(before)
	}
	lines = append(append(lines, line...), '\n')
	return lines, link{before.seq + 1, hashOf(line)}
}

// shorterBy shortens the first text, and the second one only if nothing of the first is left.
func shorterBy(a, b string, bytes int) (string, string) {
	if a != "" {
		return shortened(a, len(a)-bytes), b
	}
	return a, shortened(b, len(b)-bytes)
}

// line is that of the event after the one of before, without newline.
func (e Event) line(before link) []byte {
	l := jsonLine{
		Seq: before.seq + 1, Prev: before.hash.String(), Time: e.Time.UTC().Format(timeForm), Event: e.Name,
		Count: e.Count, Reason: e.Reason, Detail: e.Detail,
	}
	if e.Key != (tezos.PublicKeyHash{}) {
		l.Key = e.Key.String()
	}
	if e.ChainID != (tezos.ChainID{}) {
		l.ChainID = e.ChainID.String()
	}
	if e.Digest != (tezos.Digest{}) {
		l.Digest = e.Digest.String()
	}
	e.slotOf(&l)
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(l) // into memory, of strings and numbers
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// slotOf adds kind, level and round to the line.
func (e Event) slotOf(l *jsonLine) {
	if e.Kind != 0 {
		l.Kind, l.Round = e.Kind.String(), &e.Round
	}
	if e.Kind != 0 || e.Level != 0 {
		l.Level = &e.Level
	}
}

var errNotLine = errors.New("not a line of a trail")

// parsed is what the chain and the notes need of a line.
type parsed struct {
	seq            uint64
	prev           hash
	name           Name
	count          uint64
	reason, detail string
}

// parseLine reads a line without its newline.
func parseLine(line []byte) (p parsed, err error) {
	var l jsonLine
	if err := json.Unmarshal(line, &l); err != nil {
		return p, errNotLine
	}
	prev, err := hex.DecodeString(l.Prev)
	if err != nil || len(prev) != len(p.prev) || l.Seq == 0 || l.Event == "" {
		return p, errNotLine
	}
	return parsed{seq: l.Seq, prev: hash(prev), name: l.Event, count: l.Count, reason: l.Reason, detail: l.Detail}, nil
}
