package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table prints columns; flush returns the first error of the writer.
type table struct {
	out    io.Writer
	writer *tabwriter.Writer
}

// row adds a name and its value.
func (t *table) row(name, format string, args ...any) {
	t.cells(name, fmt.Sprintf(format, args...))
}

// cells adds a row of cells.
func (t *table) cells(cells ...string) {
	if t.writer == nil {
		t.writer = tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	}
	fmt.Fprintln(t.writer, strings.Join(cells, "\t")) //nolint:errcheck // flush returns it
}

func (t *table) flush() error {
	if t.writer == nil {
		return nil
	}
	return t.writer.Flush()
}
