package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pawl/internal/config"
	"pawl/ratchet/sqlite"
)

// NewRatchet is what a person must know who follows NewRatchetCommands.
const NewRatchet = "a new ratchet knows no mark: register each key that may bake, with N above the head of the chain " +
	"and above all that the key ever signed"

// NewRatchetCommands returns the commands that put a new ratchet in the place of the one at path, which
// is missing or refused, and register the keys that may bake. Only N is for a person to fill in. Keys
// are all of the keys.json at configPath that use this ratchet; configPath is "" if none names it.
func NewRatchetCommands(configPath, path string, keys []config.KeySpec) (commands []string) {
	if left := sqlite.Leftovers(path); left != nil {
		lost := Quoted(freeName(filepath.Join(filepath.Dir(path), "lost")))
		commands = append(commands, fmt.Sprintf("mkdir %s && mv %s %s", lost, Quoted(left...), lost))
	}
	commands = append(commands, "pawl ratchet init "+Quoted(path))
	if configPath == "" {
		return append(commands, fmt.Sprintf("pawl ratchet register PKH --chain %s --from-level N --db %s", mainnet,
			Quoted(path)))
	}
	return append(commands, RegisterCommands(configPath, keys)...)
}

// mainnet is the chain that a command names when the policy of the key names none.
const mainnet = "NetXdQprcVkpaWU"

// RegisterCommands returns a command for each key that may bake and each chain of its policy, or for
// mainnet. Only N is for a person to fill in.
func RegisterCommands(configPath string, keys []config.KeySpec) (commands []string) {
	for _, key := range keys {
		if !key.Policy.Baking {
			continue
		}
		chains := []string{mainnet}
		if len(key.Policy.Chains) > 0 {
			chains = nil
			for _, chain := range key.Policy.Chains {
				chains = append(chains, chain.String())
			}
		}
		for _, chain := range chains {
			commands = append(commands, Command(configPath, "pawl ratchet register %v --chain %s --from-level N",
				key.PublicKey.Hash(), chain))
		}
	}
	return commands
}

// Command returns a command with --config, unless the file is the one that it takes by itself.
func Command(configPath, format string, args ...any) string {
	command := fmt.Sprintf(format, args...)
	if filepath.Clean(configPath) == "keys.json" {
		return command
	}
	return command + " --config " + Quoted(configPath)
}

// freeName returns path, or path with a number, such that nothing has that name.
func freeName(path string) string {
	name := path
	for n := 2; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) || n > 1000 {
			return name
		}
		name = fmt.Sprintf("%s-%d", path, n)
	}
}

// plain matches what a shell takes as it stands.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=-]+$`)

// Quoted returns words for a shell.
func Quoted(words ...string) string {
	words = slices.Clone(words)
	for i, word := range words {
		if !plain.MatchString(word) {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
