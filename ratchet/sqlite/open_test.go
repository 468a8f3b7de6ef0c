package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

func TestCreateNeverOverwrites(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "-wal", "-shm", "-journal", "-opening"} {
		path := filepath.Join(t.TempDir(), "ratchet.db")
		if err := os.WriteFile(path+suffix, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := sqlite.Create(t.Context(), path); err == nil {
			t.Errorf("Create beside ratchet.db%s: got no error", suffix)
		}
		if content, err := os.ReadFile(path + suffix); err != nil || string(content) != "precious" {
			t.Errorf("ratchet.db%s is now %q, %v", suffix, content, err)
		}
	}
	path := filepath.Join(t.TempDir(), "ratchet.db")
	if err := os.Symlink(path+"2", path); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Create(t.Context(), path); err == nil || present(t, path+"2") {
		t.Errorf("Create through a dangling link: %v", err)
	}
}

func TestCreateLeavesOneFile(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("Create left %v, %v, want one file", entries, err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", st.Mode(), err)
	}
}

// TestCreateThatFails leaves nothing of its own behind.
func TestCreateThatFails(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := sqlite.Create(t.Context(), filepath.Join(folder, "missing", "ratchet.db")); err == nil {
		t.Error("Create in a folder that is not there: got no error")
	}
	if err := sqlite.Create(canceled(t), filepath.Join(folder, "ratchet.db")); err == nil {
		t.Error("Create under a canceled context: got no error")
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestMissingFileIsNotCreated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	_, err := openDB(t.Context(), path, options{})
	if !errors.Is(err, ratchet.ErrMissing) || !strings.Contains(err.Error(), "pawl ratchet init") {
		t.Errorf("got %v, want %v and its remedy", err, ratchet.ErrMissing)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestDataSourceNeverCreates tests the data source alone: Open refuses an absent file before it uses it.
func TestDataSourceNeverCreates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	pool := openPool(t, sqlite.DataSource(path))
	if err := pool.PingContext(t.Context()); err == nil {
		t.Error("an absent file was opened")
	}
	if present(t, path) {
		t.Error("an absent file was created")
	}
}

func openPool(t *testing.T, source string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("sqlite3", source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// TestSettings asks SQLite for the settings of an open ratchet.
func TestSettings(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "locking_mode": "exclusive",
		"busy_timeout": "500", "wal_autocheckpoint": "1000", "user_version": "5",
	} {
		if got, err := db.QueryString("PRAGMA " + pragma); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", pragma, got, err, want)
		}
	}
	if present(t, db.Path()+"-shm") {
		t.Error("there is a -shm file")
	}
}

// TestSettingsAreReadBack: each setting is checked, and a wrong one is refused.
func TestSettingsAreReadBack(t *testing.T) {
	t.Parallel()
	for _, pragma := range []string{"synchronous", "journal_mode", "locking_mode", "busy_timeout", "wal_autocheckpoint"} {
		found := false
		for _, s := range sqlite.SQLiteSettings() {
			found = found || s == pragma
		}
		if !found {
			t.Errorf("%s is not read back", pragma)
		}
	}
	db := openRegistered(t, options{})
	if err := db.CheckSettings(t.Context()); err != nil {
		t.Errorf("good settings: %v", err)
	}
	if err := db.ExecOutside(t.Context(), "PRAGMA synchronous = NORMAL"); err != nil {
		t.Fatal(err)
	}
	if err := db.CheckSettings(t.Context()); err == nil || !strings.Contains(err.Error(), "synchronous 1, want 2") {
		t.Errorf("synchronous=NORMAL: got %v, want it named", err)
	}
}

func TestOldSQLite(t *testing.T) {
	t.Parallel()
	for number, good := range map[int]bool{3_051_002: false, 3_050_000: false, 3_051_003: true, 3_052_000: true} {
		if err := sqlite.CheckVersion(number); (err == nil) != good {
			t.Errorf("SQLite %d: got %v, want good to be %t", number, err, good)
		}
	}
}

// TestEachOpenIsAGeneration, and each clean stop is one.
func TestEachOpenIsAGeneration(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	for want := range 4 {
		db := open(t, path, options{})
		got, err := db.QueryString("SELECT generation || ' ' || clean FROM provenance")
		if err != nil || got != fmt.Sprintf("%d 0", 1<<24+2*want+1) {
			t.Fatalf("opening %d: generation and clean are %s, %v", want+1, got, err)
		}
		closeDB(t, db)
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 2 {
			t.Fatalf("Close left %v, %v, want the file and its last mark", entries, err)
		}
	}
}

func TestLinksAreRefused(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	if err := errors.Join(os.Symlink(path, path+".link"), os.Mkdir(path+".folder", 0o700), syscall.Mkfifo(path+".fifo", 0o600)); err != nil {
		t.Fatal(err)
	}
	for suffix, what := range map[string]string{".link": "is a symbolic link", ".folder": "is not a regular file", ".fifo": "is not a regular file"} {
		if _, err := openDB(t.Context(), path+suffix, options{}); err == nil || !strings.Contains(err.Error(), path+suffix+" "+what) {
			t.Errorf("ratchet.db%s: got %v, want that it %s", suffix, err, what)
		}
	}
	if err := os.Link(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if _, err := openDB(t.Context(), path, options{}); !errors.Is(err, ratchet.ErrSuspect) {
		t.Errorf("a file with two names: got %v, want %v", err, ratchet.ErrSuspect)
	}
}

// TestForeignFiles: they are refused with the way out, and no byte is changed.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	text := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	statements := func(query string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			pool := openPool(t, "file:"+path)
			if _, err := pool.ExecContext(t.Context(), query); err != nil {
				t.Fatal(err)
			}
			if err := pool.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	ours := func(query string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := sqlite.Create(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			statements(query)(t, path)
		}
	}
	for name, foreign := range map[string]struct {
		write func(*testing.T, string)
		want  string
	}{
		"empty":       {text(""), "was interrupted: remove it"},
		"text":        {text(strings.Repeat("not a database ", 100)), "not a ratchet file"},
		"other":       {statements("CREATE TABLE t (a); PRAGMA journal_mode = WAL"), "another program"},
		"Python":      {statements("CREATE TABLE signature (sigtype TEXT PRIMARY KEY, lastblock NUMERIC, lastround NUMERIC)"), "of the Python signer: set db to a new path"},
		"newer":       {ours(fmt.Sprintf("PRAGMA user_version = %d", sqlite.SchemaVersion+1)), "use the newer pawl"},
		"older":       {ours("PRAGMA user_version = 0"), "schema version 0, which never existed"},
		"not yet WAL": {ours("PRAGMA journal_mode = DELETE"), "creation"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ratchet.db")
			foreign.write(t, path)
			before := snapshot(t, filepath.Dir(path))
			_, err := openDB(t.Context(), path, options{})
			if err == nil || !strings.Contains(err.Error(), foreign.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, foreign.want)
			}
			wantUnchanged(t, filepath.Dir(path), before)
		})
	}
}

