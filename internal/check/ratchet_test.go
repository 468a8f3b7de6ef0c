package check

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pawl/internal/config"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// wants that a report has one finding with the status, subject and text.
func (r *Report) wants(t *testing.T, status Status, subject, text string) {
	t.Helper()
	n := 0
	for _, f := range r.Findings {
		if f.Status == status && strings.HasPrefix(f.Subject, subject) && strings.Contains(f.Text, text) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d findings %s %s with %q in %+v", n, status, subject, text, r.Findings)
	}
}

// What answers at --admin need not be the daemon that holds the ratchet.
func TestCheckOfADaemon(t *testing.T) {
	t.Parallel()
	public, err := tezos.ParsePublicKey("p2pk66EnR4uFKpTmZj9z5Fg9J2J8KmLb7LCwZe5QPySs8JurcTP1PXM")
	if err != nil {
		t.Fatal(err)
	}
	one := []config.KeySpec{{PublicKey: public}}
	hash, other := public.Hash().String(), "tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z"
	for name, test := range map[string]struct {
		keys   string // of /readyz
		status Status
		text   string
	}{
		"ready":       {`"` + hash + `": {"ready": true}`, OK, "is ready with 1 key"},
		"not ready":   {`"` + hash + `": {"ready": false, "reason": "no HSM"}`, Error, "not ready: no HSM"},
		"another":     {`"` + other + `": {"ready": true}`, Warning, "has other keys than keys.json"},
		"one more":    {`"` + hash + `": {"ready": true}, "` + other + `": {"ready": true}`, Warning, "has other keys than keys.json"},
		"without any": {``, Warning, "has other keys than keys.json"},
	} {
		admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ratchet" {
				_, _ = fmt.Fprint(w, `{"marks": [], "registrations": []}`)
				return
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintf(w, `{"keys": {%s}}`, test.keys)
		}))
		var r Report
		r.daemon(t.Context(), admin.Listener.Addr().String(), "keys.json", one)
		admin.Close()
		r.wants(t, test.status, "", test.text)
		holds := strings.Contains(fmt.Sprint(r.Findings), "holds the ratchet, with")
		if ours := test.status != Warning; holds != ours || r.Count(OK) > 2 {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
}

func TestCheckOfAFileSystemThatForgets(t *testing.T) {
	t.Parallel()
	var r Report
	r.filesystem("ratchet", sqlite.Examination{FileSystem: "tmpfs", Volatile: true})
	r.filesystem("ratchet", sqlite.Examination{FileSystem: "XFS"})
	r.wants(t, Warning, "ratchet", "is on tmpfs, which is gone with the host")
	r.wants(t, OK, "ratchet", "is on XFS")
}
