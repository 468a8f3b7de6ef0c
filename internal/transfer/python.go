package transfer

// The Python GREP11 signer's database: a table of a row for each kind.

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// readPython reads the table signature. Its rows are named Kind_NetX…, or Kind_NetX…_tz…; those without a
// key are of key.
func readPython(path string, key tezos.PublicKeyHash) (marks, error) {
	rows, err := sqlite.ReadSignatures(context.Background(), path)
	if err != nil {
		return nil, err
	}
	found := make(marks)
	for _, row := range rows {
		mark, err := pythonMark(row, key)
		if err != nil {
			return nil, fmt.Errorf("%s: row %q: %v", path, row.Name, err)
		}
		if _, twice := found[mark.SlotKey()]; twice {
			return nil, fmt.Errorf("%s: row %q: a second %s mark of %s on %s", path, row.Name, mark.Kind, mark.Key, mark.ChainID)
		}
		found.add(mark)
	}
	return found, nil
}

func pythonMark(row sqlite.SignatureRow, key tezos.PublicKeyHash) (mark ratchet.StoredMark, err error) {
	parts := strings.Split(row.Name, "_")
	if len(parts) < 2 || len(parts) > 3 {
		return mark, errors.New("want Kind_chain, or Kind_chain_key")
	}
	if mark.Kind, err = kindOf(parts[0]); err != nil {
		return mark, err
	}
	if mark.ChainID, err = tezos.ParseChainID(parts[1]); err != nil {
		return mark, err
	}
	switch {
	case len(parts) == 3:
		if mark.Key, err = tezos.ParsePublicKeyHash(parts[2]); err != nil {
			return mark, err
		}
	case key == tezos.PublicKeyHash{}:
		return mark, errors.New("it names no key: tell whose it is with --key")
	default:
		mark.Key = key
	}
	if mark.Level, err = number(row.Level); err != nil {
		return mark, fmt.Errorf("lastblock %v", err)
	}
	if mark.Round, err = number(row.Round); err != nil {
		return mark, fmt.Errorf("lastround %v", err)
	}
	return mark, nil
}
