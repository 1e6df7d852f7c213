/* An ordinary program that uses a render node: it knows the uAPI, and nothing of a virtual kernel.
 *
 * usage: program CASE NODE. Exit status 0, or 1 with what was not as it should be. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

struct vm_create { uint32_t flags, id; uint64_t user_va_range; };
struct vm_destroy { uint32_t id, pad; };
struct vm_state { uint32_t vm_id, state; };
struct obj_array { uint32_t stride, count; uint64_t array; };
struct bind_op { uint32_t flags, handle; uint64_t offset, va, size; struct obj_array syncs; };
struct vm_bind { uint32_t vm_id, flags; struct obj_array ops; };
struct bo_create { uint64_t size; uint32_t flags, exclusive_vm, handle, pad; };
struct bo_mmap { uint32_t handle, pad; uint64_t offset; };
struct gem_close { uint32_t handle, pad; };
struct prime { uint32_t handle, flags; int32_t fd; };
struct sync_file { uint32_t flags; int32_t fd; };
struct dev_query { uint32_t type, size; uint64_t pointer; };
struct syncobj { uint32_t handle, flags; };
struct syncobj_array { uint64_t handles; uint32_t count, pad; };
struct syncobj_wait { uint64_t handles; int64_t timeout; uint32_t count, flags, first, pad; uint64_t deadline; };

#define PANTHOR(nr, type) _IOWR('d', 0x40 + (nr), struct type)
#define DEV_QUERY PANTHOR(0, dev_query)
#define VM_CREATE PANTHOR(1, vm_create)
#define VM_DESTROY PANTHOR(2, vm_destroy)
#define VM_BIND PANTHOR(3, vm_bind)
#define VM_STATE PANTHOR(4, vm_state)
#define BO_CREATE PANTHOR(5, bo_create)
#define BO_MMAP PANTHOR(6, bo_mmap)
#define GEM_CLOSE _IOW('d', 0x09, struct gem_close)
#define PRIME_HANDLE_TO_FD _IOWR('d', 0x2d, struct prime)
#define PRIME_FD_TO_HANDLE _IOWR('d', 0x2e, struct prime)
#define DMA_BUF_SYNC _IOW('b', 0, uint64_t)
#define DMA_BUF_EXPORT_SYNC_FILE _IOWR('b', 2, struct sync_file)
#define DMA_BUF_IMPORT_SYNC_FILE _IOW('b', 3, struct sync_file)
#define SYNCOBJ_CREATE _IOWR('d', 0xbf, struct syncobj)
#define SYNCOBJ_WAIT _IOWR('d', 0xc3, struct syncobj_wait)
#define SYNCOBJ_SIGNAL _IOWR('d', 0xc5, struct syncobj_array)
#define FLUSH_ID_OFFSET (1ull << 56)
#define NOEXEC 2u
#define UNMAP (1u << 28)
#define WAIT_FOR_SUBMIT 2u

static const char *node;

#define CHECK(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "line %d: %s (errno %d, %s)\n", __LINE__, #what, errno, strerror(errno)); \
			_exit(1); \
		} \
	} while (0)
#define FAILS(what, with) CHECK((errno = 0, (what) == -1) && errno == (with))

static int open_node(int flags)
{
	int fd = open(node, O_RDWR | flags);
	CHECK(fd >= 0);
	return fd;
}

static uint32_t vm_create(int fd)
{
	struct vm_create args = { 0 };
	CHECK(ioctl(fd, VM_CREATE, &args) == 0);
	return args.id;
}

static uint32_t bo_create(int fd, uint64_t size)
{
	struct bo_create args = { .size = size };
	CHECK(ioctl(fd, BO_CREATE, &args) == 0);
	return args.handle;
}

static uint64_t mmap_offset(int fd, uint32_t handle)
{
	struct bo_mmap args = { .handle = handle };
	CHECK(ioctl(fd, BO_MMAP, &args) == 0);
	return args.offset;
}

static int has_vm(int fd, uint32_t id)
{
	struct vm_state args = { .vm_id = id };
	return ioctl(fd, VM_STATE, &args) == 0;
}

static int bind(int fd, uint32_t vm, struct bind_op op)
{
	struct vm_bind args = { .vm_id = vm, .ops = { sizeof(op), 1, (uintptr_t)&op } };
	return ioctl(fd, VM_BIND, &args);
}

/* What the descriptor says of itself. */
static void descriptor(void)
{
	struct stat st;
	int fd = open_node(O_CLOEXEC | O_NONBLOCK);
	CHECK(fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(226, 128));
	CHECK(stat(node, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(226, 128));
	CHECK((fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == (O_RDWR | O_NONBLOCK));
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(open_node(0), F_GETFD) == 0);

	char byte;
	FAILS(read(fd, &byte, 1), EAGAIN);
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN | POLLPRI };
	CHECK(poll(&poll_fd, 1, 0) == 0);
	struct termios termios;
	FAILS(tcgetattr(fd, &termios), ENOTTY);

	/* By a folder, as find does it; and what is no node stays what it was. */
	int dir = open("/dev/dri", O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0);
	int relative = openat(dir, strrchr(node, '/') + 1, O_RDWR);
	CHECK(relative >= 0 && vm_create(relative) == 1);
	CHECK(fstatat(dir, strrchr(node, '/') + 1, &st, 0) == 0 && st.st_rdev == makedev(226, 128));
	char path[PATH_MAX], line[64] = "";
	CHECK(realpath("/sys/dev/char/226:128/device/.", path) == path);
	CHECK(strncmp(path, "/sys/devices/platform/", 22) == 0 && strcmp(strrchr(path, '.'), ".gpu") == 0);
	FILE *uevent = fopen("/sys/dev/char/226:128/device/uevent", "r");
	CHECK(uevent && fgets(line, sizeof(line), uevent) && strcmp(line, "DRIVER=panthor\n") == 0 && fclose(uevent) == 0);
	FAILS(open(node, O_RDWR | O_DIRECTORY), ENOTDIR);
	FAILS(open("/dev/dri/renderD191", O_RDWR), ENOENT);
	int null = open("/dev/null", O_RDWR);
	CHECK(fstat(null, &st) == 0 && st.st_rdev == makedev(1, 3));
	FAILS(ioctl(null, VM_CREATE, &(struct vm_create){ 0 }), ENOTTY);
	CHECK(write(null, "x", 1) == 1 && read(null, &byte, 1) == 0);
}

