package softcard

import (
	"context"
	"crypto/subtle"
	"strings"

	"google.golang.org/grpc/metadata"

	"pawl/internal/ep11"
)

// admits refuses a call without the card's bearer token (RFC 6750 section 2.1), if it has one.
func (c *Card) admits(ctx context.Context) error {
	if c.BearerToken == "" {
		return nil
	}
	header, _ := metadata.FromIncomingContext(ctx)
	for _, value := range header.Get("authorization") {
		scheme, token, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare([]byte(token), []byte(c.BearerToken)) == 1 {
			return nil
		}
	}
	return refuse(ep11.CodeIBMNotAuthenticated, "the call does not bear the card's token")
}
