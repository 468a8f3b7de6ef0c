package sqlite_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// mounted mounts a file system and unmounts it with the test.
func mounted(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags|unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		t.Skipf("mounting %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// refusedByAll wants a file refused by all who read it, and nothing written beside it.
func refusedByAll(t *testing.T, path, want string) {
	t.Helper()
	db, opened := openDB(t.Context(), path, options{})
	if opened == nil {
		closeDB(t, db)
	}
	_, examined := sqlite.Examine(t.Context(), path)
	_, read := sqlite.Read(t.Context(), path)
	for what, err := range map[string]error{"Open": opened, "Examine": examined, "Read": read} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it refused: %s", what, err, want)
		}
	}
	if files, err := filepath.Glob(path + "-*"); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// TestFileMountedAlone: the file is mounted into a folder of another disk, where its -wal would lie.
func TestFileMountedAlone(t *testing.T) {
	t.Parallel()
	elsewhere := tmpfsRatchet(t, "size=16m")
	path := filepath.Join(t.TempDir(), "ratchet.db")
	write(t, path, nil)
	mounted(t, elsewhere, path, "", unix.MS_BIND, "")
	refusedByAll(t, path, path+" is mounted into its folder by itself: mount the folder")
	open(t, elsewhere, options{}) // it is in order
}

// TestOtherFilesMountedAlone: so are the files beside it. The -last file is a witness of the disk.
func TestOtherFilesMountedAlone(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"-wal", "-last"} {
		elsewhere := filepath.Join(t.TempDir(), "file")
		write(t, elsewhere, nil)
		path := tmpfsRatchet(t, "size=16m")
		write(t, path+suffix, nil)
		mounted(t, elsewhere, path+suffix, "", unix.MS_BIND, "")
		db, err := openDB(t.Context(), path, options{})
		if err == nil {
			closeDB(t, db)
		}
		if err == nil || !strings.Contains(err.Error(), path+suffix+" is mounted into its folder by itself") {
			t.Errorf("ratchet.db%s: %v, want it refused", suffix, err)
		}
	}
}

// TestFolderBehindALink: a symbolic link leads to the folder, from another disk.
func TestFolderBehindALink(t *testing.T) {
	t.Parallel()
	made := tmpfsRatchet(t, "size=16m")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(made), link); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(link, "ratchet.db")
	db := open(t, path, options{})
	closeDB(t, db)
	if _, err := sqlite.Examine(t.Context(), path); err != nil {
		t.Errorf("Examine: %v", err)
	}
}

// TestFileOnFUSE: one file of a FUSE file system in a local folder.
func TestFileOnFUSE(t *testing.T) {
	t.Parallel()
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("opening /dev/fuse: %v", err)
	}
	served := make(chan error, 1)
	path := newFile(t)
	content := read(t, path)
	mounted(t, "pawl-test", path, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=100600,user_id=%d,group_id=%d,allow_other", device,
		os.Getuid(), os.Getgid()))
	go func() { served <- serveFUSE(device, content) }()
	t.Cleanup(func() { // before the file system is unmounted
		_ = unix.Close(device)
	})
	refusedByAll(t, path, path+" is on FUSE, where locks and fsync cannot be trusted")
	select {
	case err := <-served:
		t.Errorf("the file system: %v", err)
	default:
	}
}

