//go:build amd64

package fault_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"pawl/internal/audit"
	"pawl/ratchet"
)

// recorder writes down what programs do to one folder and which signatures leave them,
// in order. It follows their system calls with ptrace. A preloaded library would see no
// more than SQLite's: Go makes its own without libc, and those are half of the matter.
// Go makes the database, the -wal and its note, syncs them and the folder, removes them,
// and sends the answers. What is recorded so is the program as it is shipped.
//
// A change is written down when its call has returned, and an answer when its call
// begins: no answer seems to be later than it was.
type recorder struct {
	folder string
	seen   *recording
	names  map[string]int

	open   map[int]*tracedFile // of the running program
	inside map[int]enteredCall // by thread

	mu     sync.Mutex // of what others may read: the steps, too
	steps  *sync.Cond
	ended  bool
	broken error // what the recorder cannot follow
}

// tracedFile is an open file of the folder, or the folder.
type tracedFile struct {
	file   int // theFolder for the folder
	offset int64
}

const theFolder = -1

// enteredCall is a system call that has not returned.
type enteredCall struct {
	returned func(result int64)
	assumed  int64 // the result, if the program was killed inside and the call done all the same; -1 if that changes nothing
}

func newRecorder(folder string) (*recorder, error) {
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return nil, err
	}
	r := &recorder{folder: folder, seen: &recording{}, names: make(map[string]int)}
	r.steps = sync.NewCond(&r.mu)
	return r, nil
}

// traced is a program that is recorded.
type traced struct {
	pid    int
	ended  chan struct{} // closed when it has
	status unix.WaitStatus
	err    error // of the recorder
}

// start runs a program in the recorder's care. One at a time.
func (r *recorder) start(cmd *exec.Cmd) (*traced, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	p := &traced{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(p.ended)
		runtime.LockOSThread() // ptrace and __WNOTHREAD go by thread
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.status, p.err = r.follow(p.pid)
		_ = cmd.Process.Release()
	}()
	return p, <-started
}

func (r *recorder) follow(pid int) (unix.WaitStatus, error) {
	r.open, r.inside = make(map[int]*tracedFile), make(map[int]enteredCall)
	r.setEnded(false)
	defer r.setEnded(true)
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return status, fmt.Errorf("waiting for the first stop: %v", err)
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := errors.Join(unix.PtraceSetOptions(pid, options), unix.PtraceSyscall(pid, 0)); err != nil {
		return status, fmt.Errorf("ptrace: %v", err)
	}
	for {
		thread, err := unix.Wait4(-pid, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return status, fmt.Errorf("waiting for the program: %v", err)
		}
		if thread == pid && !status.Stopped() {
			return status, errors.Join(r.broken, r.settle())
		}
		if status.Stopped() {
			r.goOn(thread, status.StopSignal())
		}
	}
}

func (r *recorder) setEnded(ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = ended
	r.steps.Broadcast()
}

// goOn looks at a stopped thread and lets it run on.
func (r *recorder) goOn(thread int, sig syscall.Signal) {
	pass := 0
	switch {
	case sig == unix.SIGTRAP|0x80: // PTRACE_O_TRACESYSGOOD
		r.visit(thread)
	case sig != unix.SIGTRAP && sig != unix.SIGSTOP: // those two are of a new thread
		pass = int(sig)
	}
	_ = unix.PtraceSyscall(thread, pass) // ESRCH when it was killed
}

// visit is told that a thread enters a system call, or that it returns.
func (r *recorder) visit(thread int) {
	var regs syscall.PtraceRegs
	if syscall.PtraceGetRegs(thread, &regs) != nil {
		return // killed
	}
	if call, ok := r.inside[thread]; ok {
		delete(r.inside, thread)
		if result := int64(regs.Rax); result >= 0 && call.returned != nil {
			call.returned(result)
		}
		return
	}
	// On the way in the kernel has put -ENOSYS where the result will be.
	if int64(regs.Rax) == -int64(unix.ENOSYS) {
		r.inside[thread] = r.enter(thread, &regs)
	}
}

