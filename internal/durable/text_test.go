package durable_test

import (
	"errors"
	"testing"

	"pawl/internal/durable"
)

func TestText(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"": "", "{": "{", "{}": "{}", "\xef\xbb\xbf{}\r\n": "{}\r\n", "\xef\xbb\xbf": "", "\x00\x00": "\x00\x00", "\x30\x82": "\x30\x82",
	} {
		if got, err := durable.Text([]byte(data)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v, want %q", data, got, err, want)
		}
	}
	for _, data := range []string{"\xff\xfe{\x00}\x00", "\xfe\xff\x00{\x00}", "{\x00}\x00", "\x00{\x00}"} {
		if got, err := durable.Text([]byte(data)); got != nil || !errors.Is(err, durable.ErrUTF16) {
			t.Errorf("%q: %q, %v, want ErrUTF16", data, got, err)
		}
	}
}
