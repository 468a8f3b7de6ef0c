package durable

import (
	"bytes"
	"errors"
)

// ErrUTF16 is the error of Text for the text that Windows calls Unicode.
var ErrUTF16 = errors.New("is UTF-16 text: save it as UTF-8")

// byteOrderMark is what some editors write before UTF-8 text (The Unicode Standard, section 23.8).
const byteOrderMark = "\xef\xbb\xbf"

// Text returns the text of a file without the byte order mark before it. The slice is part of
// data. The error is ErrUTF16 for UTF-16, with its own byte order mark or without: every second
// byte of ASCII is zero there.
func Text(data []byte) ([]byte, error) {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(data, []byte(mark)) {
			return nil, ErrUTF16
		}
	}
	if len(data) >= 2 && (data[0] == 0) != (data[1] == 0) {
		return nil, ErrUTF16
	}
	return bytes.TrimPrefix(data, []byte(byteOrderMark)), nil
}
