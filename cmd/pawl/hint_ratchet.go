package main

// The way out of a ratchet that is missing, refused, or does not know a key, as commands that work.

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"pawl/internal/check"
	"pawl/internal/config"
	"pawl/internal/daemon"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// withCommands adds a remedy that ends in commands.
func withCommands(err error, text string, commands []string) error {
	return withHint(err, "%s:\n  %s", text, strings.Join(commands, "\n  "))
}

// withNewRatchet adds the commands that lead out, if err says that the ratchet at path cannot be opened
// or made. The keys are those of the keys.json at configPath, if it can be read.
func withNewRatchet(err error, configPath, path string) error {
	_, leftover := errors.AsType[*sqlite.LeftoverError](err)
	if !leftover && !errors.Is(err, ratchet.ErrMissing) && !errors.Is(err, ratchet.ErrSuspect) {
		return err
	}
	return withCommands(err, check.NewRatchet, newRatchetCommands(configPath, path))
}

// newRatchetCommands puts a new ratchet at path.
func newRatchetCommands(configPath, path string) []string {
	cfg, _, err := config.Load(configPath)
	if err != nil {
		return check.NewRatchetCommands("", path, nil)
	}
	keys := keysOf(cfg, path)
	if keys == nil && !samePath(cfg.DB, path) {
		configPath = "" // it does not name this ratchet
	}
	return check.NewRatchetCommands(configPath, path, keys)
}

// withStartCommands adds the commands after which a daemon starts that did not because of its ratchet.
func withStartCommands(err error, configPath string, keys []config.KeySpec) error {
	if failed, ok := errors.AsType[*daemon.RatchetError](err); ok {
		return withNewRatchet(err, configPath, failed.Path)
	}
	unregistered, ok := errors.AsType[*daemon.UnregisteredError](err)
	if !ok {
		return err
	}
	keys = slices.DeleteFunc(slices.Clone(keys), func(key config.KeySpec) bool {
		return !slices.Contains(unregistered.Keys, key.PublicKey.Hash())
	})
	return withCommands(err, "with N above the head of the chain, and above all that the key ever signed",
		check.RegisterCommands(configPath, keys))
}

func samePath(a, b string) bool {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a == b
}

// keysOf returns the keys whose ratchet is at path.
func keysOf(cfg *config.Config, path string) (keys []config.KeySpec) {
	for _, key := range cfg.Keys {
		if samePath(key.DB, path) {
			keys = append(keys, key)
		}
	}
	return keys
}

// withRestart adds what to do about a daemon that holds the ratchet: command works once it is stopped.
func withRestart(err error, command string) error {
	locked, ok := errors.AsType[*sqlite.LockedError](err)
	if !ok || locked.PID == 0 {
		return err
	}
	return withCommands(err, "if that is pawl, and start it again afterwards",
		[]string{fmt.Sprintf("kill -TERM %d", locked.PID), command})
}
