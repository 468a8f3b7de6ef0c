package grep11_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// signError returns the error of Sign when the server answers with err.
func signError(t *testing.T, err error) error {
	t.Helper()
	client := dialScripted(t, grep11.Config{}, func(
		context.Context, *pb.SignSingleRequest,
	) (*pb.SignSingleResponse, error) {
		return nil, err
	})
	_, got := keyOf(t, client, ep11test.Blob()).Sign(t.Context(), tezos.Message{})
	return got
}

// Codes that a signer meets, their names, and whether they are transient.
func TestReturnCodesOnTheWire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code      ep11.Code
		name      string
		transient bool
	}{
		{0x80010004, "CKR_IBM_BLOB_ERROR", false},
		{0x80010001, "CKR_IBM_WKID_MISMATCH", false},
		{0x80010005, "CKR_IBM_BLOBKEY_CONFLICT", true},
		{0x80010009, "CKR_IBM_WK_NOT_INITIALIZED", true},
		{0xb0, "CKR_SESSION_CLOSED", false},
		{0xa0, "CKR_PIN_INCORRECT", false},
		{0x70, "CKR_MECHANISM_INVALID", false},
		{0x71, "CKR_MECHANISM_PARAM_INVALID", false},
		{0x140, "CKR_CURVE_NOT_SUPPORTED", false},
		{0x80010031, "CKR_IBM_PQC_PARAMS_NOT_SUPPORTED", false},
		{0xc0, "CKR_SIGNATURE_INVALID", false},
		{0xc1, "CKR_SIGNATURE_LEN_RANGE", false},
		{0xd0, "CKR_TEMPLATE_INCOMPLETE", false},
		{0xd1, "CKR_TEMPLATE_INCONSISTENT", false},
		{0x68, "CKR_KEY_FUNCTION_NOT_PERMITTED", false},
		{0x6a, "CKR_KEY_UNEXTRACTABLE", false},
		{0x69, "CKR_KEY_NOT_WRAPPABLE", false},
		{0x50, "CKR_FUNCTION_CANCELED", false},
		{0x8001000d, "CKR_IBM_STATIC_POLICY", false},
		{0x8001000c, "CKR_IBM_READONLY", false},
		{0x110, "CKR_WRAPPED_KEY_INVALID", false},
		{0x160, "CKR_SAVED_STATE_INVALID", false},
		{0x80010002, "CKR_IBM_INTERNAL_ERROR", true},
		{0x80010003, "CKR_IBM_TRANSPORT_ERROR", true},
		{0x8001000b, "CKR_IBM_REQ_TIMEOUT", true},
		{0x80010030, "CKR_IBM_TARGET_INVALID", true},
		{0x80010101, "CKR_IBM_ERROR_STATE", true},
		{0x30, "CKR_DEVICE_ERROR", true},
		{0x80040001, "CKR_IBM_GREP11_NOT_AUTHENTICATED", false},
		{0x80040002, "CKR_IBM_GREP11_CANNOT_UNMARSHAL", false},
		{0x80040003, "CKR_IBM_GREP11_CANNOT_MARSHAL", false},
		{0x80040004, "CKR_IBM_GREP11_CONFLICT", false},
		{0x80040005, "CKR_IBM_GREP11_DBINTERNAL", false},
		{0x80040006, "CKR_IBM_GREP11_MISSING", false},
		{0x80040007, "CKR_IBM_GREP11_REPLAY", false},
		{0x54, "CKR_FUNCTION_NOT_SUPPORTED", false},
		{0x5, "CKR_GENERAL_ERROR", false},
		{0x12345678, "CKR 0x12345678", false},
	}
	var answer error
	client := dialScripted(t, grep11.Config{}, func(
		context.Context, *pb.SignSingleRequest,
	) (*pb.SignSingleResponse, error) {
		return nil, answer
	})
	key := keyOf(t, client, ep11test.Blob())
	for _, test := range tests {
		// A gRPC code beside a return code is ignored.
		for _, grpcCode := range []codes.Code{codes.Unknown, codes.Unavailable, codes.DeadlineExceeded, codes.Internal} {
			answer = refuse(t, grpcCode, test.code, "the detail")
			_, err := key.Sign(t.Context(), tezos.Message{})
			e, ok := errors.AsType[*grep11.Error](err)
			if !ok || *e != (grep11.Error{RPC: "SignSingle", Code: test.code, Detail: "the detail"}) {
				t.Errorf("%s with %v: got %v", test.name, grpcCode, err)
				continue
			}
			if want := fmt.Sprintf("SignSingle: %s (0x%x): the detail", test.name, uint64(test.code)); err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
			if got := grep11.Transient(fmt.Errorf("signing: %w", err)); got != test.transient {
				t.Errorf("%s with %v: transient %t", test.name, grpcCode, got)
			}
		}
	}
}

func TestErrorsWithoutReturnCode(t *testing.T) {
	t.Parallel()
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		err := signError(t, status.Error(code, "words of\nthe server"))
		if status.Code(err) != code {
			t.Errorf("%v: gRPC code of %v is %v", code, err, status.Code(err))
		}
		if want := fmt.Sprintf("SignSingle: %v: words of the server", code); err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		if want := code == codes.Unavailable || code == codes.DeadlineExceeded; grep11.Transient(err) != want {
			t.Errorf("%v: transient %t", code, !want)
		}
		if _, ok := errors.AsType[*grep11.Error](err); ok {
			t.Errorf("%v: has a return code", code)
		}
	}
	for _, err := range []error{nil, errors.New("other"), context.Canceled} {
		if grep11.Transient(err) {
			t.Errorf("%v: transient", err)
		}
	}
}

func TestErrorsNeverQuoteABlob(t *testing.T) {
	t.Parallel()
	blob := ep11test.Blob()
	for name, words := range map[string]string{
		"hex":       "bad key " + blob.Hex() + " refused",
		"upper hex": strings.ToUpper(blob.Hex()),
		"base64":    base64.StdEncoding.EncodeToString(blob),
	} {
		for _, err := range []error{
			signError(t, refuse(t, codes.Unknown, ep11.CodeIBMBlobError, words)),
			signError(t, status.Error(codes.Unavailable, words)),
		} {
			ep11test.CheckHidden(t, name, err.Error())
			if !strings.Contains(err.Error(), "[redacted]") {
				t.Errorf("%s: %v does not say that it left something out", name, err)
			}
		}
	}
}

func TestErrorsAreOneShortLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü and more ", 1000)
	for _, words := range []string{"two\nlines", "tab\tand\r\nreturn", "bell\a null\x00 escape\x1b[31m", long, ""} {
		for _, err := range []error{
			signError(t, refuse(t, codes.Unknown, ep11.CodeIBMBlobError, words)),
			signError(t, status.Error(codes.Internal, words)),
		} {
			if text := err.Error(); strings.ContainsAny(text, "\n\r\t\a\x00\x1b") || len(text) > 400 ||
				strings.Contains(text, "\ufffd") {
				t.Errorf("%.20q gave %q", words, text)
			}
		}
	}
}
