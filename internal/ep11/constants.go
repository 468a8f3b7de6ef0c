package ep11

// Mechanisms (CKM_…). The standard ones are of PKCS #11 v2.40, Current Mechanisms
// Specification; the IBM ones of "Enterprise PKCS#11 (EP11) Library structure" (ep11.h).
const (
	MechRSAPKCSKeyPairGen   uint64 = 0x0        // CKM_RSA_PKCS_KEY_PAIR_GEN
	MechRSAPKCS             uint64 = 0x1        // CKM_RSA_PKCS
	MechSHA1RSAPKCS         uint64 = 0x6        // CKM_SHA1_RSA_PKCS
	MechRSAPKCSOAEP         uint64 = 0x9        // CKM_RSA_PKCS_OAEP
	MechRSAPKCSPSS          uint64 = 0xd        // CKM_RSA_PKCS_PSS
	MechSHA1RSAPKCSPSS      uint64 = 0xe        // CKM_SHA1_RSA_PKCS_PSS
	MechDSAKeyPairGen       uint64 = 0x10       // CKM_DSA_KEY_PAIR_GEN
	MechDSA                 uint64 = 0x11       // CKM_DSA: the data is the digest
	MechDSASHA1             uint64 = 0x12       // CKM_DSA_SHA1
	MechDHPKCSKeyPairGen    uint64 = 0x20       // CKM_DH_PKCS_KEY_PAIR_GEN
	MechDHPKCSDerive        uint64 = 0x21       // CKM_DH_PKCS_DERIVE
	MechSHA256RSAPKCS       uint64 = 0x40       // CKM_SHA256_RSA_PKCS
	MechSHA384RSAPKCS       uint64 = 0x41       // CKM_SHA384_RSA_PKCS
	MechSHA512RSAPKCS       uint64 = 0x42       // CKM_SHA512_RSA_PKCS
	MechSHA256RSAPKCSPSS    uint64 = 0x43       // CKM_SHA256_RSA_PKCS_PSS
	MechSHA384RSAPKCSPSS    uint64 = 0x44       // CKM_SHA384_RSA_PKCS_PSS
	MechSHA512RSAPKCSPSS    uint64 = 0x45       // CKM_SHA512_RSA_PKCS_PSS
	MechSHA224RSAPKCS       uint64 = 0x46       // CKM_SHA224_RSA_PKCS
	MechSHA224RSAPKCSPSS    uint64 = 0x47       // CKM_SHA224_RSA_PKCS_PSS
	MechSHA512T224          uint64 = 0x48       // CKM_SHA512_224
	MechSHA512T224HMAC      uint64 = 0x49       // CKM_SHA512_224_HMAC
	MechSHA512T256          uint64 = 0x4c       // CKM_SHA512_256
	MechSHA512T256HMAC      uint64 = 0x4d       // CKM_SHA512_256_HMAC
	MechDES3KeyGen          uint64 = 0x131      // CKM_DES3_KEY_GEN
	MechDES3ECB             uint64 = 0x132      // CKM_DES3_ECB
	MechDES3CBC             uint64 = 0x133      // CKM_DES3_CBC
	MechDES3CBCPad          uint64 = 0x136      // CKM_DES3_CBC_PAD
	MechSHA1                uint64 = 0x220      // CKM_SHA_1
	MechSHA1HMAC            uint64 = 0x221      // CKM_SHA_1_HMAC
	MechSHA256              uint64 = 0x250      // CKM_SHA256
	MechSHA256HMAC          uint64 = 0x251      // CKM_SHA256_HMAC
	MechSHA224              uint64 = 0x255      // CKM_SHA224
	MechSHA224HMAC          uint64 = 0x256      // CKM_SHA224_HMAC
	MechSHA384              uint64 = 0x260      // CKM_SHA384
	MechSHA384HMAC          uint64 = 0x261      // CKM_SHA384_HMAC
	MechSHA512              uint64 = 0x270      // CKM_SHA512
	MechSHA512HMAC          uint64 = 0x271      // CKM_SHA512_HMAC
	MechGenericSecretKeyGen uint64 = 0x350      // CKM_GENERIC_SECRET_KEY_GEN
	MechECKeyPairGen        uint64 = 0x1040     // CKM_EC_KEY_PAIR_GEN
	MechECDSA               uint64 = 0x1041     // CKM_ECDSA: the data is the digest
	MechECDSASHA1           uint64 = 0x1042     // CKM_ECDSA_SHA1
	MechECDSASHA224         uint64 = 0x1043     // CKM_ECDSA_SHA224
	MechECDSASHA256         uint64 = 0x1044     // CKM_ECDSA_SHA256
	MechECDSASHA384         uint64 = 0x1045     // CKM_ECDSA_SHA384
	MechECDSASHA512         uint64 = 0x1046     // CKM_ECDSA_SHA512
	MechECDH1Derive         uint64 = 0x1050     // CKM_ECDH1_DERIVE
	MechAESKeyGen           uint64 = 0x1080     // CKM_AES_KEY_GEN
	MechAESECB              uint64 = 0x1081     // CKM_AES_ECB
	MechAESCBC              uint64 = 0x1082     // CKM_AES_CBC
	MechAESCBCPad           uint64 = 0x1085     // CKM_AES_CBC_PAD
	MechDSAParameterGen     uint64 = 0x2000     // CKM_DSA_PARAMETER_GEN
	MechDHPKCSParameterGen  uint64 = 0x2001     // CKM_DH_PKCS_PARAMETER_GEN
	MechIBMSHA3T224         uint64 = 0x80010001 // CKM_IBM_SHA3_224
	MechIBMSHA3T256         uint64 = 0x80010002 // CKM_IBM_SHA3_256
	MechIBMSHA3T384         uint64 = 0x80010003 // CKM_IBM_SHA3_384
	MechIBMSHA3T512         uint64 = 0x80010004 // CKM_IBM_SHA3_512
	MechIBMECDSASHA224      uint64 = 0x80010008 // CKM_IBM_ECDSA_SHA224: CKM_ECDSA_SHA224 before PKCS #11 had it
	MechIBMECDSASHA256      uint64 = 0x80010009 // CKM_IBM_ECDSA_SHA256
	MechIBMECDSASHA384      uint64 = 0x8001000a // CKM_IBM_ECDSA_SHA384
	MechIBMECDSASHA512      uint64 = 0x8001000b // CKM_IBM_ECDSA_SHA512
	MechIBMSHA512T256       uint64 = 0x80010012 // CKM_IBM_SHA512_256
	MechIBMSHA512T224       uint64 = 0x80010013 // CKM_IBM_SHA512_224
	MechIBMSHA512T256HMAC   uint64 = 0x80010014 // CKM_IBM_SHA512_256_HMAC
	MechIBMSHA512T224HMAC   uint64 = 0x80010015 // CKM_IBM_SHA512_224_HMAC
	MechIBMSHA3T224HMAC     uint64 = 0x80010025 // CKM_IBM_SHA3_224_HMAC
	MechIBMSHA3T256HMAC     uint64 = 0x80010026 // CKM_IBM_SHA3_256_HMAC
	MechIBMSHA3T384HMAC     uint64 = 0x80010027 // CKM_IBM_SHA3_384_HMAC
	MechIBMSHA3T512HMAC     uint64 = 0x80010028 // CKM_IBM_SHA3_512_HMAC
	MechIBMECDSAOther       uint64 = 0x80010031 // CKM_IBM_ECDSA_OTHER: Schnorr signatures, by its parameter
	MechIBMAttrBoundWrap    uint64 = 0x80020004 // CKM_IBM_ATTRIBUTEBOUND_WRAP
	MechIBMTransportKey     uint64 = 0x80020005 // CKM_IBM_TRANSPORTKEY: makes a card's public key of an SPKI
	MechIBMBTCDerive        uint64 = 0x80070001 // CKM_IBM_BTC_DERIVE: BIP-32 and SLIP-0010
	MechIBMEd25519SHA512    uint64 = 0x8001001c // CKM_IBM_ED25519_SHA512: pure Ed25519 (RFC 8032) over the data
)

