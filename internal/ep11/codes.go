package ep11

import "fmt"

// Code is a PKCS #11 or EP11 return code.
type Code uint64

// String returns the name of a known code, e.g. CKR_IBM_BLOB_ERROR, or the number in hex,
// e.g. CKR 0x80019999.
func (c Code) String() string {
	if known, ok := codes[c]; ok {
		return known.name
	}
	return fmt.Sprintf("CKR 0x%x", uint64(c))
}

// Transient reports whether the same call may succeed later, or on another server.
func (c Code) Transient() bool { return codes[c].transient }

// Codes that pawl or the software card name.
const (
	CodeGeneralError            Code = 0x5
	CodeArgumentsBad            Code = 0x7
	CodeAttributeReadOnly       Code = 0x10
	CodeAttributeSensitive      Code = 0x11
	CodeAttributeTypeInvalid    Code = 0x12
	CodeAttributeValueInvalid   Code = 0x13
	CodeActionProhibited        Code = 0x1b
	CodeDataInvalid             Code = 0x20
	CodeDataLenRange            Code = 0x21
	CodeDeviceError             Code = 0x30
	CodeEncryptedDataInvalid    Code = 0x40
	CodeEncryptedDataLenRange   Code = 0x41
	CodeFunctionCanceled        Code = 0x50
	CodeFunctionNotSupported    Code = 0x54
	CodeKeySizeRange            Code = 0x62
	CodeKeyTypeInconsistent     Code = 0x63
	CodeKeyIndigestible         Code = 0x67
	CodeKeyFunctionNotPermitted Code = 0x68
	CodeKeyNotWrappable         Code = 0x69
	CodeKeyUnextractable        Code = 0x6a
	CodeMechanismInvalid        Code = 0x70
	CodeMechanismParamInvalid   Code = 0x71
	CodeObjectHandleInvalid     Code = 0x82
	CodeOperationActive         Code = 0x90
	CodeOperationNotInitialized Code = 0x91
	CodeSessionClosed           Code = 0xb0
	CodeSignatureInvalid        Code = 0xc0
	CodeSignatureLenRange       Code = 0xc1
	CodeTemplateIncomplete      Code = 0xd0
	CodeTemplateInconsistent    Code = 0xd1
	CodeWrappedKeyInvalid       Code = 0x110
	CodeWrappedKeyLenRange      Code = 0x112
	CodeDomainParamsInvalid     Code = 0x130
	CodeCurveNotSupported       Code = 0x140
	CodeSavedStateInvalid       Code = 0x160
	CodeIBMWKIDMismatch         Code = 0x80010001
	CodeIBMInternalError        Code = 0x80010002
	CodeIBMBlobError            Code = 0x80010004
	CodeIBMBlobkeyConflict      Code = 0x80010005
	CodeIBMWKNotInitialized     Code = 0x80010009
	CodeIBMNotAuthenticated     Code = 0x80040001
)

// meaning is the name of a code, and whether the same call may succeed later or elsewhere.
type meaning struct {
	name      string
	transient bool
}