/* Duplicates are the same file, which is closed with the last of them; two opens are two files. */
static void duplicates(void)
{
	int first = open_node(0), other = open_node(0);
	uint32_t vm = vm_create(first);
	CHECK(has_vm(first, vm) && !has_vm(other, vm));
	int second = dup(first), third = fcntl(first, F_DUPFD_CLOEXEC, 50);
	CHECK(third >= 50 && has_vm(second, vm) && has_vm(third, vm));
	CHECK(close(first) == 0 && has_vm(second, vm));
	FAILS(ioctl(first, VM_CREATE, &(struct vm_create){ 0 }), EBADF);
	CHECK(dup2(second, 100) == 100 && close(second) == 0 && close(third) == 0 && has_vm(100, vm));
	/* The number becomes something else: no ioctl of a node any more. */
	int null = open("/dev/null", O_RDWR);
	CHECK(dup2(null, 100) == 100);
	FAILS(ioctl(100, VM_CREATE, &(struct vm_create){ 0 }), ENOTTY);
	CHECK(close(null) == 0);
	/* A number again, a new file. */
	int again = open_node(0);
	CHECK(!has_vm(again, vm) && vm_create(again) == vm);
	CHECK(close(again) == 0 && close(other) == 0);
}

static void maps(void)
{
	int fd = open_node(0);
	uint32_t bo = bo_create(fd, 8192);
	uint64_t offset = mmap_offset(fd, bo);
	char *one = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	char *two = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, offset);
	CHECK(one != MAP_FAILED && two != MAP_FAILED && one[17] == 0);
	one[17] = 42;
	CHECK(two[17] == 42);
	/* A map outlives handle and file. */
	CHECK(munmap(two, 4096) == 0);
	int other = open_node(0);
	CHECK((errno = 0, mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, offset) == MAP_FAILED) && errno == EACCES);
	CHECK((errno = 0, mmap(NULL, 16384, PROT_READ, MAP_SHARED, fd, offset) == MAP_FAILED) && errno == EINVAL);
	CHECK((errno = 0, mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED) && errno == EINVAL);
	CHECK((errno = 0, mmap(NULL, 4096, PROT_WRITE, MAP_PRIVATE, fd, offset) == MAP_FAILED) && errno == EINVAL);
	CHECK(ioctl(fd, GEM_CLOSE, &(struct gem_close){ .handle = bo }) == 0);
	CHECK((errno = 0, mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, offset) == MAP_FAILED) && errno == EACCES);
	CHECK(close(fd) == 0 && one[17] == 42);
	CHECK(munmap(one, 8192) == 0);
	CHECK((errno = 0, mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, offset) == MAP_FAILED) && errno == EINVAL);

	volatile uint32_t *flush_id = mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, FLUSH_ID_OFFSET);
	CHECK(flush_id != MAP_FAILED && *flush_id != 0);
	CHECK((errno = 0, mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, FLUSH_ID_OFFSET) == MAP_FAILED)
		&& errno == EINVAL);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);

	/* A map costs no descriptor that the program would miss. */
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = 64;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (int i = 0; i < 200; i++) {
		offset = mmap_offset(other, bo_create(other, 4096));
		CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, offset) != MAP_FAILED);
	}
}

