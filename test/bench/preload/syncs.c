/* Counts the fsync and fdatasync calls of the program that it is preloaded into, and
   makes them slower on demand. The file PAWL_BENCH_SYNCS holds both numbers, so that
   they are read and set from outside while the program runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static struct { volatile uint64_t calls, delay; } *shared; /* delay in nanoseconds */

__attribute__((constructor)) static void attach(void) {
	const char *path = getenv("PAWL_BENCH_SYNCS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0) return;
	void *p = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED) shared = p;
	close(fd);
}

static int sync_with(const char *name, int fd) {
	int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
	if (shared) {
		__atomic_fetch_add(&shared->calls, 1, __ATOMIC_RELAXED);
		struct timespec wait = {shared->delay / 1000000000, shared->delay % 1000000000};
		if (shared->delay) nanosleep(&wait, NULL);
	}
	return next(fd);
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }
