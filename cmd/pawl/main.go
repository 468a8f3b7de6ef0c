// Command pawl is a Tezos remote signer whose keys never leave an HSM: it
// speaks the Octez remote-signer protocol, checks a policy and a durable high
// watermark, and has the HSM sign through GREP11.
//
// This package only ties the others together: it reads the command line, opens
// what the command needs, and turns errors into one line and an exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"google.golang.org/grpc/grpclog"

	"pawl/tezos"
)

const description = `A Tezos remote signer whose keys never leave the HSM.

Start with "pawl demo": it needs no HSM and no configuration.`

// commands is the command line.
type commands struct {
	Serve          serveCmd          `cmd:"" help:"Run the signer."`
	Demo           demoCmd           `cmd:"" help:"Try it out: a software card, three keys and the signer."`
	Createtezoskey createTezosKeyCmd `cmd:"" help:"Make a key in the HSM and print it."`
	Keys           keysCmd           `cmd:"" help:"Keys that exist: list them, bring them into the HSM, derive, inspect."`
	Ratchet        ratchetCmd        `cmd:"" help:"The high watermark: what was signed and may not be signed again."`
	Audit          auditCmd          `cmd:"" help:"The audit trail: what was signed, refused and changed."`
	Check          checkCmd          `cmd:"" help:"Check configuration, HSM, keys and ratchet."`
	Explain        explainCmd        `cmd:"" help:"Say what a payload is and what would become of it."`
	Softcard       softcardCmd       `cmd:"" help:"Run a GREP11 server in software. It is no HSM."`
	SoftcardKey    softcardKeyCmd    `cmd:"" help:"Change the master key of a software card."`
	Version        versionCmd        `cmd:"" help:"Print the versions and the protocols known."`
}

// exitCodes are those of most commands.
const exitCodes = "0 when it is done; 1 when it failed, with the reason on stderr; 2 for wrong usage, before " +
	"anything is touched"

// helpText is the long help of a command, with an example and its exit codes.
func helpText(text, example, exits string) string {
	return text + "\n\nExample:\n\n    " + example + "\n\nExit codes: " + exits + "."
}

// streams is where a command writes: results to out, all else to err.
type streams struct{ out, err io.Writer }

// printf writes results; one that cannot be written is an error of the command.
func (s *streams) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(s.out, format, args...)
	return err
}

// notef writes to the person at the terminal.
func (s *streams) notef(format string, args ...any) { _, _ = fmt.Fprintf(s.err, format+"\n", args...) }

func main() {
	muteLibraries()
	ctx := untilSignal(os.Stderr, os.Exit)
	os.Exit(report(os.Stderr, run(ctx, os.Args, os.Stdout, os.Stderr)))
}

// muteLibraries turns off what libraries print on stderr by themselves: gRPC and the client of
// net/http do so when a server misbehaves, and would wait for whoever reads it. Errors of calls say
// the same.
func muteLibraries() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	slog.SetDefault(slog.New(slog.DiscardHandler)) // and package log's
}

// run runs the command that args name until it is done or ctx is. args[0] is the name of the
// program, as in os.Args.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var cmds commands
	var helped bool // Exit is called for --help alone, and the parser goes on after it
	parser, err := kong.New(&cmds, kong.Name("pawl"), kong.Description(description),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&streams{stdout, stderr}))
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	parsed, err := parser.Parse(arguments(args))
	switch {
	case helped:
		return nil
	case err != nil:
		return usage(err, parser)
	}
	return parsed.Run()
}

// arguments adds the command that the program's name implies: installed as createtezoskey,
// pawl is that command. It also takes the two words for it that every other program knows: --version,
// and help with or without a command.
func arguments(args []string) []string {
	program, args := filepath.Base(args[0]), args[1:]
	switch {
	case program == "createtezoskey":
		return append([]string{"createtezoskey"}, args...)
	case len(args) == 1 && args[0] == "--version":
		return []string{"version"}
	case len(args) > 0 && args[0] == "help":
		return append(slices.Clone(args[1:]), "--help")
	}
	return args
}

// usage makes a parser's error a usage error that names the right help.
func usage(err error, parser *kong.Kong) error {
	command := parser.Model.Name
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		command = parse.Context.Selected().FullPath()
	}
	secret := command == "pawl keys import" || command == "pawl keys seed"
	if secret && strings.HasPrefix(err.Error(), "unexpected argument") {
		return &usageError{text: secretOnLine, help: command + " --help"} // and is not printed once more
	}
	return &usageError{text: tezos.Redact(err.Error()), help: command + " --help"}
}
