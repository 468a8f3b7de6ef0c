package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"pawl/internal/config"
)

// defaultConfig is the keys.json of commands that work without one.
const defaultConfig = "./keys.json"

// loadConfig reads keys.json. It fails only on what cannot be read at all; other findings are
// reported when the daemon is opened.
func loadConfig(path string) (*config.Config, error) {
	cfg, _, err := loadFindings(path)
	return cfg, err
}

// loadFindings is loadConfig, with every finding in the file itself.
func loadFindings(path string) (*config.Config, []config.Finding, error) {
	cfg, findings, err := config.Load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, withHint(fmt.Errorf("%s does not exist", path),
			"name another with --config, copy keys.json.example, or try `pawl demo`")
	case err != nil:
		return nil, nil, unreadableConfig(path, findings, err)
	}
	return cfg, findings, nil
}

// unreadableConfig returns why the file at path is not a keys.json.
func unreadableConfig(path string, findings []config.Finding, err error) error {
	if len(findings) > 0 {
		return fatalFindings(path, findings, config.Invalid, err)
	}
	if e, ok := errors.AsType[*config.FileError](err); ok {
		return &config.FileError{Path: path, Err: e.Err} // Parse knows no path
	}
	return err
}

// fatalFindings returns the findings of at least that severity, or err if there are none.
func fatalFindings(path string, findings []config.Finding, atLeast config.Severity, err error) error {
	fatal := slices.DeleteFunc(slices.Clone(findings), func(f config.Finding) bool { return f.Severity < atLeast })
	if len(fatal) == 0 {
		return fmt.Errorf("%s: %w", path, err)
	}
	return &findingsError{file: path, findings: fatal}
}

// ratchetPaths lists the ratchets named in the keys.json at path, each once.
func ratchetPaths(path string) ([]string, error) {
	cfg, err := loadConfig(path)
	if err != nil {
		return nil, err
	}
	paths := []string{cfg.DB}
	for _, key := range cfg.Keys {
		paths = append(paths, key.DB)
	}
	slices.Sort(paths)
	paths = slices.DeleteFunc(slices.Compact(paths), func(p string) bool { return p == "" })
	if len(paths) == 0 {
		return nil, withHint(fmt.Errorf("%s names no ratchet", path), `add a line such as "db": "ratchet.db"`)
	}
	return paths, nil
}