// enter says what a system call will have done.
func (r *recorder) enter(thread int, regs *syscall.PtraceRegs) enteredCall {
	d := r.open[int(regs.Rdi)]
	switch regs.Orig_rax {
	case unix.SYS_OPENAT:
		return r.opening(r.path(thread, regs.Rsi), int(regs.Rdx))
	case unix.SYS_OPEN:
		return r.opening(r.path(thread, regs.Rdi), int(regs.Rsi))
	case unix.SYS_CREAT:
		return r.opening(r.path(thread, regs.Rdi), unix.O_CREAT|unix.O_TRUNC)
	case unix.SYS_CLOSE:
		delete(r.open, int(regs.Rdi)) // now: another thread may get the number before this one returns
	case unix.SYS_LINKAT:
		return r.linking(r.path(thread, regs.Rsi), r.path(thread, regs.R10))
	case unix.SYS_UNLINK:
		return r.unlinking(r.path(thread, regs.Rdi))
	case unix.SYS_UNLINKAT:
		return r.unlinking(r.path(thread, regs.Rsi))
	case unix.SYS_WRITE:
		if d == nil {
			r.answer(thread, regs)
			return enteredCall{}
		}
		return r.writing(d, d.offset, r.memory(thread, regs.Rsi, regs.Rdx))
	case unix.SYS_PRCTL:
		return r.hardening(thread, regs)
	default:
		if d != nil {
			return r.enterWith(d, thread, regs)
		}
		r.strange(thread, regs)
	}
	return enteredCall{}
}

// enterWith takes the calls on an open file of the folder, or on the folder.
func (r *recorder) enterWith(d *tracedFile, thread int, regs *syscall.PtraceRegs) enteredCall {
	switch regs.Orig_rax {
	case unix.SYS_PWRITE64:
		return r.writing(d, int64(regs.R10), r.memory(thread, regs.Rsi, regs.Rdx))
	case unix.SYS_FTRUNCATE:
		return r.step(diskStep{kind: stepTruncate, file: d.file, offset: int64(regs.Rsi)}, 0)
	case unix.SYS_FALLOCATE:
		if regs.Rsi != unix.FALLOC_FL_KEEP_SIZE { // else the content stays
			r.cannot(regs)
		}
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		if d.file == theFolder {
			return r.step(diskStep{kind: stepSyncNames}, -1)
		}
		return r.step(diskStep{kind: stepSync, file: d.file}, -1)
	case unix.SYS_READ:
		return enteredCall{func(n int64) { d.offset += n }, -1}
	case unix.SYS_LSEEK:
		return enteredCall{func(at int64) { d.offset = at }, -1}
	default:
		r.strangeWith(regs)
		r.strange(thread, regs)
	}
	return enteredCall{}
}

// strangeWith finds calls on such a file that nobody records.
func (r *recorder) strangeWith(regs *syscall.PtraceRegs) {
	switch regs.Orig_rax {
	case unix.SYS_WRITEV, unix.SYS_PWRITEV, unix.SYS_PWRITEV2, unix.SYS_SENDFILE, unix.SYS_SYNC_FILE_RANGE,
		unix.SYS_DUP, unix.SYS_DUP2, unix.SYS_DUP3, unix.SYS_SYNCFS:
		r.cannot(regs)
	case unix.SYS_FCNTL:
		if regs.Rsi == unix.F_DUPFD || regs.Rsi == unix.F_DUPFD_CLOEXEC {
			r.cannot(regs)
		}
	}
}

// strange finds calls that may change the folder by other ways.
func (r *recorder) strange(thread int, regs *syscall.PtraceRegs) {
	switch regs.Orig_rax {
	case unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_SYMLINKAT,
		unix.SYS_TRUNCATE, unix.SYS_MKNODAT, unix.SYS_OPENAT2:
		for _, pointer := range []uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10} {
			if _, ok := r.inFolder(r.path(thread, pointer)); ok {
				r.cannot(regs)
			}
		}
	case unix.SYS_MMAP:
		written := regs.R10&unix.MAP_SHARED != 0 && regs.Rdx&unix.PROT_WRITE != 0 && regs.R10&unix.MAP_ANONYMOUS == 0
		if written && r.open[int(regs.R8)] != nil {
			r.cannot(regs)
		}
	case unix.SYS_COPY_FILE_RANGE:
		if r.open[int(regs.Rdx)] != nil {
			r.cannot(regs)
		}
	case unix.SYS_IO_URING_SETUP, unix.SYS_SYNC:
		r.cannot(regs)
	}
}

// fail: what is recorded from now on may not be all.
func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = cmp.Or(r.broken, err)
	r.steps.Broadcast()
}

func (r *recorder) cannot(regs *syscall.PtraceRegs) {
	r.fail(fmt.Errorf("the recorder does not know system call %d, which may change the folder", regs.Orig_rax))
}

