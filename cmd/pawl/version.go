package main

import (
	"runtime/debug"

	"github.com/mattn/go-sqlite3"
)

type versionCmd struct{}

// protocols are those whose payloads were read in the source of Octez. Payloads
// of another protocol are signed if their layout is the same, else refused.
const protocols = "Seoul (023), Tallinn (024), Ushuaia (025), Alpha"

// Run prints a line for each thing that a bug report should say.
func (versionCmd) Run(s *streams) error {
	version, goVersion := buildVersion()
	sqlite, _, _ := sqlite3.Version()
	return s.printf("pawl       %s\ngo         %s\nsqlite     %s\nprotocols  %s\n", version, goVersion, sqlite, protocols)
}

// buildVersion is the module's version with the commit it was built from, and
// the version of Go.
func buildVersion() (version, goVersion string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", "unknown"
	}
	version = info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			version += " " + setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			version += " modified"
		}
	}
	return version, info.GoVersion
}
