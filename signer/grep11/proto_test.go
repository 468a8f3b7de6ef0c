package grep11_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"pawl/signer/grep11/pb"
)

// ibmSchema returns the schema of IBM's generated code (v1), without an import that only has options.
func ibmSchema(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	packed, _ := (&ibm.Grep11Error{}).Descriptor()
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var file descriptorpb.FileDescriptorProto
	if err := proto.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	file.Dependency = nil
	schema, err := protodesc.NewFile(&file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSchemaHoldsAllOfIBMs(t *testing.T) {
	t.Parallel()
	theirs, ours := ibmSchema(t), pb.File_signer_grep11_grep11_proto
	if theirs.Package() != ours.Package() {
		t.Errorf("package %s, IBM's is %s", ours.Package(), theirs.Package())
	}
	compareMessages(t, theirs.Messages(), ours.Messages())

	methods, got := theirs.Services().ByName("Crypto").Methods(), ours.Services().ByName("Crypto").Methods()
	for i := range methods.Len() {
		want := methods.Get(i)
		m := got.ByName(want.Name())
		if m == nil {
			t.Errorf("rpc %s is missing", want.Name())
			continue
		}
		if m.FullName() != want.FullName() || m.Input().FullName() != want.Input().FullName() ||
			m.Output().FullName() != want.Output().FullName() || m.IsStreamingClient() || m.IsStreamingServer() {
			t.Errorf("rpc %s differs from IBM's", want.Name())
		}
	}
	if methods.Len() != 39 || got.Len() != 40 { // v2 added ReencryptSingle
		t.Errorf("%d RPCs, IBM's v1 has %d: want 40 and 39", got.Len(), methods.Len())
	}
}

func compareMessages(t *testing.T, theirs, ours protoreflect.MessageDescriptors) {
	t.Helper()
	for i := range theirs.Len() {
		want := theirs.Get(i)
		got := ours.ByName(want.Name())
		if got == nil {
			t.Errorf("message %s is missing", want.FullName())
			continue
		}
		compareFields(t, want, got)
		compareEnums(t, want.Enums(), got.Enums())
		compareMessages(t, want.Messages(), got.Messages()) // entries of maps
	}
}

func compareFields(t *testing.T, theirs, ours protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range theirs.Fields().Len() {
		want := theirs.Fields().Get(i)
		got := ours.Fields().ByNumber(want.Number())
		if got == nil {
			t.Errorf("%s: field %d %s is missing", theirs.FullName(), want.Number(), want.Name())
			continue
		}
		if describe(got) != describe(want) || !sameName(got.Name(), want.Name()) ||
			(got.ContainingOneof() == nil) != (want.ContainingOneof() == nil) {
			t.Errorf("%s: field %d is %s %s, IBM's %s %s", theirs.FullName(), want.Number(),
				describe(got), got.Name(), describe(want), want.Name())
		}
	}
}

// sameName allows the suffix by which raw keys of v1 differ from KeyBlobs of v2.
func sameName(ours, theirs protoreflect.Name) bool {
	return ours == theirs || ours == theirs+"Bytes" ||
		ours == "RewrappedKey" && theirs == "KeyBlob" // renamed by IBM's v2
}

func compareEnums(t *testing.T, theirs, ours protoreflect.EnumDescriptors) {
	t.Helper()
	for i := range theirs.Len() {
		want, got := theirs.Get(i), ours.ByName(theirs.Get(i).Name())
		if got == nil {
			t.Errorf("enum %s is missing", want.FullName())
			continue
		}
		for j := range want.Values().Len() {
			value := want.Values().Get(j)
			if got.Values().ByNumber(value.Number()) == nil {
				t.Errorf("enum %s: value %d %s is missing", want.FullName(), value.Number(), value.Name())
			}
		}
	}
}

func describe(f protoreflect.FieldDescriptor) string {
	parts := []string{f.Cardinality().String(), f.Kind().String()}
	if f.IsPacked() {
		parts = append(parts, "packed")
	}
	if f.Message() != nil {
		parts = append(parts, string(f.Message().Name()))
	}
	if f.Enum() != nil {
		parts = append(parts, string(f.Enum().Name()))
	}
	return strings.Join(parts, " ")
}

// The table lists what v2 adds to v1, from protos/server.proto of hpcs-grep11-go v2.0.0.
func TestSchemaHoldsWhatV2Adds(t *testing.T) {
	t.Parallel()
	tests := map[protoreflect.Name]map[protoreflect.FieldNumber]string{
		"DigestKeyRequest":     {3: "KeyBlob Key"},
		"EncryptInitRequest":   {4: "KeyBlob Key"},
		"DecryptInitRequest":   {4: "KeyBlob Key"},
		"EncryptSingleRequest": {5: "KeyBlob Key"},
		"DecryptSingleRequest": {5: "KeyBlob Key"},
		"SignInitRequest":      {4: "KeyBlob PrivKey"},
		"VerifyInitRequest":    {4: "KeyBlob PubKey"},
		"SignSingleRequest":    {5: "KeyBlob PrivKey"},
		"VerifySingleRequest":  {5: "KeyBlob PubKey"},
		"ReencryptSingleRequest": {
			3: "Mechanism DecMech", 4: "Mechanism EncMech", 5: "bytes Ciphered", 7: "KeyBlob DecKey", 8: "KeyBlob EncKey",
		},
		"ReencryptSingleResponse": {6: "bytes Reciphered"},
		"WrapKeyRequest":          {6: "KeyBlob Key", 7: "KeyBlob KeK", 8: "KeyBlob MacKey"},
		"UnwrapKeyRequest":        {11: "KeyBlob KeK", 12: "KeyBlob MacKey"},
		"DeriveKeyRequest":        {10: "KeyBlob BaseKey"},
		"RewrapKeyBlobRequest":    {1: "bytes WrappedKeyBytes", 2: "KeyBlob WrappedKey"},
		"RewrapKeyBlobResponse":   {1: "bytes RewrappedKeyBytes", 2: "KeyBlob RewrappedKey"},
		"Mechanism": {
			6: "BTCDeriveParm BTCDeriveParameter", 7: "ECSGParm ECSGParameter", 8: "KyberKEMParm KyberKEMParameter",
			9: "ECAGGParm ECAGGParameter",
		},
		"BTCDeriveParm": {
			1: "BTCDeriveType Type", 2: "uint64 ChildKeyIndex", 3: "bytes ChainCode", 4: "uint64 Version",
		},
		"ECSGParm": {1: "ECSGType Type"},
		"ECAGGParm": {
			1: "uint32 Version", 2: "ECAGGMode Mode", 3: "uint32 PerElementSize", 4: "bytes Elements",
		},
		"KyberKEMParm": {
			1: "uint32 Version", 2: "KyberMode Mode", 3: "KyberDeriveType Kdf", 4: "bool Prepend",
			5: "bytes CipherText", 6: "bytes SharedData", 7: "bytes Blob",
		},
		"Grep11Error": {1: "uint64 Code", 2: "string Detail", 3: "bool Retry"},
	}
	for name, fields := range tests {
		message := pb.File_signer_grep11_grep11_proto.Messages().ByName(name)
		if message == nil {
			t.Errorf("message %s is missing", name)
			continue
		}
		for number, want := range fields {
			f := message.Fields().ByNumber(number)
			if f == nil {
				t.Errorf("%s: field %d is missing", name, number)
				continue
			}
			words := strings.Fields(describe(f))
			if got := words[len(words)-1] + " " + string(f.Name()); got != want {
				t.Errorf("%s: field %d is %s, want %s", name, number, got, want)
			}
		}
	}
}

// Error details of a server can be read only if the type's name is right.
func TestErrorDetailHasIBMsTypeName(t *testing.T) {
	t.Parallel()
	if got := (&pb.Grep11Error{}).ProtoReflect().Descriptor().FullName(); got != "grep11.Grep11Error" {
		t.Errorf("type name %s", got)
	}
}
