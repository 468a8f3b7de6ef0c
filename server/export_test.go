package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"pawl/signer"
	"pawl/tezos"
)

// AnswerWith returns a handler whose route GET /fault does what fault does, with all the
// middleware of a route of the server.
func (s *Server) AnswerWith(fault func(ctx context.Context) error) http.Handler {
	handle := func(c echo.Context) error { return fault(c.Request().Context()) }
	return s.newEcho(slog.LevelInfo, route{http.MethodGet, "/fault", handle})
}

// TLSConfig is what OpenHTTPS serves with these files at first, or nil.
func TLSConfig(cert, key, clientCA string) (*tls.Config, error) {
	https, err := OpenHTTPS(HTTPSFiles{cert, key, clientCA})
	if https == nil {
		return nil, err
	}
	return https.now.Load().config, nil
}

// HTTPServer is the one that Serve uses.
func (s *Server) HTTPServer() *http.Server { return s.httpServer(s.Handler()) }

// Leaps tells of leaps.
type Leaps struct{ leaps }

// Add records a leap.
func (l *Leaps) Add(key tezos.PublicKeyHash, at time.Time) (tell bool, untold int) {
	untold, tell = l.of(key).tell(at, leapPause)
	return tell, untold
}

// ErrRequest stands for every request that cannot be read.
var ErrRequest = errRequest

// SignRequest has a sign request answered, counted and logged without a transport. It returns the
// id of the request too.
func (s *Server) SignRequest(ctx context.Context, hash tezos.PublicKeyHash,
	authentication *tezos.Signature, payload []byte,
) (id string, result signer.Result, err error) {
	log := newRequestLog()
	log.signing = true
	s.setKey(log, hash)
	result, err = s.signRequest(ctx, log, hash, authentication, payload)
	s.finish(ctx, log, err, slog.String("transport", "none"))
	return log.id, result, err
}

// Waiting is a connection in a phase, and for how long.
type Waiting struct {
	Phase phase
	For   time.Duration
}

// The phases of connections.
const (
	Reading     = reading
	ReadingBody = readingBody
	InFlight    = inFlight
	Writing     = writing
	Idle        = idle
)

// GivesWay returns which of these connections gives way first, the oldest being the first, or -1.
// If none does, soon reports whether one may in a moment.
func GivesWay(opened ...Waiting) (index int, soon bool) {
	s := newConnections(len(opened), prometheus.NewGauge(prometheus.GaugeOpts{}), nil)
	all := make([]*connection, len(opened))
	for i := range opened {
		all[i] = &connection{all: s, from: netip.AddrFrom4([4]byte{127, 0, 0, byte(i)})}
		s.tryAdmit(all[i])
	}
	for i, w := range opened {
		s.place(all[i], w.Phase)
		all[i].since = time.Now().Add(-w.For)
	}
	c, soon := s.oldest(func(*connection) bool { return true })
	return slices.Index(all, c), soon
}

// Refusal returns the status and the message for the client that err has.
func Refusal(err error, id string) (status int, msg string) {
	row := refusalOf(err)
	return row.status, row.message(err, id)
}

// MaxAdminAnswer is the bound of AdminClient, in bytes. ReadAnswer reads an answer with it, and
// has no deadline.
const MaxAdminAnswer = maxAdminAnswer

var ReadAnswer = readAnswer

// Row returns the status, the label and the level that err has in the table.
func Row(err error) (status int, decision string, level slog.Level) {
	row := refusalOf(err)
	return row.status, row.decision, row.level
}

// TellSkipped has the log told of the lines that were left out.
func (s *Server) TellSkipped() { s.limit.tellAll() }

// The sizes of the buckets of log lines.
var (
	StrangerBurst = int(strangerLines.burst)
	KeyBurst      = int(keyLines.burst)
)

// StrangersLine returns what decides whether a line of a stranger is written, for a server that has
// this log.
func StrangersLine(log *slog.Logger) (mayWrite func() bool) {
	limit := newLineLimit(log, func() {})
	return func() bool { return limit.take(lineKind{decision: "x"}, slog.LevelInfo, time.Now()) }
}