// What a mechanism can do (CKF_… of GetMechanismInfo), PKCS #11 v2.40 section 3.5.
const (
	CanEncrypt         uint64 = 0x100     // CKF_ENCRYPT
	CanDecrypt         uint64 = 0x200     // CKF_DECRYPT
	CanDigest          uint64 = 0x400     // CKF_DIGEST
	CanSign            uint64 = 0x800     // CKF_SIGN
	CanVerify          uint64 = 0x2000    // CKF_VERIFY
	CanGenerate        uint64 = 0x8000    // CKF_GENERATE
	CanGenerateKeyPair uint64 = 0x10000   // CKF_GENERATE_KEY_PAIR
	CanWrap            uint64 = 0x20000   // CKF_WRAP
	CanUnwrap          uint64 = 0x40000   // CKF_UNWRAP
	CanDerive          uint64 = 0x80000   // CKF_DERIVE
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
	AttrValue            uint64 = 0x11       // CKA_VALUE
	AttrTrusted          uint64 = 0x86       // CKA_TRUSTED
	AttrCheckValue       uint64 = 0x90       // CKA_CHECK_VALUE
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
	AttrModulus          uint64 = 0x120      // CKA_MODULUS
	AttrModulusBits      uint64 = 0x121      // CKA_MODULUS_BITS
	AttrPublicExponent   uint64 = 0x122      // CKA_PUBLIC_EXPONENT
	AttrPublicKeyInfo    uint64 = 0x129      // CKA_PUBLIC_KEY_INFO: the DER SubjectPublicKeyInfo
	AttrPrimeBits        uint64 = 0x133      // CKA_PRIME_BITS
	AttrValueLen         uint64 = 0x161      // CKA_VALUE_LEN
	AttrExtractable      uint64 = 0x162      // CKA_EXTRACTABLE
	AttrLocal            uint64 = 0x163      // CKA_LOCAL
	AttrNeverExtractable uint64 = 0x164      // CKA_NEVER_EXTRACTABLE
	AttrAlwaysSensitive  uint64 = 0x165      // CKA_ALWAYS_SENSITIVE
	AttrModifiable       uint64 = 0x170      // CKA_MODIFIABLE
	AttrCopyable         uint64 = 0x171      // CKA_COPYABLE
	AttrECParams         uint64 = 0x180      // CKA_EC_PARAMS: the DER object identifier of the curve
	AttrECPoint          uint64 = 0x181      // CKA_EC_POINT
	AttrWrapWithTrusted  uint64 = 0x210      // CKA_WRAP_WITH_TRUSTED
	AttrIBMRestrictable  uint64 = 0x80010001 // CKA_IBM_RESTRICTABLE
	AttrIBMAttrBound     uint64 = 0x80010004 // CKA_IBM_ATTRBOUND
	AttrIBMUseAsData     uint64 = 0x80010008 // CKA_IBM_USE_AS_DATA
	AttrIBMStructParams  uint64 = 0x80010009 // CKA_IBM_STRUCT_PARAMS: domain parameters
)

