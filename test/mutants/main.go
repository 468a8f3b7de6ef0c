// Command mutants proves that the tests protect the safety rules: it applies
// one-line sabotages to a copy of the project, one at a time, and requires that
// the named test of each fails.
//
// It guarantees that a sabotage which changes nothing, does not compile or hangs
// is reported as broken and never counted as caught, and that each named test
// ran and passed before anything was changed. The working tree itself is only
// read.
//
// Exit code 0: every sabotage was caught. 1: one survived, is broken, or a named
// test fails without it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pattern := flag.String("run", "", "apply only the sabotages whose name matches this `regexp`")
	list := flag.Bool("list", false, "only list the sabotages")
	flag.Parse()
	if err := run(ctx, os.Stdout, *pattern, *list); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "mutants: error: %v\n", err)
		os.Exit(1)
	}
}

// run applies the sabotages that pattern names and prints a line for each.
func run(ctx context.Context, out io.Writer, pattern string, list bool) error {
	all, err := sabotages()
	if err != nil {
		return err
	}
	chosen, err := choose(all, pattern)
	if err != nil {
		return err
	}
	if list {
		return printList(out, chosen)
	}
	trees, err := copyTrees(ctx, runtime.NumCPU())
	if err != nil {
		return err
	}
	defer removeTrees(trees)
	if err := trees[0].baseline(ctx, chosen); err != nil {
		return err
	}
	return report(out, sabotageAll(ctx, trees, chosen))
}

// choose returns the sabotages whose name matches pattern.
func choose(all []sabotage, pattern string) ([]sabotage, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-run: %v", err)
	}
	var chosen []sabotage
	for _, s := range all {
		if re.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-run %q names no sabotage: see -list", pattern)
	}
	return chosen, nil
}

func printList(out io.Writer, chosen []sabotage) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range chosen {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s %s\n", s.name, s.file, s.pkg, s.test)
	}
	return w.Flush()
}

// result is what became of a sabotage.
type result struct {
	sabotage
	verdict verdict
	output  string
	elapsed time.Duration
	err     error // of the tree, not of the test
}

// sabotageAll tries each sabotage, as many at once as there are trees, and gives
// the results in the order of chosen.
func sabotageAll(ctx context.Context, trees []*tree, chosen []sabotage) iter.Seq[result] {
	work := make(chan int, len(chosen))
	results := make([]chan result, len(chosen))
	for i := range chosen {
		work <- i
		results[i] = make(chan result, 1)
	}
	close(work)
	for _, t := range trees {
		go func() {
			for i := range work {
				start := time.Now()
				r := result{sabotage: chosen[i]}
				r.verdict, r.output, r.err = t.try(ctx, chosen[i])
				r.elapsed = time.Since(start)
				results[i] <- r
			}
		}()
	}
	return func(yield func(result) bool) {
		for _, done := range results {
			if !yield(<-done) {
				return
			}
		}
	}
}

// report prints a line for each result. Its error is nil if all were caught.
func report(out io.Writer, results iter.Seq[result]) error {
	var caught, failed int
	for r := range results {
		if r.err != nil {
			return fmt.Errorf("%s: %w", r.name, r.err)
		}
		_, _ = fmt.Fprintf(out, "%-9s %-26s %s %s (%.1f s)\n", r.verdict, r.name, r.pkg, r.test, r.elapsed.Seconds())
		if r.verdict == redTest {
			caught++
			continue
		}
		failed++
		_, _ = fmt.Fprintf(out, "\t%s:\n\t- %s\n\t+ %s\n%s\n", r.file, r.old, r.new, indent(r.output))
	}
	_, _ = fmt.Fprintf(out, "%d passed, %d failed\n", caught, failed)
	if failed > 0 {
		return fmt.Errorf("%d of %d sabotages were not caught", failed, caught+failed)
	}
	return nil
}

// indent shows the first lines of a test's output that tell of no success.
func indent(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- PASS") {
			continue
		}
		if lines = append(lines, "\t| "+strings.TrimRight(line, "\n")); len(lines) == 25 {
			break
		}
	}
	return strings.Join(lines, "\n")
}
