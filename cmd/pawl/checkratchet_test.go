package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pawl/internal/config"
	"pawl/ratchet/sqlite"
)

// wants that a report has one finding with the status, subject and text.
func (r *checkReport) wants(t *testing.T, status checkStatus, subject, text string) {
	t.Helper()
	n := 0
	for _, f := range r.findings {
		if f.Status == status && strings.HasPrefix(f.Subject, subject) && strings.Contains(f.Text, text) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d findings %s %s with %q in %+v", n, status, subject, text, r.findings)
	}
}

// What answers at --admin need not be the daemon that holds the ratchet.
func TestCheckOfADaemon(t *testing.T) {
	t.Parallel()
	file, _ := checkedDemo(t, nil)
	cfg, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	one := cfg.Keys[:1]
	hash, other := one[0].PublicKey.Hash().String(), cfg.Keys[1].PublicKey.Hash().String()
	for name, test := range map[string]struct {
		keys   string // of /readyz
		status checkStatus
		text   string
	}{
		"ready":       {`"` + hash + `": {"ready": true}`, checkOK, "is ready with 1 key"},
		"not ready":   {`"` + hash + `": {"ready": false, "reason": "no HSM"}`, checkError, "not ready: no HSM"},
		"another":     {`"` + other + `": {"ready": true}`, checkWarning, "has other keys than keys.json"},
		"one more":    {`"` + hash + `": {"ready": true}, "` + other + `": {"ready": true}`, checkWarning, "has other keys than keys.json"},
		"without any": {``, checkWarning, "has other keys than keys.json"},
	} {
		admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ratchet" {
				_, _ = fmt.Fprint(w, `[]`)
				return
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintf(w, `{"keys": {%s}}`, test.keys)
		}))
		var r checkReport
		r.daemon(t.Context(), admin.Listener.Addr().String(), one)
		admin.Close()
		r.wants(t, test.status, "", test.text)
		holds := strings.Contains(fmt.Sprint(r.findings), "holds the ratchet, with")
		if ours := test.status != checkWarning; holds != ours || r.count(checkOK) > 2 {
			t.Errorf("%s: %+v", name, r.findings)
		}
	}
}

func TestCheckOfAFileSystemThatForgets(t *testing.T) {
	t.Parallel()
	var r checkReport
	r.filesystem("ratchet", sqlite.Examination{FileSystem: "tmpfs", Volatile: true})
	r.filesystem("ratchet", sqlite.Examination{FileSystem: "XFS"})
	r.wants(t, checkWarning, "ratchet", "is on tmpfs, which is gone with the host")
	r.wants(t, checkOK, "ratchet", "is on XFS")
}