// Object classes (CKO_…) and key types (CKK_…), PKCS #11 v2.40 section 4.
const (
	ClassPublicKey  int64 = 2 // CKO_PUBLIC_KEY
	ClassPrivateKey int64 = 3 // CKO_PRIVATE_KEY
	ClassSecretKey  int64 = 4 // CKO_SECRET_KEY

	KeyTypeRSA           int64 = 0    // CKK_RSA
	KeyTypeDSA           int64 = 1    // CKK_DSA
	KeyTypeDH            int64 = 2    // CKK_DH
	KeyTypeEC            int64 = 3    // CKK_EC
	KeyTypeGenericSecret int64 = 0x10 // CKK_GENERIC_SECRET
	KeyTypeDES3          int64 = 0x15 // CKK_DES3
	KeyTypeAES           int64 = 0x1f // CKK_AES
)

// Curves as CKA_EC_PARAMS wants them: a DER object identifier, tag and length included.
const (
	CurveP256      = "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07" // 1.2.840.10045.3.1.7, RFC 5480 section 2.1.1.1
	CurveP224      = "\x06\x05\x2b\x81\x04\x00\x21"             // 1.3.132.0.33, the same
	CurveP384      = "\x06\x05\x2b\x81\x04\x00\x22"             // 1.3.132.0.34, the same
	CurveP521      = "\x06\x05\x2b\x81\x04\x00\x23"             // 1.3.132.0.35, the same
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
	BlobWrapWithTrusted  uint64 = 0x40000
	BlobNeverProtKey     uint64 = 0x400000 // PROTKEY_NEVER_EXTRACTABLE
)
