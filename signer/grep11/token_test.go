package grep11_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/signer/grep11"
)

const apiKey = "0aZ-_apikey-of-a-test-that-must-be-seen-nowhere"

// iam is a stand-in for IBM Cloud's token service. It gives token-1, token-2 and so on.
type iam struct {
	*httptest.Server
	asked  atomic.Int64
	answer func(w http.ResponseWriter, n int64)
}

func newIAM(t *testing.T, answer func(w http.ResponseWriter, n int64)) *iam {
	t.Helper()
	s := &iam{answer: answer}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.asked.Add(1)
		body, err := io.ReadAll(r.Body)
		form, parseErr := url.ParseQuery(string(body))
		want := url.Values{"grant_type": {"urn:ibm:params:oauth:grant-type:apikey"}, "apikey": {apiKey}}
		if err != nil || parseErr != nil || form.Encode() != want.Encode() || r.Method != http.MethodPost || r.URL.Path != "/identity/token" ||
			r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("%s %s: %q, %v, %v", r.Method, r.URL, body, err, parseErr)
		}
		s.answer(w, n)
	}))
	t.Cleanup(s.Close)
	return s
}

// anHour answers as IAM does.
func anHour(w http.ResponseWriter, n int64) {
	_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","refresh_token":"not_supported","token_type":"Bearer","expires_in":3600,"expiration":1}`, n)
}

func keyFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "apikey")
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *iam) tokens(t *testing.T) *grep11.TokenSource {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	source, err := grep11.NewTokenSource(keyFile(t, apiKey+"\n", 0o600), s.URL, pool)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func wantToken(t *testing.T, source *grep11.TokenSource, want string) {
	t.Helper()
	if got, err := source.Authorization(t.Context()); got != "Bearer "+want || err != nil {
		t.Errorf("%q, %v, want Bearer %s", got, err, want)
	}
}

func TestOneTokenForManyCalls(t *testing.T) {
	t.Parallel()
	s := newIAM(t, anHour)
	source := s.tokens(t)
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() { wantToken(t, source, "token-1") })
	}
	calls.Wait()
	source.Pass(58 * time.Minute)
	wantToken(t, source, "token-1")
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times for one token", n)
	}
	if !source.OverTLSOnly() {
		t.Error("the token may go without TLS")
	}
}

// A key file that others may read is refused at the start. If its rights change later, no call waits
// for an operator: whoever could read it has read it.
func TestRightsOfTheKeyFileThatChangeLater(t *testing.T) {
	t.Parallel()
	s := newIAM(t, anHour)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	path := keyFile(t, apiKey+"\n", 0o600)
	source, err := grep11.NewTokenSource(path, s.URL, pool)
	if err != nil {
		t.Fatal(err)
	}
	wantToken(t, source, "token-1")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	source.Pass(2 * time.Hour)
	wantToken(t, source, "token-2")
	if _, err := grep11.NewTokenSource(path, s.URL, pool); err == nil {
		t.Error("a start takes it")
	}
}

// In its last minute a token still serves, while another one is fetched.
func TestATokenIsRenewedAMinuteEarly(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	s := newIAM(t, func(w http.ResponseWriter, n int64) {
		if n > 1 {
			<-hold
		}
		anHour(w, n)
	})
	source := s.tokens(t)
	wantToken(t, source, "token-1")
	source.Pass(59*time.Minute + time.Second)
	for range 3 {
		wantToken(t, source, "token-1")
	}
	close(hold)
	eventually(t, "the renewal", func() error {
		if got, err := source.Authorization(t.Context()); got != "Bearer token-2" {
			return fmt.Errorf("%s, %w", got, err)
		}
		return nil
	})
	source.Pass(time.Hour) // it has ended: the next call waits
	wantToken(t, source, "token-3")
}

// A renewal that fails leaves the old token as long as it lasts.
func TestAFailedRenewalIsNotFeltBeforeTheEnd(t *testing.T) {
	t.Parallel()
	s := newIAM(t, func(w http.ResponseWriter, n int64) {
		if n > 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		anHour(w, n)
	})
	source := s.tokens(t)
	wantToken(t, source, "token-1")
	source.Pass(59*time.Minute + time.Second)
	wantToken(t, source, "token-1")
	eventually(t, "the renewal", func() error {
		if s.asked.Load() < 2 {
			return errors.New("not asked")
		}
		return nil
	})
	wantToken(t, source, "token-1")
	source.Pass(time.Minute)
	if got, err := source.Authorization(t.Context()); got != "" || status.Code(err) != codes.Unavailable {
		t.Errorf("after its end: %q, %v", got, err)
	}
}

