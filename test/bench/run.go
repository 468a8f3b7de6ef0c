package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

type runCmd struct {
	Pawl   string         `default:"bin/pawl" placeholder:"FILE" help:"Program to measure (default: ${default})."`
	Dir    string         `default:"bin/bench" placeholder:"DIR" help:"Folder on the disk to measure; the results stay there (default: ${default})."`
	Rounds int            `default:"12" help:"How often each cell has its turn, so that a slow minute of the machine meets all (default: ${default})."`
	Time   time.Duration  `default:"500ms" help:"Time of a cell in a round (default: ${default})."`
	Starts int            `default:"10" help:"How often pawl is started to measure that (default: ${default})."`
	Only   *regexp.Regexp `placeholder:"REGEXP" help:"Only the cells whose name matches."`

	URL   string   `placeholder:"URL" help:"Measure the signer that serves there instead."`
	Keys  []string `placeholder:"HASH,…" help:"Its keys, tz1, tz2 or tz3, which must be allowed to bake."`
	Level int32    `default:"1" placeholder:"LEVEL" help:"First level to ask it for (default: ${default})."`
	PID   int      `placeholder:"PID" help:"Its process, for CPU time and memory."`
}

// Validate finds flags that say nothing without each other.
func (c *runCmd) Validate() error {
	switch {
	case c.Rounds < 1 || c.Time <= 0 || c.Starts < 0:
		return errors.New("--rounds, --time and --starts must be positive")
	case (c.URL == "") != (len(c.Keys) == 0):
		return errors.New("--url and --keys belong together")
	case c.Level < 1:
		return errors.New("--level must be positive")
	}
	return nil
}

// Run measures all cells in turns, prints the tables and keeps them.
func (c *runCmd) Run(ctx context.Context) error {
	r := report{Time: time.Now()}
	b, err := openBench(ctx, c.Dir)
	if err != nil {
		return err
	}
	if c.URL != "" {
		err = c.measureOther(ctx, b, &r)
	} else {
		err = c.measurePawl(ctx, b, &r)
	}
	if err = errors.Join(err, b.close()); err != nil {
		return err
	}
	if err := r.print(os.Stdout); err != nil {
		return err
	}
	paths, err := r.keep(c.Dir)
	if err == nil {
		_, err = fmt.Fprintf(os.Stdout, "\nkept in %s\n", strings.Join(paths, " and "))
	}
	return err
}

func (c *runCmd) measurePawl(ctx context.Context, b *bench, r *report) error {
	if err := b.use(ctx, c.Pawl); err != nil {
		return err
	}
	if err := r.describe(c.Pawl, b.dir); err != nil {
		return err
	}
	if c.Starts > 0 {
		s, err := b.startups(ctx, 10, c.Starts)
		if err != nil {
			return err
		}
		r.Startups = append(r.Startups, s)
	}
	cells := chosen(c.Only)
	stands, err := b.stands(ctx, cells)
	if err != nil {
		return err
	}
	for _, s := range stands {
		r.Startups = append(r.Startups, startupOf(s))
	}
	if err := c.measure(ctx, b, r, cells, stands); err != nil {
		return err
	}
	r.Targets = r.targets()
	return nil
}

// measure gives each cell its turn in each round.
func (c *runCmd) measure(ctx context.Context, b *bench, r *report, cells []cell, stands map[string]*stand) error {
	rounds := make(map[string][]*tally)
	for round := range c.Rounds {
		for _, cell := range cells {
			_, _ = fmt.Fprintf(os.Stderr, "\rround %d of %d: %-40s", round+1, c.Rounds, cell.name)
			t := newTally()
			if err := b.measure(ctx, cell, stands[cell.stand], c.Time, t); err != nil {
				return err
			}
			rounds[cell.name] = append(rounds[cell.name], t)
		}
	}
	_, _ = fmt.Fprintln(os.Stderr)
	r.rounds = make(map[string][]result)
	for _, cell := range cells {
		r.Cells = append(r.Cells, merge(rounds[cell.name]).result(cell.name))
		for _, t := range rounds[cell.name] {
			r.rounds[cell.name] = append(r.rounds[cell.name], t.result(cell.name))
		}
	}
	return nil
}

// chosen are the cells whose names match; without a pattern all.
func chosen(only *regexp.Regexp) []cell {
	return slices.DeleteFunc(cells(), func(c cell) bool { return only != nil && !only.MatchString(c.name) })
}

// stands starts those that the cells need.
func (b *bench) stands(ctx context.Context, cells []cell) (map[string]*stand, error) {
	stands := make(map[string]*stand)
	for _, p := range plans() {
		if !slices.ContainsFunc(cells, func(c cell) bool { return c.stand == p.name }) {
			continue
		}
		s, err := b.stand(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		stands[p.name] = s
	}
	return stands, nil
}
