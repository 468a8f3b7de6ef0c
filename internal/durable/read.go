package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Errors of reading, to be tested for with errors.Is.
var (
	// ErrNotRegular is that of a folder, a pipe or a device where a file is wanted.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge is that of more bytes than the limit.
	ErrTooLarge = errors.New("too large")
)

// sizeError is ErrTooLarge with the limit.
type sizeError struct{ limit int }

func (e *sizeError) Error() string        { return fmt.Sprintf("larger than %d bytes", e.limit) }
func (e *sizeError) Is(target error) bool { return target == ErrTooLarge }

// ReadFile reads a regular file of at most limit bytes, and describes the file as it was
// when it was opened. It does not wait for the writer of a pipe: that is ErrNotRegular.
// Each error names the file.
func ReadFile(path string, limit int) ([]byte, fs.FileInfo, error) {
	file, info, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > limit {
		return nil, nil, fmt.Errorf("%s: %w", path, &sizeError{limit})
	}
	return data, info, nil
}

// ReadSecret reads a secret from a regular file of at most limit bytes. Who else may read it is
// not looked at: see ReadPrivate. No copy of the secret stays but the one it returns, which the
// caller clears. Each error names the file.
func ReadSecret(path string, limit int) ([]byte, error) {
	file, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	return readSecret(file, path, limit)
}

// ReadPrivate is ReadSecret for a file to which nobody but its owner has access, or root has lent
// to us; else the error is an *OpenError.
func ReadPrivate(path string, limit int) ([]byte, error) {
	file, info, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	if err := Self().CheckSecret(path, info); err != nil {
		return nil, err
	}
	return readSecret(file, path, limit)
}

func readSecret(file *os.File, path string, limit int) ([]byte, error) {
	data, err := ReadAll(file, limit)
	if errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, err
}

// CheckRegular returns an error that names the file if there is none at path, if we may not read it,
// or if it is not a regular one.
func CheckRegular(path string) error {
	file, _, err := openRegular(path)
	if err != nil {
		return err
	}
	return file.Close()
}

// openRegular opens a regular file without waiting: the opening of a pipe would wait for its
// writer, and that of a device for the device.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

// ReadAll reads all of r into one buffer, so that no copy of a secret stays elsewhere. More
// than limit bytes are ErrTooLarge. On an error nothing of the secret stays.
func ReadAll(r io.Reader, limit int) ([]byte, error) {
	buffer := make([]byte, limit+1)
	n, err := io.ReadFull(r, buffer)
	switch {
	case err == nil:
		clear(buffer)
		return nil, &sizeError{limit}
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		clear(buffer)
		return nil, err
	}
	return buffer[:n], nil
}
