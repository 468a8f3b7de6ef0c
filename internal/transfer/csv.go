package transfer

// A table of marks: what any other program can write.

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"pawl/internal/durable"
	"pawl/ratchet"
	"pawl/tezos"
)

// columns are the first line of a table.
var columns = []string{"key", "chain", "kind", "level", "round"}

// readCSV reads a table. Each slot key has one line.
func readCSV(path string, _ tezos.PublicKeyHash) (marks, error) {
	text, err := readText(path)
	if err != nil {
		return nil, err
	}
	lines := csv.NewReader(bytes.NewReader(text))
	lines.FieldsPerRecord = len(columns)
	found := make(marks)
	for first := true; ; first = false {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		line, _ := lines.FieldPos(0)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %v", path, err)
		case first && !slices.Equal(fields, columns):
			return nil, fmt.Errorf("%s: line %d is %q, want %q", path, line, fields, columns)
		case first:
			continue
		}
		if err := found.addRow(fields); err != nil {
			return nil, fmt.Errorf("%s: line %d: %v", path, line, err)
		}
	}
}

func (m marks) addRow(fields []string) (err error) {
	var mark ratchet.StoredMark
	if mark.Key, err = tezos.ParsePublicKeyHash(fields[0]); err != nil {
		return fmt.Errorf("%q: %v", fields[0], err)
	}
	if mark.ChainID, err = tezos.ParseChain(fields[1]); err != nil {
		return fmt.Errorf("%q: %v", fields[1], err)
	}
	if mark.Kind, err = kindOf(fields[2]); err != nil {
		return err
	}
	if mark.Level, err = number(fields[3]); err != nil {
		return fmt.Errorf("level %v", err)
	}
	if mark.Round, err = number(fields[4]); err != nil {
		return fmt.Errorf("round %v", err)
	}
	if _, twice := m[mark.SlotKey()]; twice {
		return fmt.Errorf("a second %s mark of %s on %s", mark.Kind, mark.Key, mark.ChainID)
	}
	m.add(mark)
	return nil
}

// number reads a level or a round.
func number(text string) (int32, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q: want a number from 0 to 2147483647", text)
	}
	return int32(n), nil
}

// readText reads a file of text, whatever program has saved it.
func readText(path string) ([]byte, error) {
	data, _, err := durable.ReadFile(path, MaxFile)
	if err != nil {
		return nil, err
	}
	text, err := durable.Text(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	return text, nil
}
