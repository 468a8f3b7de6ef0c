package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"pawl/tezos"
)

// maxDepth bounds the nesting of keys.json, which is four levels deep.
const maxDepth = 16

// value is a JSON value with its place: the path of names that leads to it, and its bytes
// data[start:end]. encoding/json would take the last of two members of one name and ignore
// case in names; here the members stay as written.
type value struct {
	path       string
	start, end int64
	scalar     any // string, json.Number, bool, or nil for null
	object     bool
	array      bool
	members    []member // of an object, in order
	items      []value  // of an array
}

type member struct {
	name  string
	value value
}

// get returns the member of that name.
func (v value) get(name string) (value, bool) {
	for _, m := range v.members {
		if m.name == name {
			return m.value, true
		}
	}
	return value{}, false
}

// plainName matches the names that a path shows as they are.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// segment is a name as a path shows it: quoted if it is odd, cut short if it is long, and without
// what may be a secret.
func segment(name string) string {
	if plainName.MatchString(name) && tezos.Redact(name) == name {
		return name
	}
	return quote(name)
}

// quote is foreign text as a finding shows it: in quotes, with control characters written out, cut
// short, and without what may be a secret.
func quote(text string) string {
	const most = 64 // characters
	text = tezos.Redact(text)
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strconv.Quote(text)
}

// parseJSON reads one JSON object that fills data, which has no byte order mark.
func parseJSON(data []byte) (value, error) {
	p := jsonParser{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	root, err := p.value("", 0)
	if err != nil {
		return value{}, fmt.Errorf("line %d: %w", p.line(), err)
	}
	if !root.object {
		return value{}, errors.New("not a JSON object")
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return value{}, fmt.Errorf("line %d: something follows the object", p.line())
	}
	return root, nil
}

type jsonParser struct {
	data []byte
	dec  *json.Decoder
}

func (p *jsonParser) line() int {
	return 1 + bytes.Count(p.data[:p.dec.InputOffset()], []byte("\n"))
}

func (p *jsonParser) value(path string, depth int) (value, error) {
	if depth > maxDepth {
		return value{}, errors.New("nested too deeply")
	}
	v := value{path: path, start: p.next()}
	token, err := p.dec.Token()
	if err != nil {
		return value{}, noEOF(err)
	}
	switch token {
	case json.Delim('{'):
		v.object = true
		err = p.membersOf(&v, depth)
	case json.Delim('['):
		v.array = true
		err = p.itemsOf(&v, depth)
	default:
		v.scalar = token
	}
	v.end = p.dec.InputOffset()
	return v, err
}

// next is where the next value begins, after blanks, a comma or a colon.
func (p *jsonParser) next() int64 {
	at := p.dec.InputOffset()
	rest := bytes.TrimLeft(p.data[at:], " \t\r\n,:")
	return int64(len(p.data) - len(rest))
}

func (p *jsonParser) membersOf(v *value, depth int) error {
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return noEOF(err)
		}
		name, _ := token.(string) // the decoder allows nothing else here
		child, err := p.value(strings.TrimPrefix(v.path+"."+segment(name), "."), depth+1)
		if err != nil {
			return err
		}
		v.members = append(v.members, member{name, child})
	}
	_, err := p.dec.Token()
	return noEOF(err)
}

func (p *jsonParser) itemsOf(v *value, depth int) error {
	for p.dec.More() {
		item, err := p.value(fmt.Sprintf("%s[%d]", v.path, len(v.items)), depth+1)
		if err != nil {
			return err
		}
		v.items = append(v.items, item)
	}
	_, err := p.dec.Token()
	return noEOF(err)
}

// noEOF names the end of the file inside a value.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
