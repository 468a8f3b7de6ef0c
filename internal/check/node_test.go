package check

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pawl/internal/config"
	"pawl/internal/node"
	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/server"
	"pawl/tezos"
)

// headLevel is where the chain of the tests is.
const headLevel = 1000

// serveNode is a node whose head is at headLevel, since now. It calls asked before it answers.
func serveNode(t *testing.T, asked func()) (url, subject string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked()
		_, _ = fmt.Fprintf(w, `{"chain_id":%q,"level":%d,"timestamp":%q}`, ratchettest.Mainnet, headLevel,
			time.Now().UTC().Format(time.RFC3339))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, "node " + srv.Listener.Addr().String()
}

// signBlock raises the mark for blocks of a ratchet that nobody has open.
func signBlock(t *testing.T, path string, level int32) {
	t.Helper()
	db, err := ratchettest.OpenDB(t.Context(), path, ratchettest.Options{})
	if err != nil {
		t.Error(err)
		return
	}
	message := ratchettest.BytesNumber(int(level))
	if _, err := db.Place(ratchettest.Block(level, 0), message, ratchettest.SignatureFrom(message, 0)); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// signed is a ratchet with a mark for blocks.
func signed(t *testing.T, level int32) (path string) {
	t.Helper()
	path = ratchettest.NewFile(t)
	db := ratchettest.Open(t, path, ratchettest.Options{})
	ratchettest.Register(t, db, ratchettest.Baker, ratchettest.Mainnet, 0)
	ratchettest.CloseDB(t, db)
	signBlock(t, path, level)
	return path
}

// counts wants so many findings of the report.
func (r *Report) counts(t *testing.T, ok, warnings int) {
	t.Helper()
	if r.Count(OK) != ok || r.Count(Warning) != warnings || r.Count(Error) != 0 {
		t.Errorf("want %d ok and %d warnings: %+v", ok, warnings, r.Findings)
	}
}

func TestCheckOfANode(t *testing.T) {
	t.Parallel()
	asked := 0
	url, subject := serveNode(t, func() { asked++ })
	for level, above := range map[int32]bool{headLevel + 1: false, headLevel + 2: true} {
		var r Report
		path := signed(t, level)
		r.ratchet(t.Context(), path, "keys.json", nil, 0)
		r.Findings = nil // of the file itself
		r.node(t.Context(), url)
		r.wants(t, OK, subject, fmt.Sprintf("the head of %v is level %d, of 20", ratchettest.Mainnet, headLevel))
		if above {
			r.counts(t, 1, 1)
			r.wants(t, Warning, "keys."+ratchettest.Baker.String(),
				"its block mark is at level 1002, 2 above the head of NetXdQprcVkpaWU, level 1000")
			continue
		}
		r.counts(t, 2, 0)
		r.wants(t, OK, subject, "1 mark of its chain, none above the head")
	}
	if asked != 2 {
		t.Errorf("the node was asked %d times in two checks", asked)
	}
}

// Without a node_url nobody is asked, and nothing told.
func TestCheckWithoutANode(t *testing.T) {
	t.Parallel()
	r := Report{readable: []string{"no such file"}}
	r.node(t.Context(), "")
	r.counts(t, 0, 0)
}

// Keys sign without a node.
func TestCheckOfANodeThatIsAway(t *testing.T) {
	t.Parallel()
	var r Report
	r.node(t.Context(), "http://127.0.0.1:1/t0ken")
	r.wants(t, Warning, "node 127.0.0.1:1", "connection refused")
	r.counts(t, 0, 1)
	const remedy = "see that the node runs, that node_url is right, and that no firewall is between; keys sign without it"
	if got := r.Findings[0].Remedy; got != remedy {
		t.Error(got)
	}
}

// A check that is over blames no node, and no ratchet.
func TestCheckThatIsInterruptedBlamesNoNode(t *testing.T) {
	t.Parallel()
	url, subject := serveNode(t, func() {})
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	path := signed(t, 1)
	r := Report{readable: []string{path}}
	r.node(ctx, url)
	r.counts(t, 0, 0)
	if want := []string{"marks of ratchet " + path, subject}; !slices.Equal(r.unchecked, want) {
		t.Errorf("unchecked %q, want %q", r.unchecked, want)
	}
}

// The chain goes on during a check: marks that rise then are not held against an older head.
func TestCheckReadsMarksBeforeTheHead(t *testing.T) {
	t.Parallel()
	path := signed(t, headLevel)
	url, subject := serveNode(t, func() { signBlock(t, path, headLevel+2) })
	r := Report{readable: []string{path}}
	r.node(t.Context(), url)
	r.wants(t, OK, subject, "none above the head")
	r.counts(t, 2, 0)
}

// What cannot be read is told, and the rest compared.
func TestCheckOfMarksThatAreNotToBeRead(t *testing.T) {
	t.Parallel()
	url, subject := serveNode(t, func() {})
	missing := filepath.Join(t.TempDir(), "ratchet.db")
	r := Report{readable: []string{missing, signed(t, 1)}}
	r.node(t.Context(), url)
	r.wants(t, Warning, "ratchet "+missing, "its marks are not compared with the chain: ")
	r.wants(t, OK, subject, "1 mark of its chain")
	r.counts(t, 2, 1)
}

// A daemon that holds the ratchet tells the marks.
func TestCheckComparesMarksOfADaemon(t *testing.T) {
	t.Parallel()
	held := server.NewRatchet(ratchet.Snapshot{Marks: []ratchet.StoredMark{{Mark: ratchettest.Block(headLevel+7, 0)}}})
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ratchet" {
			_ = json.NewEncoder(w).Encode(held)
			return
		}
		_, _ = fmt.Fprint(w, `{"keys": {}}`)
	}))
	t.Cleanup(admin.Close)
	url, _ := serveNode(t, func() {})
	var r Report
	r.daemon(t.Context(), admin.Listener.Addr().String(), "keys.json", nil)
	r.node(t.Context(), url)
	r.wants(t, Warning, "keys.", "its block mark is at level 1007, 7 above the head")
}

