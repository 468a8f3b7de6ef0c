package witness

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// connection is all that IBM's examples want changed before they run: their file says so.
const connection = `package examples

import (
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func init() {
	Address = os.Getenv("WITNESS_CARD")
	callOpts = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
}
`

// examplesModule is where IBM's examples are.
const examplesModule = "github.com/IBM-Cloud/hpcs-grep11-go"

// TestIBMsExamplesRunAgainstTheCard runs the examples of IBM's module as they are, from
// a copy of the module with one more file, connection.
func TestIBMsExamplesRunAgainstTheCard(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := copyModule(t)
	command := exec.CommandContext(t.Context(), "go", "test", "-modfile="+filepath.Join(dir, "go.mod"), "-vet=off", "-count=1", "-v",
		examplesModule+"/examples")
	command.Env = append(os.Environ(), "WITNESS_CARD="+s.card, "GOFLAGS=-mod=mod")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("IBM's examples: %v\n%s", err, out)
	}
	for _, name := range []string{
		"Example_getMechanismInfo", "Example_generateGenericKey", "Example_encryptAndDecryptUsingAES", "Example_digest",
		"Example_signAndVerifyUsingRSAKeyPair", "Example_signAndVerifyUsingECDSAKeyPair", "Example_signAndVerifyToTestErrorHandling",
		"Example_wrapAndUnwrapKey", "Example_deriveKey", "Example_wrapAndUnwrapAttributeBoundKey", "Example_signAndVerifyUsingDSAKeyPair", "Example_deriveKeyUsingDHKeyPair", "Example_tls",
	} {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass:\n%s", name, out)
		}
	}
}

// copyModule copies IBM's module with connection beside its examples, and gives a folder
// with a go.mod that takes the copy for the module.
func copyModule(t *testing.T) string {
	t.Helper()
	listed, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", examplesModule).Output()
	source := strings.TrimSpace(string(listed))
	if err != nil || source == "" {
		t.Fatalf("go list -m %s: %v, %q", examplesModule, err, source)
	}
	dir := t.TempDir()
	module := filepath.Join(dir, "module")
	for _, folder := range []string{"", "ep11", "grpc", "util", "examples"} {
		copyFiles(t, filepath.Join(source, folder), filepath.Join(module, folder))
	}
	write(t, filepath.Join(module, "examples", "connection_test.go"), []byte(connection))
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "go.mod" {
			text = append(bytes.TrimSpace(text), "\nreplace "+examplesModule+" => "+module+"\n"...)
		}
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, entry.Name()), text)
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
