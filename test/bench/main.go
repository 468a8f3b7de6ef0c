// Command bench measures pawl from outside, as a baker meets it: pawl, a software
// card behind mutual TLS and this load are processes of their own, the ratchet
// lies on a real disk, and every signature is asked for over HTTP.
//
// It guarantees that what pawl is compared with (one fdatasync, one commit, one
// SignSingle, one verification, one HTTP exchange with a server that only echoes)
// is measured in the same run and in turns with it, for the machines that run it
// are shared and noisy, and that the answers it counts are signatures: of each
// connection the last ones are verified.
//
// It does not measure an HSM: the card is software and takes its CPU time from
// the same machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Run     runCmd     `cmd:"" default:"withargs" help:"Measure pawl, or with --url any other signer."`
	Compare compareCmd `cmd:"" help:"Measure the CPU time of two pawls in turns."`
	Echo    echoCmd    `cmd:"" hidden:"" help:"Answer every request with its own body: the cost of HTTP alone."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var cmds commands
	parser, err := kong.New(&cmds, kong.Name("bench"), kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return err
	}
	return parsed.Run()
}
