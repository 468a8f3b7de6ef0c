package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
)

// Severity says what a Finding means for the start of the daemon.
type Severity uint8

// The severities. Parse refuses a file with an Invalid finding; the daemon does not start with
// any but warnings.
const (
	Warning    Severity = iota + 1 // reported at start
	Unopenable                     // something that keys.json points at, or should point at, is missing or bad
	Invalid                        // not a keys.json that pawl understands
)

// Code is what a Finding is about, for programs that must tell them apart.
type Code uint8

// The codes.
const (
	Other        Code = iota
	ModeOpen          // a file or folder is open to others
	BadBlob           // secret_key or secret_key_file holds no readable key blob
	BadNextBlob       // secret_key_next does not
	NoOperations      // a policy names no operations, so all are refused
	BadNodeURL        // node_url is no address of a node
)

// Finding is one remark on keys.json: where it stands and what to do.
type Finding struct {
	Severity Severity
	Code     Code
	Path     string // e.g. keys.tz3….policy.voting[0]; empty for the file as a whole
	Text     string
}

// String is the finding on one line.
func (f Finding) String() string {
	if f.Path == "" {
		return f.Text
	}
	return f.Path + ": " + f.Text
}

// report collects findings while keys.json is read.
type report struct {
	dir        string // relative paths count from here
	findings   []Finding
	wrappingID map[[16]byte]bool // of the key blobs
}

func (r *report) warn(path, format string, args ...any) {
	r.add(Warning, Other, path, format, args...)
}

func (r *report) unopenable(path, format string, args ...any) {
	r.add(Unopenable, Other, path, format, args...)
}

func (r *report) invalid(path, format string, args ...any) {
	r.add(Invalid, Other, path, format, args...)
}

func (r *report) add(severity Severity, code Code, path, format string, args ...any) {
	r.findings = append(r.findings, Finding{severity, code, path, fmt.Sprintf(format, args...)})
}

// MaxShown is how many findings are worth showing: whoever reads them mends those first.
const MaxShown = 50

// Shown returns the first MaxShown findings, and how many more there are.
func Shown(findings []Finding) (shown []Finding, more int) {
	n := min(len(findings), MaxShown)
	return findings[:n], len(findings) - n
}

// said reports whether there is a finding of path already.
func (r *report) said(path string) bool {
	return slices.ContainsFunc(r.findings, func(f Finding) bool { return f.Path == path })
}

// Refusal returns an error with the first finding of at least the severity, or nil if there is
// none.
func Refusal(findings []Finding, atLeast Severity) error {
	var first string
	more := -1
	for _, f := range findings {
		if f.Severity < atLeast {
			continue
		}
		if more++; more == 0 {
			first = f.String()
		}
	}
	switch {
	case more < 0:
		return nil
	case more == 0:
		return errors.New(first)
	}
	return fmt.Errorf("%s (and %d more)", first, more)
}

// object passes each member of an object to the function of its name. A name without a
// function, a name that occurs twice, and two names that differ only in case are invalid.
func (r *report) object(v value, fields map[string]func(value)) {
	r.eachMember(v, func(name string, child value) {
		if read, known := fields[name]; known {
			read(child)
			return
		}
		r.invalid(child.path, "unknown name")
	})
}

// eachMember calls do for each member of an object. Names that differ only in case are
// invalid.
func (r *report) eachMember(v value, do func(name string, child value)) {
	if !v.object {
		r.invalid(v.path, "must be an object")
		return
	}
	seen := make(map[string]string, len(v.members))
	for _, m := range v.members {
		folded := strings.ToLower(m.name)
		switch other, double := seen[folded]; {
		case !double:
			seen[folded] = m.name
			do(m.name, m.value)
		case other == m.name:
			r.invalid(m.value.path, "occurs twice")
		default:
			r.invalid(m.value.path, "differs from %s only in case", quote(other))
		}
	}
}

// eachString calls do for the items of a list of strings.
func (r *report) eachString(v value, do func(path, item string)) {
	if !v.array {
		r.invalid(v.path, "must be a list")
		return
	}
	for _, item := range v.items {
		if s := r.text(item); s != "" {
			do(item.path, s)
		}
	}
}

// text returns a string that is not empty, or "" with a finding. What cannot be seen in it, or at
// its ends, was not meant.
func (r *report) text(v value) string {
	s := r.anyText(v)
	switch {
	case strings.TrimSpace(s) != s:
		r.invalid(v.path, "%s begins or ends with a blank", quote(s))
	case strings.ContainsFunc(s, invisible):
		r.invalid(v.path, "%s has a control character or an invisible one", quote(s))
	default:
		return s
	}
	return ""
}

// anyText is text whose blanks do no harm.
func (r *report) anyText(v value) string {
	s, ok := v.scalar.(string)
	if !ok || s == "" {
		r.invalid(v.path, "must be a string that is not empty")
	}
	return s
}

// invisible reports whether r is a control character, or another that no editor shows.
func invisible(r rune) bool { return !unicode.IsPrint(r) }

// file returns a path, made absolute or relative to the working folder.
func (r *report) file(v value) string {
	s := r.text(v)
	if s == "" || filepath.IsAbs(s) {
		return s
	}
	return filepath.Join(r.dir, s)
}

// flag returns true, false, 1 or 0.
func (r *report) flag(v value) bool {
	switch v.scalar {
	case true, json.Number("1"):
		return true
	case false, json.Number("0"):
		return false
	}
	r.invalid(v.path, "must be true or false")
	return false
}

// positive returns a whole number from 1 to 2^31−1.
func (r *report) positive(v value) int32 { return r.whole(v, 1) }

// whole returns a whole number from least to 2^31−1.
func (r *report) whole(v value, least int64) int32 {
	n, _ := v.scalar.(json.Number)
	i, err := strconv.ParseInt(n.String(), 10, 32)
	if err != nil || i < least {
		r.invalid(v.path, "must be a whole number from %d to %d", least, math.MaxInt32)
		return 0
	}
	return int32(i)
}

func (r *report) ignored(v value) { r.warn(v.path, "ignored: it has no meaning here") }

// checkBlob reports what the clear header of a key blob shows to be wrong.
func (r *report) checkBlob(path string, blob ep11.Blob) {
	header, err := blob.Header()
	if err != nil {
		r.add(Unopenable, BadBlob, path, "%v", err)
		return
	}
	if header.Extractable {
		r.warn(path, "the key is extractable: it can leave the HSM")
	}
	if header.SessionBound {
		r.warn(path, "the key is bound to a login session of the HSM: it is lost when that session ends")
	}
	if r.wrappingID == nil {
		r.wrappingID = make(map[[16]byte]bool)
	}
	r.wrappingID[header.WrappingKeyID] = true
}

// checkNext warns of a next blob that cannot be the key's blob under another master key, if
// both are known.
func (r *report) checkNext(path string, key KeySpec) {
	if key.Blob == nil || key.NextBlob == nil {
		return
	}
	if err := grep11.CheckRewrapped(key.Blob, key.NextBlob); err != nil {
		r.warn(path, "%v: run `pawl keys rewrap --promote` if the new master key is finalised, else `pawl keys rewrap`", err)
	}
}

// checkWrappingKeys warns of blobs that no single server can use.
func (r *report) checkWrappingKeys() {
	if len(r.wrappingID) > 1 {
		r.warn("keys", "the key blobs are wrapped by %d master keys; one server has one", len(r.wrappingID))
	}
}