// serveFUSE answers for a file system that is one regular file (include/uapi/linux/fuse.h).
func serveFUSE(device int, content []byte) error {
	request := make([]byte, 1<<20)
	for {
		n, err := unix.Read(device, request)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil || n < 40 {
			return err
		}
		body, code := answerFUSE(binary.NativeEndian.Uint32(request[4:]), request[40:n], content)
		if code > 0 {
			continue // it wants no answer
		}
		answer := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
		answer = binary.NativeEndian.AppendUint32(answer, uint32(code))
		answer = append(append(answer, request[8:16]...), body...) // the number of the request
		if _, err := unix.Write(device, answer); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
}

// answerFUSE returns the body of an answer and a negative error number, or a positive one for no answer.
func answerFUSE(operation uint32, body, content []byte) (answer []byte, code int32) {
	const forget, getattr, open, readFile, statfs, release, flush, begin, interrupt, batchForget = 2, 3, 14, 15, 17, 18, 25, 26, 36, 42
	put32, put64 := binary.NativeEndian.PutUint32, binary.NativeEndian.PutUint64
	switch operation {
	case forget, interrupt, batchForget:
		return nil, 1
	case begin:
		answer = make([]byte, 64)
		put32(answer, 7)
		put32(answer[4:], 31)
		put32(answer[20:], 1<<16) // the longest write
		return answer, 0
	case getattr:
		answer = make([]byte, 16+88)
		put64(answer[16:], 1) // inode
		put64(answer[24:], uint64(len(content)))
		put32(answer[16+60:], unix.S_IFREG|0o600)
		put32(answer[16+64:], 1) // links
		return answer, 0
	case open:
		return make([]byte, 16), 0
	case readFile:
		offset, size := binary.NativeEndian.Uint64(body[8:]), binary.NativeEndian.Uint32(body[16:])
		from := min(uint64(len(content)), offset)
		return content[from:min(uint64(len(content)), from+uint64(size))], 0
	case statfs:
		return make([]byte, 80), 0
	case release, flush:
		return nil, 0
	}
	return nil, -int32(unix.ENOSYS)
}

// TestRatchetInAnImage: a ratchet that was made in a layer below is another file once it is written to. The words
// say to use a volume. One that was made in the container goes on.
func TestRatchetInAnImage(t *testing.T) {
	t.Parallel()
	for name, upperElsewhere := range map[string]bool{"layers on one disk": false, "layers on two": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			below := filepath.Dir(newFile(t))
			above := t.TempDir()
			if upperElsewhere {
				mounted(t, "pawl-test", above, "tmpfs", 0, "size=16m")
			}
			merged := t.TempDir()
			if err := errors.Join(os.Mkdir(filepath.Join(above, "up"), 0o700), os.Mkdir(filepath.Join(above, "work"), 0o700)); err != nil {
				t.Fatal(err)
			}
			mounted(t, "overlay", merged, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/up,workdir=%[2]s/work", below, above))
			path := filepath.Join(merged, "ratchet.db")
			if _, err := openDB(t.Context(), path, options{}); err == nil || !strings.Contains(err.Error(), "keep the ratchet on a volume") {
				t.Errorf("got %v, want a volume named", err)
			}
			again := open(t, path, options{}) // now there is a file in the upper layer
			if found := again.Finding(); found.Verdict != sqlite.Moved || !strings.Contains(found.Text, "keep the ratchet on a volume") {
				t.Errorf("found %+v, want it moved and a volume named", found)
			}
			closeDB(t, again)
			made := filepath.Join(merged, "made.db")
			if err := sqlite.Create(t.Context(), made); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				db := open(t, made, options{})
				closeDB(t, db)
			}
		})
	}
}

// TestHardLinkNeedsNoNewRatchet: a backup tool has made a hard link. The words say to remove it, and then all is
// well.
func TestHardLinkNeedsNoNewRatchet(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "-wal"} {
		path := left(t, killed)
		if err := os.Link(path+suffix, path+suffix+".backup"); err != nil {
			t.Fatal(err)
		}
		_, err := openDB(t.Context(), path, options{})
		if !errors.Is(err, ratchet.ErrSuspect) || !strings.Contains(err.Error(), path+suffix+" has 2 names (hard links): remove") ||
			!strings.Contains(err.Error(), "-samefile "+path+suffix) || strings.Contains(err.Error(), "init") {
			t.Errorf("ratchet.db%s: %v, want the remedy and no new ratchet", suffix, err)
		}
		if err := os.Remove(path + suffix + ".backup"); err != nil {
			t.Fatal(err)
		}
		closeDB(t, open(t, path, options{}))
	}
}
