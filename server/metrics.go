package server

import (
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pawl/signer"
	"pawl/tezos"
)

// unknownKey is the pkh label of all hashes that are not configured: labels
// never come from what a client sends.
const unknownKey = "unknown"

// Metrics are the figures of a daemon for Prometheus, in a registry of their
// own. It is safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	signatures *prometheus.CounterVec
	bad        prometheus.Counter
	hsm        *prometheus.HistogramVec
	commit     prometheus.Histogram
	marks      prometheus.Histogram

	signer atomic.Pointer[signer.Signer] // nil until New

	// CertificateEnds tells when the certificates of the HSM connection end, by their names. It is
	// called at each scrape. Optional; set it before the first one.
	CertificateEnds func() map[string]time.Time

	mu   sync.Mutex
	last map[lastKey]time.Time
}

// lastKey is a series of pawl_seconds_since_last_signature.
type lastKey struct{ pkh, kind string }

// NewMetrics returns metrics of a daemon of the given version. ObserveSign and
// ObserveCommit are for the hooks of the signer and the ratchet, which are made
// first; New joins the signer to them.
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
		last: make(map[lastKey]time.Time),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "pawl_build_info",
		Help:        "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.signatures, m.bad, m.hsm, m.commit, m.marks, build, keyCollector{m},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ObserveSign records one try of an HSM signature; it fits
// signer.Options.OnSign.
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

// ObserveCommit records one commit of marks; it fits ratchet.Options.OnCommit.
func (m *Metrics) ObserveCommit(elapsed time.Duration, marks int) {
	m.commit.Observe(elapsed.Seconds())
	m.marks.Observe(float64(marks))
}

// countSign records a sign request that was answered, err being why it was
// refused.
func (m *Metrics) countSign(e *entry, err error) {
	pkh := m.label(e)
	decision := e.decision(err)
	if err != nil {
		decision = refusalOf(err).decision
	}
	m.signatures.WithLabelValues(pkh, e.kind(), decision).Inc()
	if decision == "signed" {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.last[lastKey{pkh, e.kind()}] = time.Now()
	}
}

// label is the pkh label of a request.
func (m *Metrics) label(e *entry) string {
	if _, err := m.signer.Load().PublicKey(e.key.hash); err != nil {
		return unknownKey
	}
	return e.key.text
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// keyCollector makes the gauges that are true only when they are read.
type keyCollector struct{ *Metrics }

var (
	lastDesc = prometheus.NewDesc("pawl_seconds_since_last_signature",
		"Seconds since the last new signature; absent before the first of this process.", []string{"pkh", "kind"}, nil)
	certificateDesc = prometheus.NewDesc("pawl_certificate_seconds_left",
		"Seconds until a certificate of the HSM connection ends.", []string{"name"}, nil)
	droppedDesc = prometheus.NewDesc("pawl_dropped_signatures_total",
		"Signatures that the HSM made and nobody got: the ratchet had one of the same bytes, refused, or failed.", nil, nil)
	serverReadyDesc = prometheus.NewDesc("pawl_hsm_server_ready",
		"1 when every key can sign at the HSM server.", []string{"server"}, nil)
	triesDesc = prometheus.NewDesc("pawl_hsm_server_tries_total",
		"Tries of signatures at the HSM server by result, ok or error.", []string{"server", "result"}, nil)
	readyDesc = prometheus.NewDesc("pawl_key_ready", "1 when the key can sign.", []string{"pkh"}, nil)
)

// Describe tells the registry what Collect sends.
func (m keyCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- lastDesc
	ch <- certificateDesc
	ch <- droppedDesc
	ch <- readyDesc
	ch <- serverReadyDesc
	ch <- triesDesc
}

// Collect sends the state of the keys as it is now.
func (m keyCollector) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, at := range m.last {
		ch <- prometheus.MustNewConstMetric(lastDesc, prometheus.GaugeValue, time.Since(at).Seconds(), key.pkh, key.kind)
	}
	s := m.signer.Load()
	if s == nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(s.Dropped()))
	for name, end := range m.certificateEnds() {
		ch <- prometheus.MustNewConstMetric(certificateDesc, prometheus.GaugeValue, time.Until(end).Seconds(), name)
	}
	for hash, err := range s.Readiness() {
		ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, oneIfNil(err), hash.String())
	}
	for _, server := range s.Servers() {
		ch <- prometheus.MustNewConstMetric(serverReadyDesc, prometheus.GaugeValue, oneIfNil(server.Err), server.Address)
		ch <- prometheus.MustNewConstMetric(triesDesc, prometheus.CounterValue, float64(server.Signed), server.Address, "ok")
		ch <- prometheus.MustNewConstMetric(triesDesc, prometheus.CounterValue, float64(server.Failed), server.Address, "error")
	}
}

func (m *Metrics) certificateEnds() map[string]time.Time {
	if m.CertificateEnds == nil {
		return nil
	}
	return m.CertificateEnds()
}

// oneIfNil is the value of a gauge that tells whether all is well.
func oneIfNil(err error) float64 {
	if err != nil {
		return 0
	}
	return 1
}
