package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// Marks of a cell of the matrix.
const (
	good    = "ok"
	refused = "refused" // by a server that does not know the dialect; asserted
)

// refusalOfV2 is what a server of the first generation answers to a key it does not see.
const refusalOfV2 = ep11.CodeArgumentsBad

// rows in the order of the matrix.
var rows = []string{
	"GetMechanismList", "GetMechanismInfo", "GenerateRandom", "GenerateKeyPair",
	"SignSingle", "SignInit+Sign", "SignInit+Update+Final",
	"VerifySingle", "VerifyInit+Verify", "VerifyInit+Update+Final",
	"pawl Ping", "pawl Generate", "pawl Key.Sign",
}

// perCurve reports whether a row is of keys.
func perCurve(row string) bool {
	return !slices.Contains([]string{"GetMechanismList", "GetMechanismInfo", "GenerateRandom", "pawl Ping"}, row)
}

// bearsKey reports whether the request of a row has a key in it.
func bearsKey(row string) bool {
	return perCurve(row) && row != "GenerateKeyPair" && row != "pawl Generate"
}

// column is one client at one server.
type column struct {
	name    string
	calls   calls
	dialect grep11.Dialect // of pawl's own client; "" when the column is not of ours
	address string
	oldIBM  bool // the server knows v1 only
}

func columns(t *testing.T, s scene) []column {
	t.Helper()
	list := []column{{name: "IBM v1 > card", calls: ibmCalls{ibm.NewCryptoClient(cardtest.Connect(t, s.card))}, address: s.card}}
	for _, dialect := range []grep11.Dialect{grep11.V1, grep11.V2, grep11.Both} {
		for _, server := range []string{s.card, s.ibm} {
			name := fmt.Sprintf("pawl %s > card", dialect)
			if server == s.ibm {
				name = fmt.Sprintf("pawl %s > IBM", dialect)
			}
			list = append(list, column{
				name: name, dialect: dialect, address: server, oldIBM: server == s.ibm,
				calls: ourCalls{pb.NewCryptoClient(cardtest.Connect(t, server)), dialect},
			})
		}
	}
	return list
}

// inParts reports whether a row gives its data in parts. Only mechanisms that hash take it so.
func inParts(row string) bool { return strings.Contains(row, "Update") }

// wants says what a cell must hold; "-" where there is nothing to try.
func (c column) wants(row, on string) string {
	switch {
	case strings.HasPrefix(row, "pawl") && c.dialect == "", inParts(row) && on == "Ed25519":
		return "-"
	case c.oldIBM && c.dialect == grep11.V2 && bearsKey(row):
		return refused
	}
	return good
}

func TestMatrixOfRPCCurveAndDialect(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	list := columns(t, s)
	cells := make(map[string]string) // row/curve/column
	for _, col := range list {
		for _, row := range rows {
			if !perCurve(row) {
				cells[row+"/-/"+col.name] = col.try(t, s, row, curve{})
				continue
			}
			for _, on := range curves {
				cells[row+"/"+on.name+"/"+col.name] = col.try(t, s, row, on)
			}
		}
	}
	printMatrix(t, list, cells)
	for _, row := range rows {
		for _, on := range curvesOf(row) {
			for _, col := range list {
				if got, want := cells[row+"/"+on+"/"+col.name], col.wants(row, on); got != want {
					t.Errorf("%s, %s, %s: %q, want %q", row, on, col.name, got, want)
				}
			}
		}
	}
}

