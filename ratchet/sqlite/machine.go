package sqlite

// Which machine this is.

import (
	"encoding/hex"
	"os"
	"strings"

	"golang.org/x/crypto/blake2b"
)

// Machine returns a digest of the machine's id, of which there is one for each installation of an
// operating system (machine-id(5)); "" where there is none, as in most containers. The id itself should
// not be told.
func Machine() string {
	id, err := os.ReadFile("/etc/machine-id")
	text := strings.TrimSpace(string(id))
	if err != nil || len(text) != 32 {
		return ""
	}
	sum := blake2b.Sum256([]byte("pawl ratchet " + text))
	return hex.EncodeToString(sum[:16])
}