// hardening: a process that forbids to be traced can only be read by root. It is told
// that it has.
func (r *recorder) hardening(thread int, regs *syscall.PtraceRegs) enteredCall {
	if regs.Rdi == unix.PR_SET_DUMPABLE {
		skipped := *regs
		skipped.Orig_rax, skipped.Rax = ^uint64(0), 0 // no call, and what it returns
		r.fail(syscall.PtraceSetRegs(thread, &skipped))
	}
	return enteredCall{}
}

func (r *recorder) opening(path string, flags int) enteredCall {
	if path == "" {
		r.fail(errors.New("the name of a file that is opened cannot be read"))
	}
	if path == r.folder && flags&unix.O_TMPFILE == unix.O_TMPFILE {
		return enteredCall{} // a file without a name, of which nothing is left
	}
	if path == r.folder {
		return enteredCall{func(fd int64) { r.open[int(fd)] = &tracedFile{file: theFolder} }, -1}
	}
	name, ok := r.inFolder(path)
	if !ok {
		return enteredCall{}
	}
	if flags&(unix.O_APPEND|unix.O_TMPFILE&^unix.O_DIRECTORY) != 0 {
		r.fail(fmt.Errorf("%s is opened in a way that the recorder does not know: %#x", name, flags))
	}
	assumed := int64(-1)
	if flags&(unix.O_CREAT|unix.O_TRUNC) != 0 {
		assumed = 1 << 20 // a descriptor that nobody uses any more
	}
	return enteredCall{func(fd int64) { r.opened(name, flags, int(fd)) }, assumed}
}

// opened: whether a file was made or found, the names tell.
func (r *recorder) opened(name string, flags, fd int) {
	file, there := r.names[name]
	switch {
	case !there:
		file = r.make(name)
	case flags&unix.O_TRUNC != 0:
		r.note(diskStep{kind: stepTruncate, file: file})
	}
	r.open[fd] = &tracedFile{file: file}
}

func (r *recorder) make(name string) (file int) {
	file = len(r.seen.identities)
	identity, err := identityOf(filepath.Join(r.folder, name))
	r.fail(err)
	r.seen.identities = append(r.seen.identities, identity)
	r.names[name] = file
	r.note(diskStep{kind: stepCreate, file: file, name: name})
	return file
}

// linking: a name that was there already is none of these calls.
func (r *recorder) linking(from, to string) enteredCall {
	name, ok := r.inFolder(to)
	if !ok {
		return enteredCall{}
	}
	return enteredCall{func(int64) {
		was, _ := r.inFolder(from)
		file, there := r.names[was]
		if !there {
			r.fail(fmt.Errorf("%s is a second name of a file of another folder", name))
			return
		}
		r.names[name] = file
		r.note(diskStep{kind: stepLink, file: file, name: name})
	}, 0}
}

func (r *recorder) unlinking(path string) enteredCall {
	name, ok := r.inFolder(path)
	if !ok {
		return enteredCall{}
	}
	return enteredCall{func(int64) {
		delete(r.names, name)
		r.note(diskStep{kind: stepUnlink, name: name})
	}, 0}
}

func (r *recorder) writing(d *tracedFile, offset int64, data []byte) enteredCall {
	return enteredCall{func(n int64) {
		r.note(diskStep{kind: stepWrite, file: d.file, offset: offset, data: data[:n]})
		d.offset = offset + n // of a pwrite nobody asks
	}, int64(len(data))}
}

func (r *recorder) step(o diskStep, assumed int64) enteredCall {
	return enteredCall{func(int64) { r.note(o) }, assumed}
}

// signatureAnswer is an answer with a signature, as the daemon writes it into a socket.
var signatureAnswer = regexp.MustCompile(`(?s)^HTTP/1\.1 200 OK\r\n.*"signature": ?"(\w+)"`)

func (r *recorder) answer(thread int, regs *syscall.PtraceRegs) {
	const longest = 4096 // the buffer of net/http
	if regs.Rdi <= 2 || regs.Rdx > longest {
		return
	}
	if found := signatureAnswer.FindSubmatch(r.memory(thread, regs.Rsi, regs.Rdx)); found != nil {
		r.note(diskStep{kind: stepAnswer, text: string(found[1])})
	}
}

func (r *recorder) note(o diskStep) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen.ops = append(r.seen.ops, o)
	r.steps.Broadcast()
}

