package server

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"pawl/signer"
	"pawl/tezos"
)

// unknownKey is the pkh label of every key that the signer does not have: no label comes from what
// a client sends.
const unknownKey = "unknown"

// Metrics are the Prometheus metrics of a daemon, in a registry of their own. They are safe for
// concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	signatures *prometheus.CounterVec
	bad        prometheus.Counter
	skipped    prometheus.Counter
	leaps      *prometheus.CounterVec
	hsm        *prometheus.HistogramVec
	commit     prometheus.Histogram
	marks      prometheus.Histogram
	http       httpMetrics

	signer atomic.Pointer[signer.Signer] // nil until New

	// CertificateEnds returns when the certificates of the HSM connections end, by name. It is
	// called at each scrape. Optional; set it before the first one.
	CertificateEnds func() map[string]time.Time
	// LogLinesDropped returns how many lines of the log were dropped. Optional, as CertificateEnds.
	LogLinesDropped func() uint64
	// AuditDropped returns how many events of the audit trails were dropped. Optional too.
	AuditDropped func() uint64

	mu   sync.Mutex
	last map[lastKey]time.Time
}

// lastKey is the labels of pawl_seconds_since_last_signature.
type lastKey struct{ pkh, kind string }

// NewMetrics returns the metrics of a daemon of the given version. They are made first, because
// ObserveSign and ObserveCommit are hooks of the signer and the ratchet. New adds the metrics that
// are read from the signer.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		signatures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pawl_signatures_total",
			Help: "Sign requests by key, kind and decision.",
		}, []string{"pkh", "kind", "decision"}),
		bad: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pawl_bad_signatures_total",
			Help: "Signatures of the HSM that did not verify. None was released.",
		}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pawl_log_lines_skipped_total",
			Help: "Lines of requests and connections that were not logged, because there were too many of their kind.",
		}),
		leaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pawl_level_leaps_total",
			Help: "Signatures for a level more than 1000 above all that the ratchet had of the key and chain.",
		}, []string{"pkh"}),
		hsm: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "pawl_hsm_seconds",
			Help:    "Time of one try of an HSM signature, verification included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5},
		}, []string{"result"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "pawl_ratchet_commit_seconds",
			Help:    "Time of one commit of marks to disk.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .02, .05, .1, .25, .5, 1},
		}),
		marks: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "pawl_ratchet_commit_marks",
			Help:    "Marks that shared one commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		http: newHTTPMetrics(),
		last: make(map[lastKey]time.Time),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "pawl_build_info",
		Help:        "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.signatures, m.bad, m.skipped, m.leaps, m.hsm, m.commit, m.marks, build, keyCollector{m},
		m.http.open, m.http.limit, m.http.closed, m.http.unreadable,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ObserveSign records one try of an HSM signature. It fits signer.Options.OnSign.
func (m *Metrics) ObserveSign(_ tezos.PublicKeyHash, elapsed time.Duration, err error) {
	result := "ok"
	switch {
	case errors.Is(err, tezos.ErrBadSignature):
		result = "bad_signature"
		m.bad.Inc()
	case err != nil:
		result = "error"
	}
	m.hsm.WithLabelValues(result).Observe(elapsed.Seconds())
}

// ObserveCommit records one commit of marks. It fits sqlite.Options.OnCommit.
func (m *Metrics) ObserveCommit(elapsed time.Duration, marks int) {
	m.commit.Observe(elapsed.Seconds())
	m.marks.Observe(float64(marks))
}

// countSign counts a sign request that was answered. err is why it was refused, or nil.
func (m *Metrics) countSign(log *requestLog, err error) {
	pkh, kind := m.label(log), log.kind()
	decision := log.decision(err)
	if err != nil {
		decision = refusalOf(err).decision
	}
	m.signatures.WithLabelValues(pkh, kind, decision).Inc()
	if decision == "signed" {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.last[lastKey{pkh, kind}] = time.Now()
	}
}

// label returns the pkh label of a request.
func (m *Metrics) label(log *requestLog) string {
	if _, err := m.signer.Load().PublicKey(log.key); err != nil {
		return unknownKey
	}
	return log.pkh
}

// keyCollector is the metrics that are read from the signer at each scrape.
type keyCollector struct{ *Metrics }

