package grep11

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"

	"google.golang.org/grpc"
)

// TokenSource is tokens for the tests.
type TokenSource struct{ tokens *tokens }

// NewTokenSource returns a source that trusts the CAs of a pool.
func NewTokenSource(keyFile, endpoint string, ca *x509.CertPool) (*TokenSource, error) {
	source, err := newTokens(keyFile, endpoint)
	if err != nil {
		return nil, err
	}
	source.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca, MinVersion: tls.VersionTLS12}}
	return &TokenSource{source}, nil
}

// Authorization returns the authorization header of a call.
func (s *TokenSource) Authorization(ctx context.Context) (string, error) {
	header, err := s.tokens.GetRequestMetadata(ctx)
	return header["authorization"], err
}

// OverTLSOnly reports whether gRPC must refuse a connection without TLS.
func (s *TokenSource) OverTLSOnly() bool { return s.tokens.RequireTransportSecurity() }

// Answered makes a call that the server answers with answer.
func (s *TokenSource) Answered(ctx context.Context, answer error) error {
	return s.tokens.intercept(ctx, "", nil, nil, nil,
		func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return answer })
}

// Pass makes the token and the last failure older by d.
func (s *TokenSource) Pass(d time.Duration) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.issued = s.tokens.issued.Add(-d)
	s.tokens.expiry = s.tokens.expiry.Add(-d)
	s.tokens.failed = s.tokens.failed.Add(-d)
}