// inFolder returns the name of a path below the folder. The audit trail is left out: nothing stands on it, and
// its own tests cut it off.
func (r *recorder) inFolder(path string) (name string, ok bool) {
	name, ok = strings.CutPrefix(path, r.folder+"/")
	return name, ok && !isTrail(name)
}

func isTrail(name string) bool {
	return strings.HasPrefix(name, filepath.Base(audit.Path(ratchetName)))
}

func (r *recorder) path(thread int, pointer uint64) string {
	text := make([]byte, unix.PathMax)
	text = text[:r.read(thread, pointer, text)]
	if end := bytes.IndexByte(text, 0); end >= 0 {
		return string(text[:end])
	}
	return ""
}

func (r *recorder) memory(thread int, pointer, size uint64) []byte {
	data := make([]byte, size)
	if n := r.read(thread, pointer, data); n < len(data) {
		r.fail(fmt.Errorf("read %d of %d bytes of the program's memory", n, len(data)))
	}
	return data
}

// read reads as much as can be: a path may lie at the end of what is mapped.
func (r *recorder) read(thread int, pointer uint64, into []byte) (n int) {
	page := uint64(os.Getpagesize())
	for n < len(into) {
		from := pointer + uint64(n)
		size := min(len(into)-n, int(page-from%page))
		local := []unix.Iovec{{Base: &into[n], Len: uint64(size)}}
		remote := []unix.RemoteIovec{{Base: uintptr(from), Len: size}}
		got, err := unix.ProcessVMReadv(thread, local, remote, 0)
		if err != nil || got <= 0 {
			return n
		}
		n += got
	}
	return n
}

// settle compares what the steps make of the folder with the folder: the recorder has
// missed nothing. A call in which the program was killed may have done its work.
func (r *recorder) settle() error {
	err := r.compare()
	if err == nil {
		return nil
	}
	for _, call := range r.inside {
		if call.returned != nil && call.assumed >= 0 {
			call.returned(call.assumed)
		}
	}
	return r.compare()
}

func (r *recorder) compare() error {
	want := r.seen.disk(false, len(r.seen.ops)).cut(keepAll, nil)
	entries, err := os.ReadDir(r.folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isTrail(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(r.folder, e.Name()))
		if err != nil {
			return err
		}
		if recorded, ok := want[e.Name()]; !ok || !slices.Equal(recorded.data, data) {
			return fmt.Errorf("the recording knows nothing of what is in %s", e.Name())
		}
		delete(want, e.Name())
	}
	for name := range want {
		return fmt.Errorf("by the recording there is a %s", name)
	}
	return nil
}

// await waits for a step that the program has to take.
func (r *recorder) await(after int, wanted func(diskStep) bool) (step int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := after; ; at++ {
		for at >= len(r.seen.ops) && !r.ended && r.broken == nil {
			r.steps.Wait()
		}
		switch {
		case at >= len(r.seen.ops):
			return at, cmp.Or(r.broken, errors.New("the program has ended"))
		case wanted(r.seen.ops[at]):
			return at, nil
		}
	}
}

// seenSince reports whether there was such a step.
func (r *recorder) seenSince(from int, wanted func(diskStep) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.seen.ops[from:], wanted)
}

// begin writes down what lies in the folder as the first steps, synced, and what was
// promised of it.
func (r *recorder) begin(must *promises, ever map[ratchet.Mark]toldSignature) error {
	entries, err := os.ReadDir(r.folder)
	if err != nil {
		return err
	}
	for _, e := range entries { // by name: the database is the first
		if isTrail(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(r.folder, e.Name()))
		if err != nil {
			return err
		}
		file, there := r.known(e.Name())
		if there {
			r.names[e.Name()] = file
			r.note(diskStep{kind: stepLink, file: file, name: e.Name()})
			continue
		}
		file = r.make(e.Name())
		r.note(diskStep{kind: stepWrite, file: file, data: data})
		r.note(diskStep{kind: stepSync, file: file})
	}
	r.note(diskStep{kind: stepSyncNames})
	for _, o := range must.steps() {
		r.note(o)
	}
	r.seen.from, r.seen.before = len(r.seen.ops), ever
	return r.broken
}

// known reports whether a name is one more of a file that has one.
func (r *recorder) known(name string) (file int, there bool) {
	identity, err := identityOf(filepath.Join(r.folder, name))
	r.fail(err)
	file = slices.Index(r.seen.identities, identity)
	return file, file >= 0
}

// length is how many steps there are.
func (r *recorder) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen.ops)
}