// snapshot reads a folder's files.
func snapshot(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(content)
	}
	return files
}

func wantUnchanged(t *testing.T, folder string, before map[string]string) {
	t.Helper()
	after := snapshot(t, folder)
	for name, content := range before {
		if after[name] != content {
			t.Errorf("%s was changed", name)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s was made", name)
		}
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	for n := range 200 {
		register(t, db, keyNumber(n), mainnet, 0)
	}
	closeDB(t, db)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(content) - 4096; i < len(content)-4096+200; i++ {
		content[i] ^= 0xff
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if db, err := openDB(t.Context(), path, options{}); err == nil {
			_ = db.Close()
			t.Fatal("a damaged file was opened")
		}
	}
}

// TestQuickCheck: a row that breaks a CHECK of the schema is refused.
func TestQuickCheck(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	pool := openPool(t, "file:"+path+"?_ignore_check_constraints=1")
	if _, err := pool.ExecContext(t.Context(), "INSERT INTO registrations (key, chain, from_level) VALUES (?, ?, -5)", baker[:], mainnet[:]); err != nil {
		t.Fatal(err)
	}
	if err := pool.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := openDB(t.Context(), path, options{}); !errors.Is(err, ratchet.ErrSuspect) || !strings.Contains(err.Error(), "registrations") {
			t.Errorf("got %v, want %v and the table", err, ratchet.ErrSuspect)
		}
	}
}

func TestNetworkFilesystemsAreRefused(t *testing.T) {
	t.Parallel()
	for magic, name := range map[uint32]string{
		unix.NFS_SUPER_MAGIC: "NFS", unix.CIFS_SUPER_MAGIC: "CIFS", unix.SMB2_SUPER_MAGIC: "SMB",
		unix.FUSE_SUPER_MAGIC: "FUSE", unix.V9FS_MAGIC: "9p",
		unix.EXT4_SUPER_MAGIC: "", unix.XFS_SUPER_MAGIC: "", unix.BTRFS_SUPER_MAGIC: "", unix.TMPFS_MAGIC: "", unix.OVERLAYFS_SUPER_MAGIC: "",
	} {
		err := sqlite.CheckFilesystemType("/srv", magic)
		if (err == nil) != (name == "") || err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("file system 0x%x: got %v, want it refused as %q", magic, err, name)
		}
	}
}

// TestFUSE mounts a FUSE file system that nobody serves. Its type is known all the same.
func TestFUSE(t *testing.T) {
	t.Parallel()
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("opening /dev/fuse: %v", err)
	}
	defer func() { _ = unix.Close(device) }()
	folder := t.TempDir()
	mount := fmt.Sprintf("fd=%d,rootmode=40000,user_id=65534,group_id=65534", device)
	if err := unix.Mount("pawl-test", folder, "fuse", unix.MS_NOSUID|unix.MS_NODEV, mount); err != nil {
		t.Skipf("mounting: %v", err)
	}
	defer func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(folder, "ratchet.db")
	if err := sqlite.Create(t.Context(), path); err == nil || !strings.Contains(err.Error(), "is on FUSE") {
		t.Errorf("Create: got %v, want FUSE named", err)
	}
	if _, err := openDB(t.Context(), path, options{}); err == nil || !strings.Contains(err.Error(), "is on FUSE") {
		t.Errorf("Open: got %v, want FUSE named", err)
	}
	if _, err := sqlite.Read(t.Context(), path); err == nil || !strings.Contains(err.Error(), "is on FUSE") {
		t.Errorf("Read: got %v, want FUSE named", err)
	}
}