func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		code   codes.Code
		want   string
	}{
		"wrong key":       {400, `{"errorCode":"BXNIM0415E","errorMessage":"` + apiKey + `"}`, codes.Unauthenticated, "IAM token: status 400, BXNIM0415E"},
		"a 400 and token": {400, `{"access_token":"token-1","expires_in":3600}`, codes.Unauthenticated, "IAM token: status 400"},
		"no errorCode":    {401, `go away ` + apiKey, codes.Unauthenticated, "IAM token: status 401"},
		"odd errorCode":   {403, `{"errorCode":"` + apiKey + `"}`, codes.Unauthenticated, "IAM token: status 403"},
		"flood":           {429, ``, codes.Unavailable, "IAM token: status 429"},
		"trouble":         {500, ``, codes.Unavailable, "IAM token: status 500"},
		"not followed":    {302, ``, codes.Unauthenticated, "IAM token: status 302"},
		"no JSON":         {200, `<html>`, codes.Unavailable, "is not the JSON of a token"},
		"no token":        {200, `{"expires_in":3600}`, codes.Unavailable, "holds no token that lasts"},
		"no end":          {200, `{"access_token":"token-1"}`, codes.Unavailable, "holds no token that lasts"},
		"ended":           {200, `{"access_token":"token-1","expires_in":-1}`, codes.Unavailable, "holds no token that lasts"},
		"endless":         {200, `{"access_token":"token-1","expires_in":9223372036854775807}`, codes.Unavailable, "holds no token that lasts"},
		"two lines":       {200, `{"access_token":"token-1\r\nx: y","expires_in":3600}`, codes.Unavailable, "holds no token that lasts"},
		"too long":        {200, `{"access_token":"` + strings.Repeat("t", 16<<10+1) + `","expires_in":3600}`, codes.Unavailable, "holds no token that lasts"},
		"flooded":         {200, `{"x":"` + strings.Repeat("t", 1<<20) + `","access_token":"token-1","expires_in":3600}`, codes.Unavailable, "is not the JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newIAM(t, func(w http.ResponseWriter, _ int64) {
				w.Header().Set("Location", "/identity/token")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			source := s.tokens(t)
			for range 3 { // a failure is told again for a second, and not asked for
				got, err := source.Authorization(t.Context())
				if got != "" || status.Code(err) != test.code || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "apikey-of") ||
					strings.Contains(err.Error(), "token-1") {
					t.Errorf("%q, %v, want %v: %s", got, err, test.code, test.want)
				}
			}
			if n := s.asked.Load(); n != 1 {
				t.Errorf("asked %d times within a second", n)
			}
			source.Pass(2 * time.Second)
			_, _ = source.Authorization(t.Context())
			if n := s.asked.Load(); n != 2 {
				t.Errorf("asked %d times after the pause, want 2", n)
			}
		})
	}
}

// A token of less than two minutes is not asked for anew at each call.
func TestAShortTokenServesHalfItsLife(t *testing.T) {
	t.Parallel()
	s := newIAM(t, func(w http.ResponseWriter, n int64) {
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":40}`, n)
	})
	source := s.tokens(t)
	for range 5 {
		wantToken(t, source, "token-1")
		time.Sleep(5 * time.Millisecond) // a renewal would be there
	}
	source.Pass(15 * time.Second)
	wantToken(t, source, "token-1")
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times in half of its life", n)
	}
	source.Pass(10 * time.Second)
	eventually(t, "the renewal", func() error {
		if got, err := source.Authorization(t.Context()); got != "Bearer token-2" {
			return fmt.Errorf("%s, %w", got, err)
		}
		return nil
	})
}

// A key that is refused is tried ever more seldom, but each minute.
func TestARefusedKeyIsTriedSeldom(t *testing.T) {
	t.Parallel()
	s := newIAM(t, func(w http.ResponseWriter, _ int64) { w.WriteHeader(http.StatusBadRequest) })
	source := s.tokens(t)
	for range 60 { // twenty minutes
		_, _ = source.Authorization(t.Context())
		source.Pass(20 * time.Second)
	}
	if n := s.asked.Load(); n < 20 || n > 25 {
		t.Errorf("asked %d times in twenty minutes", n)
	}
}

