// Package static_test tries the static binary where it has to work: as the only
// file of a root folder, under a user of its own, as in a container image made
// from nothing.
package static_test

import (
	"bytes"
	"crypto/ed25519"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pawl/internal/logtest"
	"pawl/server"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// user is the one of the Dockerfile.
const user = 65532

// stamp is the version that the build is given, as the Dockerfile gives it.
const stamp = "v0.0.0-static-test"

// buildStatic builds with the command of the Makefile's target, into a new root
// folder that holds nothing else but data/. The symbols are kept, to look into it.
func buildStatic(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	cmd := exec.Command("sh", "-c", makeCommand(t, filepath.Join(root, "pawl")))
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	// The linker warns of C code that would look names up with shared libraries.
	if bytes.Contains(bytes.ToLower(out), []byte("warning")) {
		t.Errorf("the build warns:\n%s", out)
	}
	if err := os.Mkdir(filepath.Join(root, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	return root
}

// makeCommand is what `make static` would run, with another output.
func makeCommand(t *testing.T, output string) string {
	t.Helper()
	cmd := exec.Command("make", "--no-print-directory", "-n", "static", "VERSION="+stamp)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("make -n static: %v", err)
	}
	const option, strip = "-o bin/pawl-static", "-s -w "
	for line := range strings.Lines(string(out)) {
		if strings.Count(line, option) == 1 && strings.Count(line, strip) == 1 {
			return strings.NewReplacer(option, "-o '"+output+"'", strip, "").Replace(line)
		}
	}
	t.Fatalf("make -n static prints no command with %s and %s:\n%s", option, strip, out)
	return ""
}

// TestStaticBinary builds the binary of the container image and does the main
// job with it where there is nothing but the binary: no shared library, no
// /etc, no /tmp, no shell, no privilege.
func TestStaticBinary(t *testing.T) {
	t.Parallel()
	root := buildStatic(t)
	file, err := elf.Open(filepath.Join(root, "pawl"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	t.Run("needs no interpreter", func(t *testing.T) { isStaticPIE(t, file) })
	t.Run("has canaries", func(t *testing.T) { hasCanaries(t, file) })
	if os.Geteuid() != 0 {
		t.Skip("chroot needs root: the rest is not tried")
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(root, "data"), user, user); err != nil {
		t.Fatal(err)
	}
	startOfHost(t, root)
	t.Run("version", func(t *testing.T) {
		out, err := inChroot(root, "version").CombinedOutput()
		if first, _, _ := strings.Cut(string(out), "\n"); err != nil || strings.Join(strings.Fields(first), " ") != "pawl "+stamp {
			t.Errorf("%q, %v, want the version %s", out, err, stamp)
		}
	})
	t.Run("signs, and again after a restart", func(t *testing.T) { signsInChroot(t, root) })
}

// startOfHost gives the root what each container has of /proc and pawl reads: which start of the host it is.
func startOfHost(t *testing.T, root string) {
	t.Helper()
	const name = "/proc/sys/kernel/random/boot_id"
	id, err := os.ReadFile(name)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(root+name), 0o755)
	}
	if err == nil {
		err = os.WriteFile(root+name, id, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// isStaticPIE wants a program that is loaded at an address of chance and asks for no library. Its
// dynamic section is that of its own relocations.
func isStaticPIE(t *testing.T, file *elf.File) {
	t.Helper()
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			t.Errorf("dynamically linked: has %v", program.Type)
		}
	}
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) != 0 {
		t.Errorf("needs %v, %v", libraries, err)
	}
	flags, err := file.DynValue(elf.DT_FLAGS_1)
	if err != nil || len(flags) != 1 || elf.DynFlag1(flags[0])&elf.DF_1_PIE == 0 || file.Type != elf.ET_DYN {
		t.Errorf("is of type %v with flags %#x, %v, want a position-independent executable", file.Type, flags, err)
	}
}

// canary is an instruction that takes the canary of the stack or compares it (x86-64 psABI: %fs:0x28).
var canary = regexp.MustCompile(`(?s)\x64[\x48\x4c][\x2b\x33\x3b\x8b].\x25\x28\x00\x00\x00`)

// hasCanaries wants functions of SQLite that guard their frames. Without -fstack-protector-strong
// none does.
func hasCanaries(t *testing.T, file *elf.File) {
	t.Helper()
	if file.Machine != elf.EM_X86_64 {
		t.Skip("known for x86-64 only")
	}
	text := file.Section(".text")
	code, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	functions, guarded := 0, 0
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || !strings.HasPrefix(s.Name, "sqlite3") || s.Value < text.Addr || s.Value+s.Size > text.Addr+text.Size {
			continue
		}
		functions++
		if canary.Match(code[s.Value-text.Addr:][:s.Size]) {
			guarded++
		}
	}
	t.Logf("%d of %d functions of SQLite guard their frames", guarded, functions)
	if functions < 100 || guarded < 20 {
		t.Errorf("%d of %d functions of SQLite guard their frames", guarded, functions)
	}
}

// inChroot is pawl with args, alone in root.
func inChroot(root string, args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/pawl",
		Args: append([]string{"pawl"}, args...),
		Dir:  "/data",
		Env:  []string{},
		SysProcAttr: &syscall.SysProcAttr{
			Chroot:     root,
			Credential: &syscall.Credential{Uid: user, Gid: user},
		},
	}
}