/* A buffer object leaves as a dma-buf, which shows the same memory, is idle, and comes back as the same object. */
static void exports(void)
{
	int fd = open_node(0), other = open_node(0);
	uint32_t bo = bo_create(fd, 8192);
	struct prime prime = { .handle = bo, .flags = O_CLOEXEC | O_RDWR };
	CHECK(ioctl(fd, PRIME_HANDLE_TO_FD, &prime) == 0 && fcntl(prime.fd, F_GETFD) == FD_CLOEXEC);
	CHECK(lseek(prime.fd, 0, SEEK_END) == 8192);
	char *one = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, mmap_offset(fd, bo));
	char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, prime.fd, 0);
	CHECK(one != MAP_FAILED && two != MAP_FAILED);
	two[5000] = 9;
	CHECK(one[5000] == 9);

	uint64_t flags = 3;
	CHECK(ioctl(prime.fd, DMA_BUF_SYNC, &flags) == 0);
	struct sync_file file = { .flags = 3, .fd = -1 };
	CHECK(ioctl(prime.fd, DMA_BUF_EXPORT_SYNC_FILE, &file) == 0 && file.fd >= 0);
	struct pollfd poll_fd = { .fd = file.fd, .events = POLLIN };
	CHECK(poll(&poll_fd, 1, 0) == 1 && poll_fd.revents & POLLIN);
	CHECK(ioctl(prime.fd, DMA_BUF_IMPORT_SYNC_FILE, &file) == 0);
	int null = open("/dev/null", O_RDWR);
	FAILS(ioctl(null, DMA_BUF_SYNC, &flags), ENOTTY);

	prime.handle = 0;
	CHECK(ioctl(other, PRIME_FD_TO_HANDLE, &prime) == 0 && prime.handle != 0);
	char *three = mmap(NULL, 8192, PROT_READ, MAP_SHARED, other, mmap_offset(other, prime.handle));
	CHECK(three != MAP_FAILED && three[5000] == 9);
	prime.fd = null;
	FAILS(ioctl(other, PRIME_FD_TO_HANDLE, &prime), EINVAL);
}

