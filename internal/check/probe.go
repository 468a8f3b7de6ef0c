package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/tezos"
)

// Beside a daemon a check must leave it the HSM: a card takes 8 calls at once.
const (
	checkProbes = 2 // signatures at once
	latencyTime = 10 * time.Second

	// LatencyCalls is how many signatures are measured, one after the other.
	LatencyCalls = 50
	// SlowSignature is when signatures become a danger: pawl gives a try 2 seconds.
	SlowSignature = time.Second
)

// keyProbe is a key and what came of having it sign.
type keyProbe struct {
	config  config.KeySpec // with the blob that was tried last
	next    bool           // that is secret_key_next
	signs   *grep11.Key    // nil when there is no blob to sign with
	lack    error          // what the mechanism list says against it
	err     error
	elapsed time.Duration
	owner   tezos.PublicKey // of the blob, if it is exchanged
	// exchanged says that the blob is that of another key of keys.json.
	exchanged bool
}

var (
	// errNotAsked is that of keys whose server did not answer the others, or too late.
	errNotAsked = errors.New("was not asked to sign: the server answers others late, or not at all")
	// errNotReached is that of keys that had not signed when the check ended.
	errNotReached = errors.New("not checked")
)

// otherMaster reports whether the card says that it has not the master key of the blob.
func (p keyProbe) otherMaster() bool {
	refusal, ok := errors.AsType[*grep11.Error](p.err)
	return ok && refusal.Code == ep11.CodeIBMWKIDMismatch
}

// refused reports whether the card gave a code instead of a signature.
func (p keyProbe) refused() bool {
	_, ok := errors.AsType[*grep11.Error](p.err)
	return ok
}

// probeKeys has each key sign once. After a call that the server did not answer, or failed
// as late as a timeout, the rest is not asked, or a thousand keys would wait for a thousand.
func probeKeys(ctx context.Context, client *grep11.Client, mechanisms []uint64, keys []config.KeySpec) []keyProbe {
	probes := make([]keyProbe, len(keys))
	publics := make([]tezos.PublicKey, len(keys))
	for i, key := range keys {
		publics[i] = key.PublicKey
	}
	var asking sync.WaitGroup
	var silent atomic.Bool
	places := make(chan struct{}, checkProbes)
	for i, key := range keys {
		probes[i] = keyProbe{config: key, lack: grep11.Lacks(mechanisms, key.PublicKey.Kind())}
		if key.Blob == nil {
			continue // a finding of keys.json says why
		}
		places <- struct{}{}
		asking.Go(func() {
			probes[i].ask(ctx, client, &silent)
			if probes[i].doubtful() {
				probes[i].owner, probes[i].exchanged = client.Owner(ctx, probes[i].config.Blob, publics)
			}
			<-places
		})
	}
	asking.Wait()
	return probes
}

// ask has the key sign. A blob that the card refuses may have been rewrapped: then the
// daemon uses the next one, and so does the check.
func (p *keyProbe) ask(ctx context.Context, client *grep11.Client, silent *atomic.Bool) {
	p.try(ctx, client, silent)
	if grep11.RefusesBlob(p.err) && p.config.NextBlob != nil {
		rewrapped := *p
		rewrapped.config.Blob, rewrapped.next = p.config.NextBlob, true
		rewrapped.try(ctx, client, silent)
		if rewrapped.err == nil || errors.Is(rewrapped.err, errNotReached) || rewrapped.doubtful() {
			*p = rewrapped
		}
	}
}

// doubtful reports whether the blob may be that of another key: its signature did not verify, or the
// card says that it is of another curve.
func (p *keyProbe) doubtful() bool {
	refusal, ok := errors.AsType[*grep11.Error](p.err)
	return errors.Is(p.err, tezos.ErrBadSignature) || ok && refusal.Code == ep11.CodeKeyTypeInconsistent
}

// name is where the blob stands in keys.json.
func (p *keyProbe) name() string {
	switch {
	case p.next:
		return "secret_key_next"
	case p.config.BlobFile != "":
		return "secret_key_file"
	}
	return "secret_key"
}

// try has the key sign, twice if the first call was unlucky.
func (p *keyProbe) try(ctx context.Context, client *grep11.Client, silent *atomic.Bool) {
	if p.signs, p.err = client.Key(p.config.PublicKey, p.config.Blob); p.err != nil {
		return
	}
	if silent.Load() {
		p.err = errNotAsked
		return
	}
	start := time.Now()
	p.err = hsm.Probe(ctx, p.signs)
	if grep11.Transient(p.err) {
		start = time.Now()
		p.err = hsm.Probe(ctx, p.signs)
	}
	p.elapsed = time.Since(start)
	switch {
	case p.err != nil && over(ctx):
		p.err = errNotReached
	case grep11.Transient(p.err) && (!p.refused() || p.elapsed > SlowSignature):
		silent.Store(true)
	}
}

// probeDialect has a key sign in one dialect.
func probeDialect(ctx context.Context, server grep11.Config, dialect grep11.Dialect, config config.KeySpec) error {
	server.Dialect = dialect
	client, err := grep11.Dial(server)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // nothing is under way
	key, err := client.Key(config.PublicKey, config.Blob)
	if err != nil {
		return err
	}
	return hsm.Probe(ctx, key)
}

