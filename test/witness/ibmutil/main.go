// Command ibmutil calls a GREP11 server with IBM's own client code and reads its
// failures with util.Convert, as IBM's examples do. It is a program of its own
// because that package claims the message name grep11.Grep11Error for itself: no
// other code that knows the name may be in the same binary.
//
// It prints one line per provocation, "name code retry", and ends with status 1 if
// anything that must succeed fails.
package main

import (
	"bytes"
	"context"
	"encoding/asn1"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/IBM-Cloud/hpcs-grep11-go/ep11"
	pb "github.com/IBM-Cloud/hpcs-grep11-go/grpc"
	"github.com/IBM-Cloud/hpcs-grep11-go/util"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ibmutil: error:", err)
		cancel()
		os.Exit(1) //nolint:gocritic // cancel has run
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("want the address of a server without TLS, got %d arguments", len(args))
	}
	conn, err := grpc.NewClient(args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := pb.NewCryptoClient(conn)
	for _, oid := range []asn1.ObjectIdentifier{
		util.OIDNamedCurveED25519, util.OIDNamedCurveSecp256k1,
		util.OIDNamedCurveP256,
	} {
		if err := provoke(ctx, client, oid, stdout); err != nil {
			return fmt.Errorf("curve %v: %v", oid, err)
		}
	}
	return nil
}

// provoke makes, uses and misuses one key pair.
func provoke(ctx context.Context, client pb.CryptoClient, oid asn1.ObjectIdentifier, stdout io.Writer) error {
	pair, err := generate(ctx, client, oid)
	if err != nil {
		return err
	}
	point, err := util.GetPubkeyBytesFromSPKI(pair.PubKeyBytes)
	if err != nil || (len(point) != 32 && len(point) != 65) {
		return fmt.Errorf("IBM's parser reads a point of %d bytes from the public key: %v", len(point), err)
	}
	mechanism, err := util.GetSignMechanismFromOID(oid)
	if err != nil {
		return err
	}
	data := bytes.Repeat([]byte{1}, 32)
	signed, err := client.SignSingle(ctx, &pb.SignSingleRequest{
		PrivKey: pair.PrivKeyBytes, Mech: &pb.Mechanism{Mechanism: mechanism}, Data: data,
	})
	if err != nil {
		return err
	}
	verify := &pb.VerifySingleRequest{
		PubKey: pair.PubKeyBytes, Mech: &pb.Mechanism{Mechanism: mechanism}, Data: data, Signature: signed.Signature,
	}
	_, err = client.VerifySingle(ctx, verify)
	if ok, refusal := util.Convert(err); !ok {
		return fmt.Errorf("a good signature: %v", refusal)
	}
	verify.Signature[31] ^= 1
	_, err = client.VerifySingle(ctx, verify)
	if err := report(stdout, "bad-signature", err); err != nil {
		return err
	}
	return misuse(ctx, client, pair, mechanism, stdout)
}

// misuse asks for what must be refused.
func misuse(ctx context.Context, client pb.CryptoClient, pair *pb.GenerateKeyPairResponse, mechanism ep11.Mechanism,
	stdout io.Writer,
) error {
	damaged := bytes.Clone(pair.PrivKeyBytes)
	damaged[len(damaged)-1] ^= 1
	for _, test := range []struct {
		name string
		key  []byte
		mech ep11.Mechanism
	}{
		{"damaged-blob", damaged, mechanism},
		{"public-as-private", pair.PubKeyBytes, mechanism},
		{"wrong-mechanism", pair.PrivKeyBytes, ep11.CKM_AES_CBC},
		{"wrong-key-type", pair.PrivKeyBytes, ep11.CKM_SHA256_RSA_PKCS},
	} {
		_, err := client.SignSingle(ctx, &pb.SignSingleRequest{
			PrivKey: test.key, Mech: &pb.Mechanism{Mechanism: test.mech}, Data: make([]byte, 32),
		})
		if err := report(stdout, test.name, err); err != nil {
			return err
		}
	}
	_, err := client.Login(ctx, &pb.LoginRequest{})
	return report(stdout, "not-supported", err)
}

func generate(ctx context.Context, client pb.CryptoClient, oid asn1.ObjectIdentifier) (*pb.GenerateKeyPairResponse,
	error,
) {
	params, err := asn1.Marshal(oid)
	if err != nil {
		return nil, err
	}
	return client.GenerateKeyPair(ctx, &pb.GenerateKeyPairRequest{
		Mech: &pb.Mechanism{Mechanism: ep11.CKM_EC_KEY_PAIR_GEN},
		PubKeyTemplate: util.AttributeMap(ep11.EP11Attributes{
			ep11.CKA_EC_PARAMS: params, ep11.CKA_VERIFY: true, ep11.CKA_EXTRACTABLE: false,
		}),
		PrivKeyTemplate: util.AttributeMap(ep11.EP11Attributes{ep11.CKA_SIGN: true, ep11.CKA_EXTRACTABLE: false}),
	})
}

// report prints how util.Convert reads a failure.
func report(stdout io.Writer, name string, err error) error {
	ok, refusal := util.Convert(err)
	if ok {
		return fmt.Errorf("%s: no failure", name)
	}
	_, err = fmt.Fprintf(stdout, "%s 0x%x %v\n", name, uint64(refusal.Code), refusal.Retry)
	return err
}