var (
	lastDesc = prometheus.NewDesc("pawl_seconds_since_last_signature",
		"Seconds since the last new signature; absent before the first of this process.", []string{"pkh", "kind"}, nil)
	certificateDesc = prometheus.NewDesc("pawl_certificate_seconds_left",
		"Seconds until a certificate of the HSM connection or of pawl's own HTTPS ends.", []string{"name"}, nil)
	droppedDesc = prometheus.NewDesc("pawl_dropped_signatures_total",
		"Signatures that the HSM made and nobody got: the ratchet had one of the same bytes, refused, or failed.", nil, nil)
	serverReadyDesc = prometheus.NewDesc("pawl_hsm_server_ready",
		"1 when every key can sign at the HSM server.", []string{"server"}, nil)
	triesDesc = prometheus.NewDesc("pawl_hsm_server_tries_total",
		"Tries of signatures at the HSM server by result, ok or error.", []string{"server", "result"}, nil)
	logDroppedDesc = prometheus.NewDesc("pawl_log_lines_dropped_total",
		"Lines of the log that were dropped, because nobody read the log or it could not be written.", nil, nil)
	heldDesc = prometheus.NewDesc("pawl_key_held_back",
		"1 for each chain on which the key is retired or fenced, by why; absent otherwise.", []string{"pkh", "chain_id", "why"}, nil)
	auditDroppedDesc = prometheus.NewDesc("pawl_audit_events_dropped_total",
		"Events that the audit trails lack, because they could not be written in time.", nil, nil)
	readyDesc = prometheus.NewDesc("pawl_key_ready", "1 when the key can sign.", []string{"pkh"}, nil)
)

// Describe sends the descriptions of what Collect sends.
func (m keyCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- lastDesc
	ch <- certificateDesc
	ch <- droppedDesc
	ch <- logDroppedDesc
	ch <- heldDesc
	ch <- auditDroppedDesc
	ch <- readyDesc
	ch <- serverReadyDesc
	ch <- triesDesc
}

// Collect sends the present state of the keys and the HSM servers.
func (m keyCollector) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, at := range m.last {
		ch <- gauge(lastDesc, time.Since(at).Seconds(), key.pkh, key.kind)
	}
	if m.LogLinesDropped != nil {
		ch <- counter(logDroppedDesc, m.LogLinesDropped())
	}
	if m.AuditDropped != nil {
		ch <- counter(auditDroppedDesc, m.AuditDropped())
	}
	s := m.signer.Load()
	if s == nil {
		return
	}
	ch <- counter(droppedDesc, s.Dropped())
	for name, end := range m.certificateEnds() {
		ch <- gauge(certificateDesc, time.Until(end).Seconds(), name)
	}
	for hash, err := range s.Readiness() {
		ch <- gauge(readyDesc, oneIfNil(err), hash.String())
	}
	m.collectHeld(ch, s)
	for _, server := range s.Servers() {
		ch <- gauge(serverReadyDesc, oneIfNil(server.Err), server.Address)
		ch <- counter(triesDesc, server.Signed, server.Address, "ok")
		ch <- counter(triesDesc, server.Failed, server.Address, "error")
	}
}

// collectHeld sends what holds the keys of the signer back.
func (m keyCollector) collectHeld(ch chan<- prometheus.Metric, s *signer.Signer) {
	all, err := s.Ratchets(context.Background())
	if err != nil {
		return // the ratchet has failed, and no key is ready
	}
	for _, r := range all.HeldBack() {
		chain, why := "others", r.Fence.Cause.String()
		if !r.AnyChain {
			chain = r.ChainID.String()
		}
		if r.Retired != "" {
			why = "retired"
		}
		if _, err := s.PublicKey(r.Key); err == nil {
			ch <- gauge(heldDesc, 1, r.Key.String(), chain, why)
		}
	}
}

func gauge(desc *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func counter(desc *prometheus.Desc, value uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
}

func (m *Metrics) certificateEnds() map[string]time.Time {
	if m.CertificateEnds == nil {
		return nil
	}
	return m.CertificateEnds()
}

// oneIfNil is the value of a ready gauge.
func oneIfNil(err error) float64 {
	if err != nil {
		return 0
	}
	return 1
}
