package server

import (
	"context"
	"log/slog"

	"pawl/signer"
	"pawl/tezos"
)

// signRequest answers a sign request of any transport: it authenticates the client, asks the
// signer, and keeps the result in log. The caller sends the answer, then calls finish.
//
// Authentication comes first: a client that fails it learns nothing of keys, policy or marks.
// The errors are errNoAuthentication, errAuthentication and those of signer.Sign; refusalOf has
// the answer for each.
func (s *Server) signRequest(ctx context.Context, log *requestLog, hash tezos.PublicKeyHash,
	authentication *tezos.Signature, payload []byte,
) (result signer.Result, err error) {
	if err := s.authenticate(authentication, hash, payload); err != nil {
		return result, err
	}
	log.asked = true
	result, err = s.signer.Sign(ctx, hash, payload)
	log.result = result
	return result, err
}

// finish counts a sign request and writes the log line of any request. It is called once for each,
// after the answer was sent: no client waits for a log or a metric. err is why the request was
// refused, or nil; transport are the attributes that only the transport knows.
func (s *Server) finish(ctx context.Context, log *requestLog, err error, transport ...slog.Attr) {
	if log.signing {
		s.metrics.countSign(log, err)
	}
	if err == nil {
		s.watchLeap(ctx, log)
	}
	s.writeLog(ctx, log, err, transport)
}
