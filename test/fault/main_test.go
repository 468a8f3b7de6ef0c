// Package fault_test breaks what pawl stands on, for real, and judges all that ever
// left it: processes killed, power cut, disks full or lying, an HSM that fails or
// answers wrongly, floods. Run alone each test is short; `make fault` gives them time.
package fault_test

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var (
	campaignTime = flag.Duration("for", 0, "length of the campaign; 0 is the short form, which does each thing a few times")
	campaignSeed = flag.Uint64("seed", 0, "seed of all that is chosen at random; 0 chooses one. The moments of kills are the scheduler's all the same")
	reportPath   = flag.String("report", "", "file to write the report to")
)

// TestMain prints the one line at the end, and writes the report.
func TestMain(m *testing.M) {
	flag.Parse()
	if *campaignSeed == 0 {
		*campaignSeed = rand.Uint64()
	}
	var err error
	if programs.dir, err = os.MkdirTemp("", "pawl-fault"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	witnesses := filepath.Join(programs.dir, "run")
	if err := errors.Join(os.Mkdir(witnesses, 0o700), os.Setenv("RUNTIME_DIRECTORY", witnesses)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	began := time.Now()
	code := m.Run()
	_ = os.RemoveAll(programs.dir)
	fmt.Println(total.line())
	if *reportPath != "" {
		if err := total.write(*reportPath, time.Since(began)); err != nil {
			fmt.Fprintln(os.Stderr, "the report:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// part is one of the campaign, with the share of its time that it may take. Two run
// at a time.
type part struct {
	name  string
	share float64
}

// The parts.
var (
	partLoad     = part{"load and abuse", 0.1}
	partKill     = part{"kill", 0.8}
	partPowerCut = part{"power cut", 0.5}
	partHSM      = part{"HSM", 0.2}
	partDisk     = part{"disk", 0.1}
	partProcess  = part{"clock and process", 0.1}
	partModel    = part{"model", 0.1}
	partAround   = part{"around", 0.1}
)

// random is the part's own generator: what it chooses does not depend on the others.
func (p part) random() *rand.Rand {
	name := fnv.New64a()
	_, _ = name.Write([]byte(p.name))
	return rand.New(rand.NewPCG(*campaignSeed, name.Sum64()))
}

// goesOn reports whether a part that has done so much does more: until it did least, and
// until its share of the campaign is over.
func (p part) goesOn(began time.Time, done, least int) bool {
	return done < least || time.Since(began) < time.Duration(p.share*float64(*campaignTime))
}