func TestCheckOfTheTimeOfAHead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		at     time.Time
		status Status
		text   string
	}{
		{now, OK, "the head of NetXdQprcVkpaWU is level 9, of 2026-12-01T00:00:00Z"},
		{now.Add(5 * time.Second), OK, "of 2026-12-01T00:00:05Z"},
		{now.Add(6 * time.Second), Warning, "of 2026-12-01T00:00:06Z: 6s ahead of the clock of this host"},
		{now.Add(-2 * time.Minute), OK, "of 2026-11-30T23:58:00Z"},
		{now.Add(-2*time.Minute - time.Second), Warning, "of 2026-11-30T23:57:59Z: 2m1s ago by the clock of this host"},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), Warning, "ahead of the clock"},
		{time.Time{}, Warning, "ago by the clock"},
	} {
		var r Report
		r.head("node", node.Head{ChainID: ratchettest.Mainnet, Level: 9, Time: test.at}, now)
		r.wants(t, test.status, "node", test.text)
		if len(r.Findings) != 1 {
			t.Errorf("%+v", r.Findings)
		}
	}
}

// marksAt are marks of a key for attestations.
func marksAt(chain tezos.ChainID, levels ...int32) (marks []ratchet.StoredMark) {
	for _, level := range levels {
		marks = append(marks, ratchet.StoredMark{Mark: ratchet.Mark{
			Key: ratchettest.Baker, ChainID: chain, Kind: tezos.Attestation, Level: level,
		}})
	}
	return marks
}

func TestCheckOfMarksAboveTheHead(t *testing.T) {
	t.Parallel()
	other := tezos.ChainID{1, 2, 3, 4}
	for name, test := range map[string]struct {
		head         int32
		marks        []ratchet.StoredMark
		ok, warnings int
		text         string
	}{
		"none":             {9, nil, 0, 0, ""},
		"at the head":      {9, marksAt(ratchettest.Mainnet, 1, 9, 10), 1, 0, "3 marks of its chain, none above the head"},
		"above it":         {9, marksAt(ratchettest.Mainnet, 10, 11), 0, 1, "its attestation mark is at level 11, 2 above"},
		"of another chain": {9, marksAt(other, math.MaxInt32), 0, 0, ""},
		"at the end":       {math.MaxInt32, marksAt(ratchettest.Mainnet, 0, math.MaxInt32), 1, 0, "2 marks of its chain"},
		"a bad level":      {9, marksAt(ratchettest.Mainnet, math.MinInt32), 1, 0, "1 mark of its chain"},
		"far above":        {1, marksAt(ratchettest.Mainnet, math.MaxInt32), 0, 1, "2147483646 above the head"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Report
			r.aboveHead("node", node.Head{ChainID: ratchettest.Mainnet, Level: test.head}, test.marks)
			r.counts(t, test.ok, test.warnings)
			if test.text != "" {
				r.wants(t, r.Findings[0].Status, "", test.text)
			}
		})
	}
}

// Of very many marks above the head the first are told, and how many there are.
func TestMarksAboveTheHeadAreBounded(t *testing.T) {
	t.Parallel()
	for n, more := range map[int]int{config.MaxShown: 0, config.MaxShown + 7: 1} {
		var r Report
		levels := slices.Repeat([]int32{100}, n)
		r.aboveHead("node", node.Head{ChainID: ratchettest.Mainnet, Level: 9}, marksAt(ratchettest.Mainnet, levels...))
		r.counts(t, 0, config.MaxShown+more)
		if more > 0 {
			r.wants(t, Warning, "node", "its head is below 7 marks more")
		}
	}
}