// signsInChroot has a new demo sign with each of its keys, stops it, and has the
// next one give the same signatures.
func signsInChroot(t *testing.T, root string) {
	t.Helper()
	payload := tezostest.Attestation(1000, 0, 0)
	var signatures [2][]string
	for i := range signatures {
		d := startDemo(t, root)
		if len(d.imports) != 3 {
			t.Fatalf("%q, want a line for octez-client for each of three keys:\n%s", d.imports, d.out)
		}
		for _, url := range d.imports {
			signatures[i] = append(signatures[i], sign(t, clientKey(t, root), url, payload))
		}
		d.stop(t)
	}
	if a, b := fmt.Sprint(signatures[0]), fmt.Sprint(signatures[1]); a != b {
		t.Errorf("after a restart %s, want the signatures of before: %s", b, a)
	}
}

// demo is a running `pawl demo`.
type demo struct {
	cmd     *exec.Cmd
	imports []string // the addresses of its keys, as in the lines for octez-client
	out     *logtest.Buffer
}

// startDemo returns when the demo listens.
func startDemo(t *testing.T, root string) *demo {
	t.Helper()
	d := &demo{
		cmd: inChroot(root, "demo", "--dir", "/data/demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--card", "127.0.0.1:0"),
		out: new(logtest.Buffer),
	}
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out // one pipe: the order is kept
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() }) // it has ended, unless the test failed
	for start := time.Now(); !strings.Contains(d.out.String(), `"msg":"listening"`); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("pawl demo does not listen:\n%s", d.out)
		}
	}
	for line := range strings.Lines(d.out.String()) {
		if url, ok := strings.CutPrefix(line, "octez-client import secret key "); ok {
			d.imports = append(d.imports, strings.Fields(url)[1])
		}
	}
	return d
}

// stop ends the demo as Ctrl-C does.
func (d *demo) stop(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("pawl demo ends with %v, want exit code 0:\n%s", err, d.out)
	}
}

// clientKey is that of the client that the demo signs for.
func clientKey(t *testing.T, root string) ed25519.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "data/demo/octez-client.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := tezos.ParseSecretKey(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(key.Bytes())
}

// sign asks the demo for a signature with the key of url, http://host:port/tz…,
// and verifies it with the public key that the demo names.
func sign(t *testing.T, client ed25519.PrivateKey, url string, payload []byte) string {
	t.Helper()
	slash := strings.LastIndex(url, "/")
	url = url[:slash] + "/keys" + url[slash:]
	var key struct {
		PublicKey string `json:"public_key"`
	}
	request(t, http.MethodGet, url, "", &key)
	pk, err := tezos.ParsePublicKey(key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	var signed struct{ Signature string }
	digest := server.AuthenticationMessage(pk.Hash(), payload).Digest()
	authentication, err := tezos.NewSignature(tezos.Ed25519, ed25519.Sign(client, digest[:]))
	if err != nil {
		t.Fatal(err)
	}
	url += "?authentication=" + authentication.String()
	request(t, http.MethodPost, url, string(tezostest.Quoted(payload)), &signed)
	sig, err := tezos.ParseSignature(signed.Signature)
	if err != nil {
		t.Fatal(err)
	}
	if err := pk.Verify(tezos.NewMessage(payload), sig); err != nil {
		t.Errorf("%s by %s: %v", signed.Signature, key.PublicKey, err)
	}
	return signed.Signature
}

// request wants status 200 and a JSON body.
func request(t *testing.T, method, url, body string, result any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s %v, want 200", method, url, res.StatusCode, text, err)
	}
	if err := json.Unmarshal(text, result); err != nil {
		t.Fatalf("%s %s: %s: %v", method, url, text, err)
	}
}
