/* Makes calls of the program that it is preloaded into fail as a disk would have them fail.
   SQLite's calls go through libc and are seen here; those that Go makes itself are not. The
   file PAWL_FAULT_IO holds the order, so that it is given while the program runs, and to the
   next program too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, READ = 8 };
enum { WAL = 1, DATABASE = 2, OTHER = 4 };

static struct {
	int64_t calls, files; /* which; no calls is no order */
	int64_t error;        /* errno; 0: the call says that it has done what it has not */
	int64_t skip, times;  /* so many pass first, so many fail then */
	int64_t torn;         /* a write that fails has written its first half */
	int64_t seen, hits;   /* how many calls there were, and how many failed */
} *order;

__attribute__((constructor)) static void attach(void) {
	const char *path = getenv("PAWL_FAULT_IO");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0) return;
	void *p = mmap(NULL, sizeof *order, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED) order = p;
	close(fd);
}

static int ends(const char *name, const char *end) {
	size_t n = strlen(name), m = strlen(end);
	return n >= m && strcmp(name + n - m, end) == 0;
}

static int file(int fd) {
	char link[32], name[4096];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, name, sizeof name - 1);
	if (n < 0) return OTHER;
	name[n] = 0;
	return ends(name, ".db-wal") ? WAL : ends(name, ".db") ? DATABASE : OTHER;
}

static int fails(int call, int fd) {
	if (!order || !(__atomic_load_n(&order->calls, __ATOMIC_ACQUIRE) & call)) return 0;
	if (!(order->files & file(fd))) return 0;
	int64_t n = __atomic_fetch_add(&order->seen, 1, __ATOMIC_RELAXED) - order->skip;
	if (n < 0 || n >= order->times) return 0;
	__atomic_fetch_add(&order->hits, 1, __ATOMIC_RELEASE);
	errno = (int)order->error;
	return 1;
}

#define NEXT(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

#define PWRITE(name, offset_type) \
	ssize_t name(int fd, const void *data, size_t n, offset_type at) { \
		if (!fails(WRITE, fd)) return NEXT(name, fd, data, n, at); \
		if (!order->error) return (ssize_t)n; \
		if (order->torn) NEXT(name, fd, data, n / 2, at); \
		errno = (int)order->error; \
		return -1; \
	}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PREAD(name, offset_type) \
	ssize_t name(int fd, void *data, size_t n, offset_type at) { \
		return fails(READ, fd) ? -1 : NEXT(name, fd, data, n, at); \
	}
PREAD(pread, off_t)
PREAD(pread64, off64_t)

int ftruncate(int fd, off_t n) { return fails(TRUNCATE, fd) ? -1 : NEXT(ftruncate, fd, n); }
int ftruncate64(int fd, off64_t n) { return fails(TRUNCATE, fd) ? -1 : NEXT(ftruncate64, fd, n); }
int fsync(int fd) { return fails(SYNC, fd) ? -1 : NEXT(fsync, fd); }
int fdatasync(int fd) { return fails(SYNC, fd) ? -1 : NEXT(fdatasync, fd); }