// codes names the return codes of PKCS #11 v3.0 (pkcs11t.h), of EP11 (ep11.h and
// its manual) and of the GREP11 layer (hpcs-grep11-go, ep11/header_consts.go).
var codes = map[Code]meaning{
	0x0:        {name: "CKR_OK"},
	0x1:        {name: "CKR_CANCEL"},
	0x2:        {name: "CKR_HOST_MEMORY"},
	0x3:        {name: "CKR_SLOT_ID_INVALID"},
	0x5:        {name: "CKR_GENERAL_ERROR"},
	0x6:        {name: "CKR_FUNCTION_FAILED"},
	0x7:        {name: "CKR_ARGUMENTS_BAD"},
	0x8:        {name: "CKR_NO_EVENT"},
	0x9:        {name: "CKR_NEED_TO_CREATE_THREADS"},
	0xa:        {name: "CKR_CANT_LOCK"},
	0x10:       {name: "CKR_ATTRIBUTE_READ_ONLY"},
	0x11:       {name: "CKR_ATTRIBUTE_SENSITIVE"},
	0x12:       {name: "CKR_ATTRIBUTE_TYPE_INVALID"},
	0x13:       {name: "CKR_ATTRIBUTE_VALUE_INVALID"},
	0x1b:       {name: "CKR_ACTION_PROHIBITED"},
	0x20:       {name: "CKR_DATA_INVALID"},
	0x21:       {name: "CKR_DATA_LEN_RANGE"},
	0x30:       {name: "CKR_DEVICE_ERROR", transient: true},
	0x31:       {name: "CKR_DEVICE_MEMORY"},
	0x32:       {name: "CKR_DEVICE_REMOVED"},
	0x40:       {name: "CKR_ENCRYPTED_DATA_INVALID"},
	0x41:       {name: "CKR_ENCRYPTED_DATA_LEN_RANGE"},
	0x50:       {name: "CKR_FUNCTION_CANCELED"},
	0x51:       {name: "CKR_FUNCTION_NOT_PARALLEL"},
	0x54:       {name: "CKR_FUNCTION_NOT_SUPPORTED"},
	0x60:       {name: "CKR_KEY_HANDLE_INVALID"},
	0x62:       {name: "CKR_KEY_SIZE_RANGE"},
	0x63:       {name: "CKR_KEY_TYPE_INCONSISTENT"},
	0x64:       {name: "CKR_KEY_NOT_NEEDED"},
	0x65:       {name: "CKR_KEY_CHANGED"},
	0x66:       {name: "CKR_KEY_NEEDED"},
	0x67:       {name: "CKR_KEY_INDIGESTIBLE"},
	0x68:       {name: "CKR_KEY_FUNCTION_NOT_PERMITTED"},
	0x69:       {name: "CKR_KEY_NOT_WRAPPABLE"},
	0x6a:       {name: "CKR_KEY_UNEXTRACTABLE"},
	0x70:       {name: "CKR_MECHANISM_INVALID"},
	0x71:       {name: "CKR_MECHANISM_PARAM_INVALID"},
	0x82:       {name: "CKR_OBJECT_HANDLE_INVALID"},
	0x90:       {name: "CKR_OPERATION_ACTIVE"},
	0x91:       {name: "CKR_OPERATION_NOT_INITIALIZED"},
	0xa0:       {name: "CKR_PIN_INCORRECT"},
	0xa1:       {name: "CKR_PIN_INVALID"},
	0xa2:       {name: "CKR_PIN_LEN_RANGE"},
	0xa3:       {name: "CKR_PIN_EXPIRED"},
	0xa4:       {name: "CKR_PIN_LOCKED"},
	0xb0:       {name: "CKR_SESSION_CLOSED"},
	0xb1:       {name: "CKR_SESSION_COUNT"},
	0xb3:       {name: "CKR_SESSION_HANDLE_INVALID"},
	0xb4:       {name: "CKR_SESSION_PARALLEL_NOT_SUPPORTED"},
	0xb5:       {name: "CKR_SESSION_READ_ONLY"},
	0xb6:       {name: "CKR_SESSION_EXISTS"},
	0xb7:       {name: "CKR_SESSION_READ_ONLY_EXISTS"},
	0xb8:       {name: "CKR_SESSION_READ_WRITE_SO_EXISTS"},
	0xc0:       {name: "CKR_SIGNATURE_INVALID"},
	0xc1:       {name: "CKR_SIGNATURE_LEN_RANGE"},
	0xd0:       {name: "CKR_TEMPLATE_INCOMPLETE"},
	0xd1:       {name: "CKR_TEMPLATE_INCONSISTENT"},
	0xe0:       {name: "CKR_TOKEN_NOT_PRESENT"},
	0xe1:       {name: "CKR_TOKEN_NOT_RECOGNIZED"},
	0xe2:       {name: "CKR_TOKEN_WRITE_PROTECTED"},
	0xf0:       {name: "CKR_UNWRAPPING_KEY_HANDLE_INVALID"},
	0xf1:       {name: "CKR_UNWRAPPING_KEY_SIZE_RANGE"},
	0xf2:       {name: "CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT"},
	0x100:      {name: "CKR_USER_ALREADY_LOGGED_IN"},
	0x101:      {name: "CKR_USER_NOT_LOGGED_IN"},
	0x102:      {name: "CKR_USER_PIN_NOT_INITIALIZED"},
	0x103:      {name: "CKR_USER_TYPE_INVALID"},
	0x104:      {name: "CKR_USER_ANOTHER_ALREADY_LOGGED_IN"},
	0x105:      {name: "CKR_USER_TOO_MANY_TYPES"},
	0x110:      {name: "CKR_WRAPPED_KEY_INVALID"},
	0x112:      {name: "CKR_WRAPPED_KEY_LEN_RANGE"},
	0x113:      {name: "CKR_WRAPPING_KEY_HANDLE_INVALID"},
	0x114:      {name: "CKR_WRAPPING_KEY_SIZE_RANGE"},
	0x115:      {name: "CKR_WRAPPING_KEY_TYPE_INCONSISTENT"},
	0x120:      {name: "CKR_RANDOM_SEED_NOT_SUPPORTED"},
	0x121:      {name: "CKR_RANDOM_NO_RNG"},
	0x130:      {name: "CKR_DOMAIN_PARAMS_INVALID"},
	0x140:      {name: "CKR_CURVE_NOT_SUPPORTED"},
	0x150:      {name: "CKR_BUFFER_TOO_SMALL"},
	0x160:      {name: "CKR_SAVED_STATE_INVALID"},
	0x170:      {name: "CKR_INFORMATION_SENSITIVE"},
	0x180:      {name: "CKR_STATE_UNSAVEABLE"},
	0x190:      {name: "CKR_CRYPTOKI_NOT_INITIALIZED"},
	0x191:      {name: "CKR_CRYPTOKI_ALREADY_INITIALIZED"},
	0x1a0:      {name: "CKR_MUTEX_BAD"},
	0x1a1:      {name: "CKR_MUTEX_NOT_LOCKED"},
	0x1b0:      {name: "CKR_NEW_PIN_MODE"},
	0x1b1:      {name: "CKR_NEXT_OTP"},
	0x1b5:      {name: "CKR_EXCEEDED_MAX_ITERATIONS"},
	0x1b6:      {name: "CKR_FIPS_SELF_TEST_FAILED"},
	0x1b7:      {name: "CKR_LIBRARY_LOAD_FAILED"},
	0x1b8:      {name: "CKR_PIN_TOO_WEAK"},
	0x1b9:      {name: "CKR_PUBLIC_KEY_INVALID"},
	0x200:      {name: "CKR_FUNCTION_REJECTED"},
	0x201:      {name: "CKR_TOKEN_RESOURCE_EXCEEDED"},
	0x202:      {name: "CKR_OPERATION_CANCEL_FAILED"},
	0x203:      {name: "CKR_KEY_EXHAUSTED"},
	0x80010001: {name: "CKR_IBM_WKID_MISMATCH"},
	0x80010002: {name: "CKR_IBM_INTERNAL_ERROR", transient: true},
	0x80010003: {name: "CKR_IBM_TRANSPORT_ERROR", transient: true},
	0x80010004: {name: "CKR_IBM_BLOB_ERROR"},
	0x80010005: {name: "CKR_IBM_BLOBKEY_CONFLICT", transient: true},
	0x80010006: {name: "CKR_IBM_MODE_CONFLICT"},
	0x80010008: {name: "CKR_IBM_NONCRT_KEY_SIZE"},
	0x80010009: {name: "CKR_IBM_WK_NOT_INITIALIZED", transient: true},
	0x8001000a: {name: "CKR_IBM_OA_API_ERROR"},
	0x8001000b: {name: "CKR_IBM_REQ_TIMEOUT", transient: true},
	0x8001000c: {name: "CKR_IBM_READONLY"},
	0x8001000d: {name: "CKR_IBM_STATIC_POLICY"},
	0x80010010: {name: "CKR_IBM_TRANSPORT_LIMIT"},
	0x80010011: {name: "CKR_IBM_FCV_NOT_SET"},
	0x80010012: {name: "CKR_IBM_PERF_CATEGORY_INVALID"},
	0x80010013: {name: "CKR_IBM_API_MISMATCH"},
	0x80010030: {name: "CKR_IBM_TARGET_INVALID", transient: true},
	0x80010031: {name: "CKR_IBM_PQC_PARAMS_NOT_SUPPORTED"},
	0x80010032: {name: "CKR_IBM_PARAM_NOT_SUPPORTED"},
	0x80010033: {name: "CKR_IBM_SESSION_IMMUTABLE"},
	0x80010101: {name: "CKR_IBM_ERROR_STATE", transient: true},
	0x80040001: {name: "CKR_IBM_GREP11_NOT_AUTHENTICATED"},
	0x80040002: {name: "CKR_IBM_GREP11_CANNOT_UNMARSHAL"},
	0x80040003: {name: "CKR_IBM_GREP11_CANNOT_MARSHAL"},
	0x80040004: {name: "CKR_IBM_GREP11_CONFLICT"},
	0x80040005: {name: "CKR_IBM_GREP11_DBINTERNAL"},
	0x80040006: {name: "CKR_IBM_GREP11_MISSING"},
	0x80040007: {name: "CKR_IBM_GREP11_REPLAY"},
}