/* A pointer to nowhere is an error, and not the end. */
static void wrong_pointers(void)
{
	int fd = open_node(0);
	FAILS(ioctl(fd, VM_CREATE, NULL), EFAULT);
	FAILS(ioctl(fd, VM_CREATE, (void *)-1), EFAULT);
	struct vm_bind args = { .vm_id = vm_create(fd), .ops = { sizeof(struct bind_op), 3, 8 } };
	FAILS(ioctl(fd, VM_BIND, &args), EFAULT);
	struct dev_query query = { .type = 0, .size = 112, .pointer = 1 << 12 };
	FAILS(ioctl(fd, DEV_QUERY, &query), EFAULT);
	void *read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FAILS(ioctl(fd, VM_CREATE, read_only), EFAULT);
	FAILS(ioctl(fd, _IOWR('d', 0x0f, int), read_only), EINVAL);
	/* One that drives displays is not for a render node, but its argument is looked at first. */
	FAILS(ioctl(fd, _IOWR('d', 0x3f, int), read_only), EACCES);
	FAILS(ioctl(fd, _IOWR('d', 0x3f, int), NULL), EFAULT);
	FAILS(ioctl(fd, _IOWR('d', 0xa1, int), read_only), EFAULT);
}

enum { THREADS = 8, ROUNDS = 200 };
static int shared_fd;
static uint32_t shared_vm;

static void *work(void *arg)
{
	uint64_t va = 1ull << 30 | (uint64_t)(uintptr_t)arg << 24;
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t bo = bo_create(shared_fd, 65536);
		CHECK(bind(shared_fd, shared_vm, (struct bind_op){ NOEXEC, bo, 0, va, 65536 }) == 0);
		CHECK(bind(shared_fd, shared_vm, (struct bind_op){ UNMAP, 0, 0, va, 65536 }) == 0);
		CHECK(ioctl(shared_fd, GEM_CLOSE, &(struct gem_close){ .handle = bo }) == 0);
	}
	return NULL;
}

static void start(pthread_t *threads)
{
	shared_fd = open_node(0);
	shared_vm = vm_create(shared_fd);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
}

static void threads(void)
{
	pthread_t threads[THREADS];
	start(threads);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static uint32_t awaited;

static void *sleeper(void *arg)
{
	struct syncobj_wait args = { (uintptr_t)&awaited, INT64_MAX, 1, WAIT_FOR_SUBMIT };
	CHECK(ioctl(shared_fd, SYNCOBJ_WAIT, &args) == 0);
	return arg;
}

/* A child uses the file that it has from its parent, while other threads of the parent are in the middle of calls. */
static void forks(void)
{
	pthread_t threads[THREADS], waiting;
	start(threads);
	struct syncobj syncobj = { 0 };
	CHECK(ioctl(shared_fd, SYNCOBJ_CREATE, &syncobj) == 0);
	awaited = syncobj.handle;
	CHECK(pthread_create(&waiting, NULL, sleeper, NULL) == 0);
	uint32_t bo = bo_create(shared_fd, 4096);
	volatile int *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, mmap_offset(shared_fd, bo));
	CHECK(memory != MAP_FAILED);
	for (int i = 1; i <= 30; i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			alarm(60);
			struct vm_destroy args = { .id = vm_create(shared_fd) };
			CHECK(ioctl(shared_fd, VM_DESTROY, &args) == 0 && has_vm(shared_fd, shared_vm));
			int fd = open_node(0);
			CHECK(vm_create(fd) == 1);
			int *again = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, shared_fd, mmap_offset(shared_fd, bo));
			CHECK(again != MAP_FAILED);
			*again = i;
			_exit(0);
		}
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		CHECK(*memory == i);
	}
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	struct syncobj_array signal = { (uintptr_t)&awaited, 1 };
	CHECK(ioctl(shared_fd, SYNCOBJ_SIGNAL, &signal) == 0 && pthread_join(waiting, NULL) == 0);
	CHECK(has_vm(shared_fd, shared_vm));
}

static uint64_t random_state;

static uint64_t random_word(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	return random_state ^= random_state << 17;
}

