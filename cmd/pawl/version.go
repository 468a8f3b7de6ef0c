package main

import (
	_ "embed" // archive.txt
	"runtime/debug"
	"strings"

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

// stamp is the version that the build was given: make VERSION=…, or -ldflags "-X main.stamp=…". An
// image is built without a repository to ask.
var stamp string

// archive is the commit of a source archive, which git archive writes there (gitattributes(5),
// export-subst), and begins with $ in a repository.
//
//go:embed archive.txt
var archive string

// buildVersion returns the version of pawl, or the commit that it was built from, and the version
// of Go.
func buildVersion() (version, goVersion string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versionOf(stamp, "", archive), "unknown"
	}
	known := info.Main.Version // holds the commit, unless that was left out of the build
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && (known == "" || known == noVersion) {
			known = setting.Value
		}
	}
	return versionOf(stamp, known, archive), info.GoVersion
}

// noVersion is Go's word for a module of which it knows no version.
const noVersion = "(devel)"

// versionOf chooses between what the build was given, what Go knows, and the commit of an archive.
func versionOf(stamp, known, archive string) string {
	archive = strings.TrimSpace(archive)
	switch {
	case stamp != "":
		return stamp
	case known != "" && known != noVersion:
		return known
	case archive != "" && archive[0] != '$':
		return archive
	}
	return noVersion
}
