package grep11

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/durable"
)

// DefaultIAMEndpoint is the endpoint that issues tokens of IBM Cloud
// (https://cloud.ibm.com/apidocs/iam-identity-token-api).
const DefaultIAMEndpoint = "https://iam.cloud.ibm.com"

const (
	tokenTimeout = 10 * time.Second // for one request, however long callers wait
	tokenRenewal = time.Minute      // a token is renewed so long before it expires
	tokenPause   = time.Second      // between a failure or a new token and the next request
	maxPause     = time.Minute      // the longest pause while IAM keeps refusing the key

	maxAPIKey   = 1 << 10 // bytes; IBM's have 44
	maxToken    = 16 << 10
	maxIAMReply = 64 << 10
)

// callCredentials returns options that add a token to each call, or none if cfg has no API key.
func callCredentials(cfg Config) ([]grpc.DialOption, error) {
	switch {
	case cfg.APIKeyFile == "" && cfg.IAMEndpoint == "":
		return nil, nil
	case cfg.APIKeyFile == "":
		return nil, errors.New("grep11: iam_endpoint needs apikey_file")
	case cfg.Plaintext:
		return nil, errors.New("grep11: a bearer token goes over TLS only")
	}
	source, err := newTokens(cfg.APIKeyFile, cfg.IAMEndpoint)
	if err != nil {
		return nil, err
	}
	return []grpc.DialOption{grpc.WithPerRPCCredentials(source), grpc.WithUnaryInterceptor(source.intercept)}, nil
}

// tokenTrouble is how the statuses of calls that got no token begin.
const tokenTrouble = "IAM token: "

// NoToken reports whether a call was not made because there was no token. The trouble is then
// with the IAM endpoint or the API key, and not with the server.
func NoToken(err error) bool {
	transport, ok := errors.AsType[*transportError](err)
	return ok && strings.HasPrefix(transport.status.Message(), tokenTrouble)
}

// CheckIAMEndpoint returns nil for a URL that can be asked for a token: https and a host,
// perhaps a path, and no user, query or fragment.
func CheckIAMEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is not an IAM endpoint: write https://host", endpoint)
	}
	return nil
}

// tokens adds a bearer token of IBM Cloud to calls. All calls share a token. It is renewed a
// minute before it expires, or after half of its life if that is shorter than two minutes.
// Calls use the old token until the new one is there.
type tokens struct {
	keyFile string
	url     string
	client  *http.Client

	mu      sync.Mutex
	token   string
	issued  time.Time
	expiry  time.Time
	renewal time.Duration // how long before expiry to renew
	asking  chan struct{} // closed when the request under way ends; nil if there is none
	failure error         // of the last request, or nil
	failed  time.Time     // when that was
	pause   time.Duration // after failed; doubled each time that IAM refuses the key
}

