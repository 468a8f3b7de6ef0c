package server

import "github.com/prometheus/client_golang/prometheus"

// httpMetrics are those of connections, by listener.
type httpMetrics struct {
	open, limit *prometheus.GaugeVec
	closed      *prometheus.CounterVec // by reason too
	unreadable  *prometheus.CounterVec // by status too
}

func newHTTPMetrics() httpMetrics {
	return httpMetrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "pawl_connections",
			Help: "Open connections.",
		}, []string{"listener"}),
		limit: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "pawl_connections_limit",
			Help: "How many connections are open at most.",
		}, []string{"listener"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pawl_connections_closed_total",
			Help: "Connections that were closed while they waited for their client, by reason.",
		}, []string{"listener", "reason"}),
		unreadable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pawl_unreadable_requests_total",
			Help: "Requests whose head could not be read, by the status of the answer.",
		}, []string{"listener", "status"}),
	}
}

// start has all metrics of a listener there from the start.
func (m httpMetrics) start(listener string, limit int) {
	m.limit.WithLabelValues(listener).Set(float64(limit))
	for _, how := range closeReasons {
		m.closed.WithLabelValues(listener, how.label)
	}
	for status := range unreadable {
		m.unreadable.WithLabelValues(listener, statusLabel(status))
	}
}