// probe says what came of a key.
func (r *Report) probe(server string, p keyProbe) {
	subject := "keys." + p.config.PublicKey.Hash().String()
	if p.lack != nil && p.err == nil && p.signs != nil {
		r.fail(subject, "have the HSM's administrator list it, or name a server that does",
			"%s: %v: it signed, and yet the daemon leaves the server out for such keys", server, p.lack)
		return
	}
	if p.lack != nil {
		r.fail(subject, "have the HSM's administrator enable it, or name a server that has it", "%s: %v", server, p.lack)
	}
	switch {
	case p.config.Blob == nil: // said of keys.json
	case p.err == nil && p.next:
		r.warn(subject, "pawl keys rewrap --promote, when all servers have the new master key",
			"%s: signs with secret_key_next, and no more with secret_key", server)
	case p.err == nil:
		r.ok(subject, "signed a probe at %s in %s, verified", server, milliseconds(p.elapsed))
	case p.exchanged:
		r.fail(subject, "give each key the blob of its own: two may have been exchanged", "%s: %s is the blob of %v: %v",
			server, p.name(), p.owner.Hash(), p.err)
	case p.lack == nil && p.next:
		r.fail(subject, remedyFor(p.err), "%s: secret_key_next: %v", server, p.err)
	case p.lack == nil:
		r.fail(subject, remedyFor(p.err), "%s: %v", server, p.err)
	}
}

// remedyFor says what to do when the server refused a call, or did not answer.
func remedyFor(err error) string {
	refusal, _ := errors.AsType[*grep11.Error](err)
	switch {
	case errors.Is(err, tezos.ErrBadSignature):
		return "see whether public_key and secret_key are of one key; if they are, stop using this server"
	case errors.Is(err, errNotAsked):
		return "see what is said of the other keys of this server"
	case grep11.NoToken(err):
		return "see that this host reaches the IAM endpoint, and that the key in apikey_file is one of its API keys"
	case refusal == nil && !grep11.Transient(err):
		return "see whether the server takes the client certificate, or the API key"
	case refusal == nil:
		return "see that the server answers, that it takes the client certificate, and that its card is not overloaded"
	}
	switch refusal.Code { //nolint:exhaustive // the rest is for the administrator
	case ep11.CodeIBMWKIDMismatch:
		return "the blob is of another master key: name the server of that card, or put the rewrapped blob into keys.json"
	case ep11.CodeIBMBlobError:
		return "the blob is damaged, or of another card: restore it from <hash>.sk.hex"
	case ep11.CodeIBMWKNotInitialized:
		return "the card has no master key: have the HSM's administrator load it"
	case ep11.CodeKeyTypeInconsistent:
		return "the blob is that of another key, of another curve: restore it from <hash>.sk.hex"
	case ep11.CodeMechanismInvalid:
		return "have the HSM's administrator enable the mechanism; if it is, the blob may be that of another key"
	case ep11.CodeKeyFunctionNotPermitted:
		return "the key may not sign: it was made for another purpose, or the blob is that of another key"
	case ep11.CodeSessionClosed:
		return "the blob is bound to a login session that has ended: the key is lost, make another one"
	}
	return "ask the HSM's administrator for the code"
}

// Latency is how long signatures took, in milliseconds.
type Latency struct {
	Calls  int     `json:"calls"`
	P50    float64 `json:"p50_ms"`
	P90    float64 `json:"p90_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
	Failed int     `json:"failed"`
}

// latency measures signatures of the keys that sign, in turn.
func (r *Report) latency(ctx context.Context, subject string, probes []keyProbe) {
	good := slices.DeleteFunc(slices.Clone(probes), func(p keyProbe) bool { return p.err != nil || p.signs == nil })
	if len(good) == 0 {
		return
	}
	within, cancel := context.WithTimeout(ctx, latencyTime)
	defer cancel()
	var took []time.Duration
	failed := 0
	for n := range LatencyCalls {
		start := time.Now()
		err := hsm.Probe(within, good[n%len(good)].signs)
		switch {
		case over(within): // time is up, which says nothing of this call
		case err != nil:
			failed++
		default:
			took = append(took, time.Since(start))
		}
	}
	if !over(ctx) {
		r.latencyFinding(subject, took, failed)
	}
}

func (r *Report) latencyFinding(subject string, took []time.Duration, failed int) {
	if len(took) == 0 {
		r.warn(subject, "see what is wrong with the server", "not one of %d more signatures was made", LatencyCalls)
		return
	}
	slices.Sort(took)
	l := Latency{
		Calls: len(took), Failed: failed,
		P50: inMilliseconds(percentile(took, 50)), P90: inMilliseconds(percentile(took, 90)),
		P99: inMilliseconds(percentile(took, 99)), Max: inMilliseconds(took[len(took)-1]),
	}
	text := fmt.Sprintf("%d signatures: half within %.1f ms, 90 %% within %.1f ms, 99 %% within %.1f ms, all within "+
		"%.1f ms", l.Calls, l.P50, l.P90, l.P99, l.Max)
	switch {
	case failed > 0:
		r.warn(subject, "see what is wrong with the server", "%s; %d failed", text, failed)
	case len(took) < LatencyCalls, took[len(took)-1] > SlowSignature:
		r.warn(subject, "see what else uses the HSM, and how far away it is: a signature has 2 seconds", "%s", text)
	default:
		r.ok(subject, "%s", text)
	}
	r.Findings[len(r.Findings)-1].Latency = &l
}

// percentile is the least of the sorted durations that p of a hundred do not exceed
// (nearest rank).
func percentile(sorted []time.Duration, p int) time.Duration {
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

// inMilliseconds rounds to a tenth of a millisecond.
func inMilliseconds(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond).Microseconds()) / 1000
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", inMilliseconds(d)) }