func newTokens(keyFile, endpoint string) (*tokens, error) {
	if endpoint == "" {
		endpoint = DefaultIAMEndpoint
	}
	if err := CheckIAMEndpoint(endpoint); err != nil {
		return nil, err
	}
	target, err := url.JoinPath(endpoint, "identity/token")
	if err != nil {
		return nil, err
	}
	key, err := readAPIKey(keyFile) // only to fail early if it is unusable
	clear(key)
	if err != nil {
		return nil, err
	}
	return &tokens{keyFile: keyFile, url: target, renewal: tokenRenewal, client: &http.Client{
		Timeout: tokenTimeout,
		// A redirect would send the key elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// GetRequestMetadata returns the authorization header of a call. It implements
// credentials.PerRPCCredentials.
func (t *tokens) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity returns true, so that gRPC refuses a connection without TLS.
func (t *tokens) RequireTransportSecurity() bool { return true }

// intercept makes a call, and drops the token if the server refuses it. The next call then asks
// for another. It keeps a token younger than a second, so that a server that refuses every
// token does not cause a request to IAM for each call.
func (t *tokens) intercept(
	ctx context.Context, method string, request, reply any,
	conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	err := invoke(ctx, method, request, reply, conn, opts...)
	if status.Code(err) == grpccodes.Unauthenticated {
		t.mu.Lock()
		defer t.mu.Unlock()
		if time.Since(t.issued) >= tokenPause {
			t.expiry = time.Time{}
		}
	}
	return err
}

// get returns a token that is valid now. Calls that need a new one wait for the same request,
// each until its ctx ends. Errors are gRPC statuses.
func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	left := time.Until(t.expiry)
	if left < t.renewal && t.asking == nil && time.Since(t.failed) >= t.pause {
		t.asking = make(chan struct{})
		go t.renew() //nolint:gosec // without ctx: other calls need the token too
	}
	token, asking, failure := t.token, t.asking, t.failure
	t.mu.Unlock()
	switch {
	case left > 0:
		return token, nil
	case asking == nil:
		return "", failure
	}
	select {
	case <-asking:
	case <-ctx.Done():
		code := status.FromContextError(ctx.Err()).Code()
		return "", status.Errorf(code, "%snone has come from %s yet", tokenTrouble, t.url)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Until(t.expiry) > 0 {
		return t.token, nil
	}
	return "", t.failure
}

// renew asks for a token. It has tokenTimeout, even if all callers leave.
func (t *tokens) renew() {
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	token, expiry, err := t.ask(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.token, t.issued, t.expiry, t.failure, t.failed, t.pause = token, time.Now(), expiry, nil, time.Time{}, 0
		t.renewal = min(tokenRenewal, time.Until(expiry)/2)
	case status.Code(err) == grpccodes.Unauthenticated:
		t.failure, t.failed, t.pause = err, time.Now(), min(max(tokenPause, 2*t.pause), maxPause)
	default:
		t.failure, t.failed, t.pause = err, time.Now(), tokenPause
	}
	close(t.asking)
	t.asking = nil
}

// ask makes one request for a token. Its errors hold neither the key nor a token.
func (t *tokens) ask(ctx context.Context) (token string, expiry time.Time, err error) {
	body, err := t.form()
	defer clear(body)
	if err != nil {
		return "", time.Time{}, status.Error(grpccodes.Unauthenticated, err.Error())
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return "", time.Time{}, status.Error(grpccodes.Unauthenticated, "IAM token: "+oneLine(err.Error()))
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	start := time.Now()
	response, err := t.client.Do(request)
	if err != nil {
		return "", time.Time{}, status.Error(grpccodes.Unavailable, "IAM token: "+oneLine(err.Error()))
	}
	defer response.Body.Close() //nolint:errcheck // only read
	return readToken(response, start)
}

// form returns the request's body, which holds the key. The caller zeroes it.
func (t *tokens) form() ([]byte, error) {
	key, err := readAPIKey(t.keyFile)
	defer clear(key)
	if err != nil {
		return nil, err
	}
	const grant = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey="
	form := make([]byte, 0, len(grant)+len(key))
	return append(append(form, grant...), key...), nil
}

// readAPIKey reads the key from a file that only its owner may read. The caller zeroes the key. Its
// letters, digits, - and _ need no escaping in a form.
func readAPIKey(path string) ([]byte, error) {
	text, err := durable.ReadPrivate(path, maxAPIKey)
	if err != nil && !errors.Is(err, durable.ErrTooLarge) {
		return nil, fmt.Errorf("API key: %v", err)
	}
	key := bytes.TrimSpace(text)
	if len(key) == 0 || bytes.ContainsFunc(key, notInKey) {
		clear(text)
		return nil, fmt.Errorf("API key: %s holds no API key: it has to be one line of letters, digits, - and _", path)
	}
	return key, nil
}

func notInKey(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
}

// errorCode matches an error code of IAM, e.g. BXNIM0415E: API key could not be found.
var errorCode = regexp.MustCompile(`^[A-Z0-9]{4,20}$`)

// readToken reads the answer of IAM to a request that was sent at start.
func readToken(response *http.Response, start time.Time) (token string, expiry time.Time, err error) {
	var reply struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
		ErrorCode   string `json:"errorCode"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxIAMReply)).Decode(&reply)
	if response.StatusCode != http.StatusOK {
		return "", time.Time{}, refusedToken(response.StatusCode, reply.ErrorCode)
	}
	const day = 24 * 60 * 60 // IAM issues no token that lasts longer
	switch {
	case err != nil:
		return "", time.Time{}, status.Error(grpccodes.Unavailable, "IAM token: the answer is not the JSON of a token")
	case !soundToken(reply.AccessToken), reply.ExpiresIn <= 0, reply.ExpiresIn > day:
		return "", time.Time{}, status.Error(grpccodes.Unavailable, "IAM token: the answer holds no token that lasts")
	}
	return reply.AccessToken, start.Add(time.Duration(reply.ExpiresIn) * time.Second), nil
}

// refusedToken returns the status for an HTTP status of IAM. It is transient when IAM is in
// trouble, and not when IAM refuses the key.
func refusedToken(code int, own string) error {
	grpcCode := grpccodes.Unauthenticated
	if code >= http.StatusInternalServerError || code == http.StatusTooManyRequests {
		grpcCode = grpccodes.Unavailable
	}
	if !errorCode.MatchString(own) {
		return status.Errorf(grpcCode, "IAM token: status %d", code)
	}
	return status.Errorf(grpcCode, "IAM token: status %d, %s", code, own)
}

// soundToken reports whether the token can stand in a header.
func soundToken(token string) bool {
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return token != "" && len(token) <= maxToken
}
