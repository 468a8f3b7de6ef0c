package grep11

// Mechanisms (CKM_…). The standard ones are of PKCS #11 v2.40, Current Mechanisms
// Specification; the IBM ones of "Enterprise PKCS#11 (EP11) Library structure" (ep11.h).
const (
	MechRSAPKCS          uint64 = 0x1        // CKM_RSA_PKCS
	MechECKeyPairGen     uint64 = 0x1040     // CKM_EC_KEY_PAIR_GEN
	MechECDSA            uint64 = 0x1041     // CKM_ECDSA: the data is the digest
	MechECDSASHA1        uint64 = 0x1042     // CKM_ECDSA_SHA1
	MechECDSASHA224      uint64 = 0x1043     // CKM_ECDSA_SHA224
	MechECDSASHA256      uint64 = 0x1044     // CKM_ECDSA_SHA256
	MechECDSASHA384      uint64 = 0x1045     // CKM_ECDSA_SHA384
	MechECDSASHA512      uint64 = 0x1046     // CKM_ECDSA_SHA512
	MechIBMEd25519SHA512 uint64 = 0x8001001c // CKM_IBM_ED25519_SHA512: pure Ed25519 (RFC 8032) over the data
)

// What a mechanism can do (CKF_… of GetMechanismInfo), PKCS #11 v2.40 section 3.5.
const (
	CanSign            uint64 = 0x800     // CKF_SIGN
	CanVerify          uint64 = 0x2000    // CKF_VERIFY
	CanGenerateKeyPair uint64 = 0x10000   // CKF_GENERATE_KEY_PAIR
	CanECPrime         uint64 = 0x100000  // CKF_EC_F_P
	CanECNamedCurve    uint64 = 0x800000  // CKF_EC_NAMEDCURVE
	CanECUncompressed  uint64 = 0x1000000 // CKF_EC_UNCOMPRESS
)

// Attributes (CKA_…), PKCS #11 v2.40 section 4.
const (
	AttrClass            uint64 = 0x0        // CKA_CLASS
	AttrToken            uint64 = 0x1        // CKA_TOKEN
	AttrPrivate          uint64 = 0x2        // CKA_PRIVATE
	AttrLabel            uint64 = 0x3        // CKA_LABEL
	AttrTrusted          uint64 = 0x86       // CKA_TRUSTED
	AttrKeyType          uint64 = 0x100      // CKA_KEY_TYPE
	AttrSensitive        uint64 = 0x103      // CKA_SENSITIVE
	AttrEncrypt          uint64 = 0x104      // CKA_ENCRYPT
	AttrDecrypt          uint64 = 0x105      // CKA_DECRYPT
	AttrWrap             uint64 = 0x106      // CKA_WRAP
	AttrUnwrap           uint64 = 0x107      // CKA_UNWRAP
	AttrSign             uint64 = 0x108      // CKA_SIGN
	AttrSignRecover      uint64 = 0x109      // CKA_SIGN_RECOVER
	AttrVerify           uint64 = 0x10a      // CKA_VERIFY
	AttrVerifyRecover    uint64 = 0x10b      // CKA_VERIFY_RECOVER
	AttrDerive           uint64 = 0x10c      // CKA_DERIVE
	AttrPublicKeyInfo    uint64 = 0x129      // CKA_PUBLIC_KEY_INFO: the DER SubjectPublicKeyInfo
	AttrValueLen         uint64 = 0x161      // CKA_VALUE_LEN
	AttrExtractable      uint64 = 0x162      // CKA_EXTRACTABLE
	AttrLocal            uint64 = 0x163      // CKA_LOCAL
	AttrNeverExtractable uint64 = 0x164      // CKA_NEVER_EXTRACTABLE
	AttrAlwaysSensitive  uint64 = 0x165      // CKA_ALWAYS_SENSITIVE
	AttrModifiable       uint64 = 0x170      // CKA_MODIFIABLE
	AttrECParams         uint64 = 0x180      // CKA_EC_PARAMS: the DER object identifier of the curve
	AttrECPoint          uint64 = 0x181      // CKA_EC_POINT
	AttrIBMRestrictable  uint64 = 0x80010001 // CKA_IBM_RESTRICTABLE
	AttrIBMAttrBound     uint64 = 0x80010004 // CKA_IBM_ATTRBOUND
	AttrIBMUseAsData     uint64 = 0x80010008 // CKA_IBM_USE_AS_DATA
)

// Object classes (CKO_…) and key types (CKK_…), PKCS #11 v2.40 section 4.
const (
	ClassPublicKey  int64 = 2 // CKO_PUBLIC_KEY
	ClassPrivateKey int64 = 3 // CKO_PRIVATE_KEY
	KeyTypeEC       int64 = 3 // CKK_EC
)

// Curves as CKA_EC_PARAMS wants them: a DER object identifier, tag and length included.
const (
	CurveP256      = "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07" // 1.2.840.10045.3.1.7, RFC 5480 section 2.1.1.1
	CurveSecp256k1 = "\x06\x05\x2b\x81\x04\x00\x0a"             // 1.3.132.0.10, SEC 2 section A.2.1
	CurveEd25519   = "\x06\x03\x2b\x65\x70"                     // 1.3.101.112, RFC 8410 section 3
)

// Boolean attributes in the clear part of a blob (Header.Attributes), EP11 manual,
// "Object structures": XCP_BLOB_… bits.
const (
	BlobExtractable      uint64 = 0x1
	BlobNeverExtractable uint64 = 0x2
	BlobModifiable       uint64 = 0x4
	BlobNeverModifiable  uint64 = 0x8
	BlobRestrictable     uint64 = 0x10
	BlobLocal            uint64 = 0x20
	BlobAttrBound        uint64 = 0x40
	BlobUseAsData        uint64 = 0x80
	BlobSign             uint64 = 0x100
	BlobSignRecover      uint64 = 0x200
	BlobDecrypt          uint64 = 0x400
	BlobEncrypt          uint64 = 0x800
	BlobDerive           uint64 = 0x1000
	BlobUnwrap           uint64 = 0x2000
	BlobWrap             uint64 = 0x4000
	BlobVerify           uint64 = 0x8000
	BlobVerifyRecover    uint64 = 0x10000
	BlobTrusted          uint64 = 0x20000
	BlobNeverProtKey     uint64 = 0x400000 // PROTKEY_NEVER_EXTRACTABLE
)