/* Calls of any number, size and bytes, with pointers to memory, to nothing and to nowhere. */
static void any_calls(void)
{
	enum { WORDS = 512 };
	uint64_t *memory = mmap(NULL, 8 * WORDS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	int fd = -1, succeeded = 0;
	random_state = 0x9e3779b97f4a7c15;
	for (int i = 0; i < 200000; i++) {
		if (i % 1000 == 0) {
			close(fd);
			fd = open_node(0);
		}
		/* Numbers of panthor, of syncobjs, of any kind. */
		uint64_t r = random_word();
		unsigned nr = r & 1 ? 0x40 + (r >> 8) % 18 : r & 2 ? 0xbf + (r >> 8) % 17 : (r >> 8) & 0xff;
		unsigned long request = _IOC(3, 'd', nr, r & 4 ? 8 * ((r >> 16) % 9) : (r >> 16) % 300);
		/* What a driver passes for this number, often enough. */
		if (nr == 0x41 || nr == 0x43 || nr == 0x45)
			request = nr == 0x41 ? VM_CREATE : nr == 0x43 ? VM_BIND : BO_CREATE;
		for (int w = 0; w < WORDS / 8; w++) {
			uint64_t v = random_word();
			switch (v >> 61) {
			case 0: memory[w] = v; break;
			case 1: memory[w] = (uintptr_t)(memory + (v & 0x3f)); break;
			case 2: memory[w] = (v & 0xff) << 12; break;
			case 3: memory[w] = v & 3; break;
			case 4: memory[w] = (v & 3) << 32 | (v >> 8 & 3); break;
			default: memory[w] = 0; break;
			}
		}
		/* Nothing that waits for ever, and no map that takes as long as a large one takes. */
		if (nr == 0xc3)
			memory[1] = 0;
		if (nr == 0xca || nr == 0xcc)
			memory[2] = 0, memory[3] = 0;
		if (nr == 0x43) {
			memory[1] = 48 | (r >> 40 & 1) << 32, memory[2] = (uintptr_t)(memory + 8);
			memory[11] &= 0xff000;
		}
		void *arg = (r >> 50) % 20 == 0 ? NULL : (r >> 50) % 20 == 1 ? (void *)8 : memory;
		errno = 0;
		int result = ioctl(fd, request, arg);
		CHECK(result >= -1);
		CHECK(result >= 0 || errno != 0);
		succeeded += result == 0;
		/* What it was given, such as exported buffer objects. */
		if (result == 0 && (nr == 0x2d || nr == 0xc1))
			close(((int *)memory)[2]);
	}
	CHECK(succeeded > 1000);
	fd = open_node(0);
	uint32_t vm = vm_create(fd), bo = bo_create(fd, 65536);
	CHECK(bind(fd, vm, (struct bind_op){ NOEXEC, bo, 0, 1 << 30, 65536 }) == 0);
}

static volatile sig_atomic_t handled;

static void handler(int signal)
{
	handled = signal;
}

/* Holds a mapping, makes a mistake, and is asked for a dump twice: then it waits for the end of its input. */
static void dumps(void)
{
	signal(SIGUSR1, handler);
	int fd = open_node(0);
	uint32_t vm = vm_create(fd), bo = bo_create(fd, 65536);
	CHECK(bind(fd, vm, (struct bind_op){ NOEXEC, bo, 4096, 1 << 30, 8192 }) == 0);
	FAILS(bind(fd, vm, (struct bind_op){ NOEXEC, bo, 4096, 1 << 30, 1 << 20 }), EINVAL);
	CHECK(raise(SIGUSR1) == 0 && handled == SIGUSR1);
	printf("ready\n");
	fflush(stdout);
	char byte;
	CHECK(read(0, &byte, 1) == 0);
	CHECK(bind(fd, vm, (struct bind_op){ UNMAP, 0, 0, 1 << 30, 8192 }) == 0);
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*run)(void); } cases[] = {
		{ "descriptor", descriptor }, { "duplicates", duplicates }, { "maps", maps }, { "exports", exports },
		{ "wrong_pointers", wrong_pointers }, { "threads", threads }, { "forks", forks }, { "dumps", dumps }, { "any_calls", any_calls },
	};
	CHECK(argc == 3);
	node = argv[2];
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (strcmp(cases[i].name, argv[1]) == 0) {
			cases[i].run();
			return 0;
		}
	}
	fprintf(stderr, "no case %s\n", argv[1]);
	return 1;
}
