package reference

import (
	_ "embed" // offsets.txt
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

//go:embed offsets.txt
var offsets string

// Table is the layouts of consensus payloads.
type Table []Layout

// Layout is one of them: what a payload must be to be of it.
type Layout struct {
	Name              string
	keys              []string
	shortest, longest int
	fields            []field
}

// field is a line of the table that stands for bytes.
type field struct {
	what  string
	at    int
	bytes []byte // of "bytes"
}

// Load reads the table of this package.
func Load() (Table, error) { return parseTable(offsets) }

// LoadWith reads the table with one line changed everywhere, to see that a wrong table
// is noticed.
func LoadWith(line, other string) (Table, error) {
	changed := strings.ReplaceAll(offsets, "\n"+line+"\n", "\n"+other+"\n")
	if changed == offsets {
		return nil, fmt.Errorf("no line %q", line)
	}
	return parseTable(changed)
}

func parseTable(text string) (Table, error) {
	var table Table
	for number, line := range slices.Collect(strings.Lines(text)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if words[0] == "layout" && len(words) == 2 {
			table = append(table, Layout{Name: words[1]})
			continue
		}
		if len(words) < 2 || len(table) == 0 {
			return nil, fmt.Errorf("line %d: %q", number+1, line)
		}
		if err := table[len(table)-1].add(words[0], words[1:]); err != nil {
			return nil, fmt.Errorf("line %d: %v", number+1, err)
		}
	}
	return table, nil
}

func (l *Layout) add(what string, args []string) (err error) {
	if what == "keys" {
		l.keys = args
		return nil
	}
	number, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	f := field{what: what, at: number}
	switch last := args[len(args)-1]; what {
	case "length":
		l.shortest = number
		l.longest, err = strconv.Atoi(last)
		return err
	case "bytes":
		f.bytes, err = hex.DecodeString(last)
	case "chain", "level", "round", "negative", "below-round", "number":
	default:
		return fmt.Errorf("unknown word %q", what)
	}
	l.fields = append(l.fields, f)
	return err
}

// MarkBytes are the offsets of chain id, level and round, those of a level that is
// written twice together: changed alike, they are the level of another mark.
func (l Layout) MarkBytes() [][]int {
	var places [][]int
	for _, what := range []string{"chain", "level", "round"} {
		for i := range 4 {
			var same []int
			for _, f := range l.fields {
				if f.what == what {
					same = append(same, f.at+i)
				}
			}
			places = append(places, same)
		}
	}
	return places
}
