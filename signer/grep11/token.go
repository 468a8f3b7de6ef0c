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

// DefaultIAMEndpoint is where tokens of IBM Cloud come from
// (https://cloud.ibm.com/apidocs/iam-identity-token-api).
const DefaultIAMEndpoint = "https://iam.cloud.ibm.com"

const (
	tokenTimeout = 10 * time.Second // for a token to come, whoever waits for it
	tokenRenewal = time.Minute      // before its end a token is renewed
	tokenPause   = time.Second      // after a failure or a token, before the next try
	maxPause     = time.Minute      // when the key is refused again and again

	maxAPIKey   = 1 << 10 // bytes; IBM's have 44
	maxToken    = 16 << 10
	maxIAMReply = 64 << 10
)

// callCredentials adds a token to each call if cfg has an API key.
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

// tokenTrouble begins the statuses of calls that had no token.
const tokenTrouble = "IAM token: "

// NoToken reports whether a call was not made for want of a token: the trouble is with the IAM
// endpoint or the API key, not with the server.
func NoToken(err error) bool {
	transport, ok := errors.AsType[*transportError](err)
	return ok && strings.HasPrefix(transport.status.Message(), tokenTrouble)
}

// CheckIAMEndpoint returns nil if a token may be asked for there: https and a host, and
// nothing else that a call would have to carry.
func CheckIAMEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is no IAM endpoint: write https://host", endpoint)
	}
	return nil
}

// tokens holds a bearer token of IBM Cloud for many calls. It is renewed a minute before its
// end, or at half of a shorter life, while the old one still serves.
type tokens struct {
	keyFile string
	url     string
	client  *http.Client

	mu      sync.Mutex
	token   string
	given   time.Time
	end     time.Time
	renewal time.Duration // before end: a minute, or half of a shorter life
	asking  chan struct{} // closed when the answer is there; nil when nobody asks
	failure error         // of the last try
	failed  time.Time
	pause   time.Duration // after failed; twice as long each time that the key is refused
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
	key, err := readAPIKey(keyFile, durable.ReadPrivate) // only to say at once that it is unusable
	clear(key)
	if err != nil {
		return nil, err
	}
	return &tokens{keyFile: keyFile, url: target, renewal: tokenRenewal, client: &http.Client{
		Timeout: tokenTimeout,
		// The key goes to the endpoint and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// GetRequestMetadata returns the token of a call.
func (t *tokens) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity is true: without TLS gRPC refuses the connection.
func (t *tokens) RequireTransportSecurity() bool { return true }

// intercept makes a call and drops a token that the server refuses: the next call asks for
// another. A token younger than a second stays, or a server that refuses every token would
// have IAM asked for each call.
func (t *tokens) intercept(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	opts ...grpc.CallOption,
) error {
	err := invoke(ctx, method, request, reply, conn, opts...)
	if status.Code(err) == grpccodes.Unauthenticated {
		t.mu.Lock()
		defer t.mu.Unlock()
		if time.Since(t.given) >= tokenPause {
			t.end = time.Time{}
		}
	}
	return err
}

// get returns a valid token. Calls that need a new one wait for the same answer, each as long
// as its ctx allows; the errors are gRPC statuses.
func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	left := time.Until(t.end)
	if left < t.renewal && t.asking == nil && time.Since(t.failed) >= t.pause {
		t.asking = make(chan struct{})
		go t.renew() //nolint:gosec // not within ctx: the token is for others too
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
		return "", status.Errorf(status.FromContextError(ctx.Err()).Code(), "%snone has come from %s yet",
			tokenTrouble, t.url)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Until(t.end) > 0 {
		return t.token, nil
	}
	return "", t.failure
}

// renew asks for a token in its own time: a caller that leaves changes nothing.
func (t *tokens) renew() {
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	token, end, err := t.ask(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.token, t.given, t.end, t.failure, t.failed, t.pause = token, time.Now(), end, nil, time.Time{}, 0
		t.renewal = min(tokenRenewal, time.Until(end)/2)
	case status.Code(err) == grpccodes.Unauthenticated:
		t.failure, t.failed, t.pause = err, time.Now(), min(max(tokenPause, 2*t.pause), maxPause)
	default:
		t.failure, t.failed, t.pause = err, time.Now(), tokenPause
	}
	close(t.asking)
	t.asking = nil
}

// ask makes one request for a token. Neither the key nor a token is in its errors.
func (t *tokens) ask(ctx context.Context) (token string, end time.Time, err error) {
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

// form is the request's body, with the key in it.
func (t *tokens) form() ([]byte, error) {
	key, err := readAPIKey(t.keyFile, durable.ReadSecret) // rights that change later stop no signature
	defer clear(key)
	if err != nil {
		return nil, err
	}
	const grant = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey="
	form := make([]byte, 0, len(grant)+len(key))
	return append(append(form, grant...), key...), nil
}

// readAPIKey reads the key. It has letters, digits, - and _, none of which a form would escape.
func readAPIKey(path string, read func(path string, limit int) ([]byte, error)) ([]byte, error) {
	text, err := read(path, maxAPIKey)
	if err != nil && !errors.Is(err, durable.ErrTooLarge) {
		return nil, fmt.Errorf("API key: %v", err)
	}
	plain, err := durable.Text(text)
	if err != nil {
		clear(text)
		return nil, fmt.Errorf("API key: %s %w", path, err)
	}
	key := bytes.TrimSpace(plain)
	if len(key) == 0 || bytes.ContainsFunc(key, notInKey) {
		clear(text)
		return nil, fmt.Errorf("API key: %s holds no API key: it has to be one line of letters, digits, - and _", path)
	}
	return key, nil
}

func notInKey(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
}

// errorCode is IAM's own, e.g. BXNIM0415E: API key could not be found.
var errorCode = regexp.MustCompile(`^[A-Z0-9]{4,20}$`)

// readToken reads an answer of IAM to a request that was sent at start.
func readToken(response *http.Response, start time.Time) (token string, end time.Time, err error) {
	var reply struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
		ErrorCode   string `json:"errorCode"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxIAMReply)).Decode(&reply)
	if response.StatusCode != http.StatusOK {
		return "", time.Time{}, refusedToken(response.StatusCode, reply.ErrorCode)
	}
	const day = 24 * 60 * 60 // no token of IAM lasts longer, so what is longer is no such answer
	switch {
	case err != nil:
		return "", time.Time{}, status.Error(grpccodes.Unavailable, "IAM token: the answer is not the JSON of a token")
	case !soundToken(reply.AccessToken), reply.ExpiresIn <= 0, reply.ExpiresIn > day:
		return "", time.Time{}, status.Error(grpccodes.Unavailable, "IAM token: the answer holds no token that lasts")
	}
	return reply.AccessToken, start.Add(time.Duration(reply.ExpiresIn) * time.Second), nil
}

// refusedToken returns an error that is transient if IAM is in trouble, and permanent if it
// refuses the key.
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

// soundToken reports whether the token fits into a header.
func soundToken(token string) bool {
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return token != "" && len(token) <= maxToken
}
