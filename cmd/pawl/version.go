package main

import (
	"runtime/debug"

	"github.com/mattn/go-sqlite3"
)

type versionCmd struct{}

// protocols are those whose payload layouts were read in the source of Octez. Payloads of
// another protocol are signed if their layout is the same, and refused otherwise.
const protocols = "Seoul (023), Tallinn (024), Ushuaia (025), Alpha"

// Run prints a line for each thing that a bug report should say.
func (versionCmd) Run(s *streams) error {
	version, goVersion := buildVersion()
	sqlite, _, _ := sqlite3.Version()
	return s.printf("pawl       %s\ngo         %s\nsqlite     %s\nprotocols  %s\n", version, goVersion, sqlite, protocols)
}

// buildVersion returns the module's version, or the commit it was built from, and the version
// of Go.
func buildVersion() (version, goVersion string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", "unknown"
	}
	version = info.Main.Version // holds the commit, unless that was left out of the build
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && (version == "" || version == "(devel)") {
			version = setting.Value
		}
	}
	if version == "" {
		version = "(devel)"
	}
	return version, info.GoVersion
}