// A caller that leaves takes nothing from the others.
// TestATokenThatIsRefusedIsDropped: one that the server takes no more, revoked for one, does
// not serve until its end; and a server that takes none has IAM asked once a second.
func TestATokenThatIsRefusedIsDropped(t *testing.T) {
	t.Parallel()
	s := newIAM(t, anHour)
	source := s.tokens(t)
	wantToken(t, source, "token-1")
	answered := func(code codes.Code) {
		t.Helper()
		answer := status.Error(code, "of the server")
		if err := source.Answered(t.Context(), answer); !errors.Is(err, answer) {
			t.Errorf("%v, want the server's answer", err)
		}
	}
	answered(codes.Unauthenticated)
	wantToken(t, source, "token-1") // it is new
	source.Pass(time.Second)
	answered(codes.Unavailable)
	answered(codes.OK)
	wantToken(t, source, "token-1")
	answered(codes.Unauthenticated)
	wantToken(t, source, "token-2")
}

func TestATokenDoesNotOutwaitItsCaller(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	s := newIAM(t, func(w http.ResponseWriter, n int64) {
		<-hold
		anHour(w, n)
	})
	source := s.tokens(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := source.Authorization(ctx)
	if want := "IAM token: none has come from " + s.URL; status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %v: %s", err, codes.DeadlineExceeded, want)
	}
	close(hold)
	wantToken(t, source, "token-1")
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnUnknownIAMIsNotGivenTheKey(t *testing.T) {
	t.Parallel()
	s := newIAM(t, anHour)
	source, err := grep11.NewTokenSource(keyFile(t, apiKey, 0o600), s.URL, x509.NewCertPool())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Authorization(t.Context()); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("%v", err)
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("was asked %d times", n)
	}
}

func TestAPIKeysThatAreNone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ path, want string }{
		"missing":  {filepath.Join(t.TempDir(), "none"), "no such file"},
		"empty":    {keyFile(t, " \n", 0o600), "holds no API key"},
		"two":      {keyFile(t, "secret1\nsecret2", 0o600), "holds no API key"},
		"a form":   {keyFile(t, "secret1&x=y", 0o600), "holds no API key"},
		"too long": {keyFile(t, strings.Repeat("secret1", 1000), 0o600), "holds no API key"},
		"open":     {keyFile(t, "secret1", 0o640), "mode 0640 is too open: chmod 600"},
	} {
		_, err := grep11.NewTokenSource(test.path, "https://iam.example.com", nil)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret1") {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestIAMEndpoints(t *testing.T) {
	t.Parallel()
	for endpoint, ok := range map[string]bool{
		grep11.DefaultIAMEndpoint: true, "https://private.iam.cloud.ibm.com/": true, "https://h:8443": true,
		"http://iam.cloud.ibm.com": false, "iam.cloud.ibm.com": false, "https://": false, "https://u:p@h": false, "https://h?x=y": false, "https://h#x": false, "%": false, "": false,
	} {
		if err := grep11.CheckIAMEndpoint(endpoint); (err == nil) != ok {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}

// What Dial says of an API key with something wrong beside it.
func TestDialWithAnAPIKey(t *testing.T) {
	t.Parallel()
	key := keyFile(t, apiKey, 0o600)
	for name, test := range map[string]struct {
		cfg  grep11.Config
		want string
	}{
		"no files":   {grep11.Config{APIKeyFile: key}, ""},
		"plaintext":  {grep11.Config{APIKeyFile: key, Plaintext: true}, "over TLS only"},
		"no key":     {grep11.Config{IAMEndpoint: "https://h"}, "needs apikey_file"},
		"endpoint":   {grep11.Config{APIKeyFile: key, IAMEndpoint: "http://h"}, "no IAM endpoint"},
		"half a TLS": {grep11.Config{APIKeyFile: key, CertPath: "client.pem"}, "set cert_path and key_path, or neither"},
		"no CA":      {grep11.Config{APIKeyFile: key, CACertPath: filepath.Join(t.TempDir(), "none")}, "no such file"},
	} {
		test.cfg.Address = "127.0.0.1:1"
		client, err := grep11.Dial(test.cfg)
		switch {
		case err == nil && test.want == "":
			_ = client.Close()
		case err == nil || test.want == "" || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}