func printMatrix(t *testing.T, list []column, cells map[string]string) {
	t.Helper()
	lines := [][]string{{"RPC", "curve"}}
	for _, col := range list {
		lines[0] = append(lines[0], col.name)
	}
	for _, row := range rows {
		for _, on := range curvesOf(row) {
			line := []string{row, on}
			for _, col := range list {
				line = append(line, cells[row+"/"+on+"/"+col.name])
			}
			lines = append(lines, line)
		}
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if _, err := io.WriteString(w, strings.Join(line, "\t")+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
}

// curvesOf names the curves of a row, or "-".
func curvesOf(row string) []string {
	if !perCurve(row) {
		return []string{"-"}
	}
	names := make([]string, len(curves))
	for i, on := range curves {
		names[i] = on.name
	}
	return names
}

// try fills one cell. Keys and signatures that a row needs and does not make itself
// are made and checked through the card's own front, so each cell stands alone.
func (c column) try(t *testing.T, s scene, row string, on curve) string {
	t.Helper()
	if c.wants(row, on.name) == "-" {
		return "-"
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	if strings.HasPrefix(row, "pawl") {
		err = c.tryPawl(t, row, on)
	} else {
		err = tryCalls(ctx, c.calls, ourCalls{pb.NewCryptoClient(cardtest.Connect(t, s.card)), grep11.Both}, row, on)
	}
	if err == nil {
		return good
	}
	if code, ok := codeOf(err); ok && code == refusalOfV2 && c.wants(row, on.name) == refused {
		return refused
	}
	return err.Error()
}

func tryCalls(ctx context.Context, c, card calls, row string, on curve) error {
	data := bytes.Repeat([]byte{0x5a}, 32)
	switch row {
	case "GetMechanismList":
		first, err := c.list(ctx)
		if err == nil && first != ep11.MechRSAPKCS {
			return fmt.Errorf("element 0 is 0x%x", first)
		}
		return err
	case "GetMechanismInfo":
		low, high, err := c.info(ctx, ep11.MechRSAPKCS)
		if err == nil && (low != 512 || high != 4096) {
			return fmt.Errorf("CKM_RSA_PKCS has %d to %d", low, high)
		}
		return err
	case "GenerateRandom":
		random, err := c.random(ctx, 32)
		if err == nil && len(random) != 32 {
			return fmt.Errorf("%d bytes", len(random))
		}
		return err
	case "GenerateKeyPair":
		priv, pub, err := c.generate(ctx, on.params)
		if err != nil {
			return err
		}
		signature, err := card.signSingle(ctx, on.mech, priv, data)
		if err != nil {
			return err
		}
		return on.verifies(pub, data, signature)
	}
	message := data
	if inParts(row) {
		digest := sha256.Sum256(data)
		on.mech, message = ep11.MechECDSASHA256, digest[:]
	}
	priv, pub, err := card.generate(ctx, on.params)
	if err != nil {
		return err
	}
	if strings.HasPrefix(row, "Sign") {
		signature, err := trySign(ctx, c, row, on, priv, data)
		if err != nil {
			return err
		}
		return on.verifies(pub, message, signature)
	}
	signature, err := card.signSingle(ctx, on.mech, priv, data)
	if err != nil {
		return err
	}
	if err := tryVerify(ctx, c, row, on, pub, data, signature); err != nil {
		return err
	}
	wrong := bytes.Clone(data)
	wrong[0] ^= 1
	err = tryVerify(ctx, c, row, on, pub, wrong, signature)
	if code, ok := codeOf(err); !ok || code != ep11.CodeSignatureInvalid {
		return fmt.Errorf("a wrong signature gives %v", err)
	}
	return nil
}

func trySign(ctx context.Context, c calls, row string, on curve, key, data []byte) ([]byte, error) {
	if row == "SignSingle" {
		return c.signSingle(ctx, on.mech, key, data)
	}
	state, err := c.signInit(ctx, on.mech, key)
	if err != nil {
		return nil, err
	}
	if row == "SignInit+Sign" {
		return c.sign(ctx, state, data)
	}
	for _, part := range [][]byte{data[:5], data[5:]} {
		if state, err = c.signUpdate(ctx, state, part); err != nil {
			return nil, err
		}
	}
	return c.signFinal(ctx, state)
}

func tryVerify(ctx context.Context, c calls, row string, on curve, key, data, signature []byte) error {
	if row == "VerifySingle" {
		return c.verifySingle(ctx, on.mech, key, data, signature)
	}
	state, err := c.verifyInit(ctx, on.mech, key)
	if err != nil {
		return err
	}
	if row == "VerifyInit+Verify" {
		return c.verify(ctx, state, data, signature)
	}
	for _, part := range [][]byte{data[:5], data[5:]} {
		if state, err = c.verifyUpdate(ctx, state, part); err != nil {
			return err
		}
	}
	return c.verifyFinal(ctx, state, signature)
}

// tryPawl goes the way of the daemon: Dial, Generate, Key.Sign, verification.
func (c column) tryPawl(t *testing.T, row string, on curve) error {
	t.Helper()
	client, err := grep11.Dial(grep11.Config{Address: c.address, Dialect: c.dialect, Plaintext: true})
	if err != nil {
		return err
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	if row == "pawl Ping" {
		return client.Ping(t.Context())
	}
	made, err := client.Generate(t.Context(), on.kind, false)
	if err != nil || row == "pawl Generate" {
		return err
	}
	key, err := client.Key(made.PublicKey, made.Blob)
	if err != nil {
		return err
	}
	for i := range 16 { // about half of them come from the card with high S
		message := tezos.NewMessage([]byte{0x11, byte(i)})
		signature, err := key.Sign(t.Context(), message)
		if err != nil {
			return err
		}
		if err := made.PublicKey.Verify(message, signature); err != nil {
			return err
		}
	}
	return nil
}
