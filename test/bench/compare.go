package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"text/tabwriter"
	"time"
)

type compareCmd struct {
	Old      string         `arg:"" placeholder:"FILE" help:"Program of the older commit."`
	Pawl     string         `default:"bin/pawl" placeholder:"FILE" help:"Program of the newer one (default: ${default})."`
	Dir      string         `default:"bin/bench" placeholder:"DIR" help:"Folder on the disk to use (default: ${default})."`
	Requests int            `default:"20000" help:"Requests to each, at least (default: ${default})."`
	Time     time.Duration  `default:"500ms" help:"Time of a turn (default: ${default})."`
	Only     *regexp.Regexp `default:"^10 keys, 16 connections$" placeholder:"REGEXP" help:"Cells to compare (default: ${default})."`
}

// Run measures the same cells with both programs in turns and prints how the newer
// fares against the older.
func (c *compareCmd) Run(ctx context.Context) error {
	b, err := openBench(ctx, c.Dir)
	if err != nil {
		return err
	}
	if err = b.use(ctx, c.Pawl); err == nil {
		err = c.compare(ctx, b, os.Stdout)
	}
	return errors.Join(err, b.close())
}

func (c *compareCmd) compare(ctx context.Context, b *bench, out io.Writer) error {
	for _, cell := range chosen(c.Only) {
		cell.ceilings = nil
		pair, err := c.stands(ctx, b, cell.stand)
		if err != nil {
			return err
		}
		turns, err := c.turns(ctx, b, cell, pair)
		if err != nil {
			return err
		}
		if err := printComparison(out, cell.name, turns); err != nil {
			return err
		}
		if err := errors.Join(pair[0].pawl.stop(), pair[1].pawl.stop()); err != nil {
			return err
		}
	}
	return nil
}

// stands starts one of each program, with keys of its own.
func (c *compareCmd) stands(ctx context.Context, b *bench, name string) (pair [2]*stand, err error) {
	for _, p := range plans() {
		if p.name != name {
			continue
		}
		for i, program := range []string{c.Old, c.Pawl} {
			p.name, p.program = fmt.Sprintf("%s, %d", name, len(b.closers)+i), program
			if pair[i], err = b.stand(ctx, p); err != nil {
				return pair, err
			}
		}
	}
	return pair, nil
}

// turns has old and new alternate who is first.
func (c *compareCmd) turns(ctx context.Context, b *bench, cell cell, pair [2]*stand) (turns [2][]result, err error) {
	for n := 0; min(requests(turns[0]), requests(turns[1])) < c.Requests; n++ {
		for k := range pair {
			i := (n + k) % 2
			t := newTally()
			if err := b.measure(ctx, cell, pair[i], c.Time, t); err != nil {
				return turns, err
			}
			turns[i] = append(turns[i], t.result(cell.name))
		}
	}
	return turns, nil
}

func requests(turns []result) (n int) {
	for _, r := range turns {
		n += r.Took.Count
	}
	return n
}

// printComparison writes medians over the turns, and of the ratio of each turn to the
// one beside it its quartiles.
func printComparison(out io.Writer, cell string, turns [2][]result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(w, "%s\told\tnew\tnew/old\tquartiles\t\n", cell)
	for _, figure := range []struct {
		name string
		of   func(result) float64
	}{
		{"pawl CPU µs", func(r result) float64 { return r.Pawl }},
		{"card CPU µs", func(r result) float64 { return r.Card }},
		{"p50 µs", func(r result) float64 { return r.Took.P50 }},
		{"p99 µs", func(r result) float64 { return r.Took.P99 }},
		{"requests/s", func(r result) float64 { return r.Rate }},
	} {
		var olds, news, ratios []float64
		for i := range turns[0] {
			older, newer := figure.of(turns[0][i]), figure.of(turns[1][i])
			olds, news, ratios = append(olds, older), append(news, newer), append(ratios, newer/older)
		}
		_, _ = fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.3f\t%.3f – %.3f\t\n", figure.name,
			quartile(olds, 2), quartile(news, 2), quartile(ratios, 2), quartile(ratios, 1), quartile(ratios, 3))
	}
	_, _ = fmt.Fprintf(w, "%d turns, requests\t%d\t%d\t\t\t\n", len(turns[0]), requests(turns[0]), requests(turns[1]))
	return w.Flush()
}
