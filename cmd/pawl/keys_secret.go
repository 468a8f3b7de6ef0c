package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"pawl/internal/durable"
)

const (
	maxSecretSize     = 64 << 10 // bytes of a key file: a PEM with notes around it has a few thousand
	maxPassphraseSize = 1 << 10  // bytes
)

// secretSource is where a secret is read from. None can be given on the command line, where
// every user of the host could see it.
type secretSource struct {
	From string `default:"-" placeholder:"FILE" help:"File with the secret, or - for the standard input (default: ${default}). At a terminal it is asked for."`
}

// secretOnLine is the answer to a secret on the command line.
const secretOnLine = "a secret does not go on the command line, where others see it: use --from FILE or the " +
	"standard input"

// read reads the secret; the caller zeroes it.
func (c secretSource) read(ctx context.Context, s *streams, prompt string) ([]byte, error) {
	data, err := c.readRaw(ctx, s, prompt)
	if err != nil {
		return nil, err
	}
	text, err := durable.Text(data)
	if err != nil {
		clear(data)
		return nil, fmt.Errorf("the secret %w", err)
	}
	return text, nil
}

func (c secretSource) readRaw(ctx context.Context, s *streams, prompt string) ([]byte, error) {
	if c.From != "-" {
		return interruptible(ctx, func() ([]byte, error) { return c.readFile(s) })
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return askHidden(ctx, prompt, "name a file with --from")
	}
	return interruptible(ctx, func() ([]byte, error) { return readBounded(os.Stdin, maxSecretSize, "standard input") })
}

func (c secretSource) readFile(s *streams) ([]byte, error) {
	file, info, err := openSecret(c.From)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	if durable.Self().CheckSecret(c.From, info) != nil && info.Mode()&durable.OthersRead != 0 {
		s.notef("warning: mode %04o lets others read %s", info.Mode().Perm(), c.From)
	}
	return readBounded(file, maxSecretSize, "--from "+c.From)
}

// passphraseOf reads a passphrase file, which must be private, without the end of its line.
func passphraseOf(path string) ([]byte, error) {
	file, info, err := openSecret(path)
	if err != nil {
		return nil, fmt.Errorf("--passphrase-file: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	if err := durable.Self().CheckSecret(path, info); err != nil {
		return nil, fmt.Errorf("--passphrase-file %s: %w", path, err)
	}
	whole, err := readBounded(file, maxPassphraseSize, "--passphrase-file "+path)
	if err != nil {
		return nil, err
	}
	phrase, err := durable.Text(whole)
	if err != nil {
		clear(whole)
		return nil, fmt.Errorf("--passphrase-file %s %w", path, err)
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(phrase, []byte("\n")), []byte("\r")), nil
}

// openSecret opens a file. It may be a pipe, of a password manager for one, so the caller reads it
// within interruptible. The error does not quote the name, which may be the secret itself.
func openSecret(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if wrong, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, nil, fmt.Errorf("the file cannot be read: %w", wrong.Err)
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

// readBounded reads a secret of 1 to size bytes into one buffer. what names the source in an
// error.
func readBounded(r io.Reader, size int, what string) ([]byte, error) {
	data, err := durable.ReadAll(r, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, withoutPath(err))
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("%s: nothing in it", what)
	}
	return data, nil
}

// askHidden reads a line or a PEM from the terminal without echo.
func askHidden(ctx context.Context, prompt, otherwise string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, withHint(errors.New("there is no terminal to ask at"), "%s", otherwise)
	}
	defer tty.Close() //nolint:errcheck // nothing is to be kept
	fd := int(tty.Fd())
	show, err := hideTyping(fd)
	if err != nil {
		return nil, fmt.Errorf("the terminal: %w", err)
	}
	defer show()
	if _, err := io.WriteString(tty, prompt); err != nil {
		return nil, fmt.Errorf("the terminal: %w", err)
	}
	answer, err := interruptible(ctx, func() ([]byte, error) { return readAnswer(fd) })
	_, _ = io.WriteString(tty, "\n") // the one that was typed was not shown
	if errors.Is(err, io.EOF) {
		return nil, errors.New("nothing was typed")
	}
	return answer, err
}

// hideTyping turns the terminal's echo off until show. It also discards unread input, such as
// further lines of a paste, which a shell would run and remember.
func hideTyping(fd int) (show func(), err error) {
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	return func() {
		_ = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, before)
	}, unix.IoctlSetTermios(fd, unix.TCSETS, &hidden)
}

// readAnswer reads a line, or a PEM to its end, however a paste of it is cut into pieces.
func readAnswer(fd int) ([]byte, error) {
	line, err := term.ReadPassword(fd)
	if err != nil || !bytes.HasPrefix(line, []byte("-----BEGIN ")) {
		return line, err
	}
	answer := make([]byte, 0, maxSecretSize) // no copy stays behind
	for ; len(answer)+len(line) < maxSecretSize; line, err = term.ReadPassword(fd) {
		answer = append(append(answer, line...), '\n')
		if errors.Is(err, io.EOF) || endsKey(line) {
			return answer, nil
		}
		if err != nil {
			clear(answer)
			return nil, err
		}
		clear(line)
	}
	clear(answer)
	return nil, fmt.Errorf("more than %d bytes were typed", maxSecretSize)
}

// endsKey reports whether a line is the last of a PEM; OpenSSL writes parameters before the
// key.
func endsKey(line []byte) bool {
	return bytes.HasPrefix(line, []byte("-----END ")) && !bytes.Contains(line, []byte("PARAMETERS"))
}

// interruptible waits for a read that does not know ctx, such as that of a pipe. Input that
// comes after ctx was done is dropped.
func interruptible[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		data T
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := read()
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		var none T
		return none, errInterrupted
	}
}

var errInterrupted = errors.New("interrupted")
