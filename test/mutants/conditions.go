package main

import (
	"embed"
	"fmt"
	"path"
	"strings"
)

// conditionFiles go through the sign path line by line. Each entry takes a condition or a statement of a
// file out, or turns it round, and says which test of the file's own package notices it:
//
//	== signer/try.go
//	- 	case fault == hsm.Rejected:
//	+ 	case fault == hsm.Rejected && false:
//	= TestAgain
//
// If no test can notice it, the entry ends with "~" and the reason. Lines that begin with # are
// headings.
//
//go:embed conditions/*.txt
var conditionFiles embed.FS

// equivalent is a sabotage that changes nothing that a test could see, and why.
type equivalent struct {
	sabotage
	why string
}

// conditions returns the entries of all files: those that a test must catch, and those that none can.
func conditions() (all []sabotage, spared []equivalent, err error) {
	entries, err := conditionFiles.ReadDir("conditions")
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		text, err := conditionFiles.ReadFile(path.Join("conditions", entry.Name()))
		if err != nil {
			return nil, nil, err
		}
		caught, equal, err := parseConditions(string(text))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %v", entry.Name(), err)
		}
		all, spared = append(all, caught...), append(spared, equal...)
	}
	return all, spared, nil
}

// parseConditions reads one file of entries.
func parseConditions(text string) (all []sabotage, spared []equivalent, err error) {
	var file string
	var from, to []string
	names := make(map[string]int)
	n := 0
	for line := range strings.Lines(text) {
		n++
		mark, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch mark {
		case "", "#":
		case "==":
			file = rest
		case "-":
			from = append(from, rest)
		case "+":
			to = append(to, rest)
		case "=", "~":
			if file == "" || rest == "" || len(from) == 0 || len(to) == 0 {
				return nil, nil, fmt.Errorf("line %d: an entry is not whole", n)
			}
			s := condition(file, from, to)
			if names[s.name]++; names[s.name] > 1 {
				s.name += fmt.Sprintf(" (%d)", names[s.name])
			}
			if from, to = nil, nil; mark == "~" {
				spared = append(spared, equivalent{s, rest})
				continue
			}
			s.test = rest
			all = append(all, s)
		default:
			return nil, nil, fmt.Errorf("line %d begins with %q", n, mark)
		}
	}
	if len(from)+len(to) > 0 {
		return nil, nil, fmt.Errorf("the last entry has no end")
	}
	return all, spared, nil
}

// condition makes the sabotage of an entry. Its name is the file and the first line that changes; a
// number tells entries with the same line apart.
func condition(file string, from, to []string) sabotage {
	changed := to[0]
	for i, line := range to {
		if i >= len(from) || line != from[i] {
			changed = line
			break
		}
	}
	return sabotage{
		name: file + ": " + strings.Join(strings.Fields(changed), " "),
		file: file,
		old:  strings.Join(from, "\n"),
		new:  strings.Join(to, "\n"),
		pkg:  "./" + path.Dir(file),
	}
}
