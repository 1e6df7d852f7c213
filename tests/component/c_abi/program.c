/* A driver in small: binds through panvk_sparse.h on a panthor node.
 *
 * usage: program NODE random SEED CALLS [forget]    random binds of four threads, against a model of pages
 *        program NODE devices COUNT                 so many VMs of one device
 *        program NODE refused                       what the kernel refuses with ENOMEM, once
 *
 * `random` prints what each page has to map. With `forget` it never says that memory is freed, which breaks the rules. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "panvk_sparse.h"

struct vm_create { uint32_t flags, id; uint64_t user_va_range; };
struct vm_destroy { uint32_t id, pad; };
struct bo_create { uint64_t size; uint32_t flags, exclusive_vm, handle, pad; };
struct gem_close { uint32_t handle, pad; };
struct syncobj { uint32_t handle, flags; };
struct syncobj_wait { uint64_t handles; int64_t timeout; uint32_t count, flags, first, pad; uint64_t deadline; };

#define VM_CREATE _IOWR('d', 0x41, struct vm_create)
#define VM_DESTROY _IOWR('d', 0x42, struct vm_destroy)
#define BO_CREATE _IOWR('d', 0x45, struct bo_create)
#define GEM_CLOSE _IOW('d', 0x09, struct gem_close)
#define SYNCOBJ_CREATE _IOWR('d', 0xbf, struct syncobj)
#define SYNCOBJ_WAIT _IOWR('d', 0xc3, struct syncobj_wait)

#define CHECK(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "line %d: %s (errno %d, %s)\n", __LINE__, #what, errno, strerror(errno)); \
			_exit(1); \
		} \
	} while (0)

#define PAGE 4096ull
#define PAGES 1024u
#define BO_PAGES 1024u
#define RANGES 3
#define BOS 4
#define THREADS 4
#define PAST (1u << 31) /* of memory that is freed */

static int node;
static struct pvs_device *device;
static struct pvs_vm *vm;
static unsigned said;

/* It needs the lock of the VM: if the library held it, nothing would go on. */
static void log_and_ask(void *data, uint32_t level, const char *message)
{
	struct pvs_stats stats;
	CHECK(data == &said && (level == PVS_LOG_ERROR || level == PVS_LOG_WARNING) && message[0]);
	if (vm)
		pvs_vm_stats(vm, &stats);
	__atomic_add_fetch(&said, 1, __ATOMIC_RELAXED);
	fprintf(stderr, "log %u: %s\n", level, message);
}

static struct pvs_vm *create_vm(struct vm_create *made)
{
	struct pvs_vm *created = NULL;
	*made = (struct vm_create){.user_va_range = 1ull << 38};
	CHECK(!ioctl(node, VM_CREATE, made));
	const struct pvs_vm_info info = {.abi = PVS_ABI, .fd = node, .vm_id = made->id, .va_end = made->user_va_range};
	CHECK(!pvs_vm_create(device, &info, &created));
	return created;
}

static uint32_t create_bo(uint64_t pages, uint32_t of_vm)
{
	struct bo_create create = {.size = pages * PAGE, .exclusive_vm = of_vm};
	CHECK(!ioctl(node, BO_CREATE, &create));
	return create.handle;
}

static uint32_t create_syncobj(void)
{
	struct syncobj create = {0};
	CHECK(!ioctl(node, SYNCOBJ_CREATE, &create));
	return create.handle;
}

/* After it, all that was bound before has happened. */
static void wait_for_binds(void)
{
	uint32_t done = create_syncobj();
	const struct pvs_sync signal = {.handle = done};
	const struct pvs_batch nothing = {.signals = &signal, .signal_count = 1};
	struct syncobj_wait wait = {.handles = (uintptr_t)&done, .count = 1, .timeout = INT64_MAX};
	CHECK(!pvs_bind(vm, &nothing, 1));
	CHECK(!ioctl(node, SYNCOBJ_WAIT, &wait));
}

/* ---- random ---- */

struct page { bool mapped; uint32_t bo, flags; uint64_t offset; };

struct thread {
	pthread_t id;
	uint64_t random, binds;
	unsigned number, calls;
	bool forget;
	uint32_t of_vm, handles[BOS];
	uint64_t va[RANGES];
	struct page pages[RANGES][PAGES];
};

static uint32_t below(struct thread *t, uint32_t n)
{
	t->random = t->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((t->random >> 33) % n);
}

static void add_range(struct thread *t, unsigned r)
{
	const bool resident = r != 2;
	const struct pvs_range range = {
		.va = t->va[r], .size = PAGES * PAGE, .granularity = PAGE, .flags = resident ? PVS_RANGE_RESIDENT : 0,
	};
	CHECK(!pvs_range_add(vm, &range));
	for (unsigned i = 0; i < PAGES; i++)
		t->pages[r][i] = (struct page){.mapped = resident};
}

static struct pvs_bind random_bind(struct thread *t)
{
	const unsigned r = below(t, RANGES), memory = below(t, BOS + 1);
	const unsigned size = 1 + below(t, below(t, 8) ? 12 : 300), at = below(t, PAGES - size);
	unsigned rows = below(t, 6) ? 1 : 1 + below(t, 4), slices = below(t, 3) ? 1 : 1 + below(t, 2);
	unsigned row_stride = size + below(t, 20), slice_stride = (rows - 1) * row_stride + size + below(t, 20);
	if (at + (slices - 1) * slice_stride + (rows - 1) * row_stride + size > PAGES || size * rows * slices > BO_PAGES)
		rows = slices = 1;
	const unsigned pieces = size * rows * slices;
	/* Often such that neighbours continue each other, and that the same is bound again. */
	const unsigned offset = below(t, 2) && at + pieces <= BO_PAGES ? at : below(t, BO_PAGES - pieces + 1);
	struct pvs_bind bind = {.va = t->va[r] + at * PAGE, .size = size * PAGE, .rows = rows, .slices = slices,
		.row_stride = row_stride * PAGE, .slice_stride = slice_stride * PAGE};
	if (memory) {
		bind.bo_handle = t->handles[memory - 1];
		bind.bo_offset = offset * PAGE;
		bind.flags = below(t, 10) ? 0 : below(t, 4);
	}
	for (unsigned s = 0, page = offset; s < slices; s++)
		for (unsigned row = 0; row < rows; row++)
			for (unsigned i = 0; i < size; i++, page++)
				t->pages[r][at + s * slice_stride + row * row_stride + i] = (struct page){
					.mapped = true, .bo = bind.bo_handle, .flags = bind.flags, .offset = memory ? page * PAGE : 0,
				};
	t->binds++;
	return bind;
}

static void replace_memory(struct thread *t)
{
	uint32_t *handle = &t->handles[below(t, BOS)];
	struct gem_close close = {.handle = *handle};
	for (unsigned r = 0; r < RANGES; r++)
		for (unsigned i = 0; i < PAGES; i++)
			if (t->pages[r][i].bo == *handle)
				t->pages[r][i].bo |= PAST;
	if (!t->forget)
		pvs_bo_gone(vm, *handle);
	CHECK(!ioctl(node, GEM_CLOSE, &close));
	*handle = create_bo(BO_PAGES, t->of_vm);
}

static void *bind_at_random(void *of)
{
	struct thread *t = of;
	const uint32_t timeline = create_syncobj();
	uint64_t point = 0;
	for (unsigned r = 0; r < RANGES; r++)
		add_range(t, r);
	for (unsigned i = 0; i < BOS; i++)
		t->handles[i] = create_bo(BO_PAGES, t->of_vm);
	for (unsigned call = 0; call < t->calls; call++) {
		struct pvs_batch batches[4];
		struct pvs_sync waits[4], signals[4];
		struct pvs_bind binds[4][32];
		const unsigned count = 1 + below(t, 4);
		for (unsigned b = 0; b < count; b++, point++) {
			const unsigned bind_count = below(t, 32);
			for (unsigned i = 0; i < bind_count; i++)
				binds[b][i] = random_bind(t);
			waits[b] = (struct pvs_sync){.handle = timeline, .point = point};
			signals[b] = (struct pvs_sync){.handle = timeline, .point = point + 1};
			batches[b] = (struct pvs_batch){.binds = binds[b], .bind_count = bind_count, .waits = &waits[b],
				.wait_count = point > 0, .signals = &signals[b], .signal_count = 1};
		}
		CHECK(!pvs_bind(vm, batches, count));
		if (!below(t, 8))
			replace_memory(t);
		if (!below(t, 40)) {
			const unsigned r = below(t, RANGES);
			CHECK(!pvs_range_remove(vm, t->va[r]));
			add_range(t, r);
		}
	}
	return NULL;
}

static void expect_refused(const struct pvs_bind *bind)
{
	const struct pvs_batch batch = {.binds = bind, .bind_count = 1};
	const unsigned before = said;
	const int result = pvs_bind(vm, &batch, 1);
	CHECK(result == -EINVAL || result == -ENOENT);
	CHECK(said == before + 1);
}

static void random_binds(uint64_t seed, unsigned calls, bool forget)
{
	static struct thread threads[THREADS];
	struct vm_create made;
	uint64_t binds = 0;
	vm = create_vm(&made);
	for (unsigned n = 0; n < THREADS; n++) {
		struct thread *t = &threads[n];
		*t = (struct thread){.random = seed * THREADS + n, .number = n, .calls = calls / THREADS, .forget = forget, .of_vm = made.id};
		for (unsigned r = 0; r < RANGES; r++)
			t->va[r] = (1ull << 32) + (n * RANGES + r) * (8ull << 20) + r * 5 * PAGE;
		CHECK(!pthread_create(&t->id, NULL, bind_at_random, t));
	}
	for (unsigned n = 0; n < THREADS; n++) {
		CHECK(!pthread_join(threads[n].id, NULL));
		binds += threads[n].binds;
	}
	/* What is refused changes nothing. */
	const struct thread *t = &threads[0];
	const struct pvs_bind wrong[] = {
		{.va = t->va[0] + 1, .size = PAGE},
		{.va = t->va[0], .size = PAGE + 1},
		{.va = t->va[0], .size = 0},
		{.va = t->va[0], .size = PAGE, .bo_handle = t->handles[0], .bo_offset = 1},
		{.va = t->va[0], .size = PAGE, .flags = PVS_BIND_READONLY},
		{.va = t->va[0], .size = PAGE, .bo_handle = t->handles[0], .flags = 4},
		{.va = t->va[0], .size = PAGE, .bo_handle = 4000},
		{.va = t->va[0], .size = BO_PAGES * PAGE, .bo_handle = t->handles[0], .bo_offset = PAGE},
		{.va = t->va[0], .size = (PAGES + 1) * PAGE},
		{.va = t->va[0] - PAGE, .size = PAGE},
		{.va = t->va[0], .size = 2 * PAGE, .rows = 2, .row_stride = PAGE},
		{.va = t->va[0], .size = PAGE, .rows = UINT32_MAX, .row_stride = PAGE},
		{.va = t->va[0], .size = PAGE, .rows = UINT32_MAX, .row_stride = 1ull << 63, .slices = UINT32_MAX, .slice_stride = 1ull << 63},
		{.va = t->va[0], .size = PAGE, .rows = 2, .row_stride = 2 * PAGE, .slices = 2, .slice_stride = 2 * PAGE},
	};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect_refused(&wrong[i]);
	const struct pvs_batch none = {.bind_count = 1};
	CHECK(pvs_bind(vm, &none, 1) == -EINVAL && pvs_bind(vm, NULL, 1) == -EINVAL && pvs_bind(NULL, &none, 1) == -EINVAL);
	CHECK(pvs_range_remove(vm, t->va[0] + PAGE) == -EINVAL);
	wait_for_binds();

	struct pvs_stats stats;
	pvs_vm_stats(vm, &stats);
	CHECK(stats.binds == binds && stats.ops == stats.map_ops + stats.null_ops + stats.unmap_ops + stats.sync_ops);
	fprintf(stderr, "strategy %u: %llu calls, %llu binds, %llu elided, %llu ioctls, %llu ops\n", stats.strategy,
		(unsigned long long)stats.calls, (unsigned long long)stats.binds, (unsigned long long)stats.elided,
		(unsigned long long)stats.ioctls, (unsigned long long)stats.ops);
	printf("binds %llu\n", (unsigned long long)stats.binds);
	for (unsigned n = 0; n < THREADS; n++)
		for (unsigned r = 0; r < RANGES; r++)
			for (unsigned i = 0; i < PAGES; i++) {
				const struct page *p = &threads[n].pages[r][i];
				printf("page %llu %s %u %u %llu %u\n", (unsigned long long)(threads[n].va[r] + i * PAGE), p->mapped ? "mapped" : "-",
					p->bo & ~PAST, p->bo & PAST ? 1 : 0, (unsigned long long)p->offset, p->flags);
			}
}

/* ---- the others ---- */

static void devices(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct vm_create made;
		struct pvs_vm *one = create_vm(&made);
		struct vm_destroy destroy = {.id = made.id};
		pvs_vm_destroy(one);
		CHECK(!ioctl(node, VM_DESTROY, &destroy));
	}
	pvs_device_destroy(device);
	CHECK(!close(node));
}

static void refused(void)
{
	struct vm_create made;
	vm = create_vm(&made);
	const struct pvs_range range = {.va = 1ull << 32, .size = 64 * PAGE, .granularity = PAGE};
	CHECK(!pvs_range_add(vm, &range));
	CHECK(pvs_range_add(vm, &range) == -EINVAL);
	const struct pvs_bind bind = {.va = range.va, .size = PAGE, .bo_handle = create_bo(1, made.id)};
	const struct pvs_batch batch = {.binds = &bind, .bind_count = 1};
	int result, refusals = 0;
	while ((result = pvs_bind(vm, &batch, 1)) == -ENOMEM)
		refusals++;
	CHECK(!result && refusals == 1);
	struct pvs_stats stats;
	pvs_vm_stats(vm, &stats);
	CHECK(stats.calls == 1 && stats.binds == 1);
	wait_for_binds();
}

int main(int argc, char **argv)
{
	CHECK(argc > 2);
	CHECK((node = open(argv[1], O_RDWR | O_CLOEXEC)) >= 0);
	struct pvs_device_info info = {.abi = PVS_ABI + 1, .fd = node, .log = log_and_ask, .log_data = &said};
	CHECK(pvs_device_create(&info, &device) == -EINVAL && said == 1);
	info.abi = PVS_ABI;
	info.strategy = 5;
	CHECK(pvs_device_create(&info, &device) == -EINVAL && said == 2);
	info.strategy = PVS_STRATEGY_AUTO;
	CHECK(pvs_device_create(NULL, &device) == -EINVAL && pvs_device_create(&info, NULL) == -EINVAL);
	CHECK(!pvs_device_create(&info, &device));
	if (!strcmp(argv[2], "random"))
		random_binds(strtoull(argv[3], NULL, 10), (unsigned)atoi(argv[4]), argc > 5);
	else if (!strcmp(argv[2], "devices"))
		devices((unsigned)atoi(argv[3]));
	else
		refused();
	return 0;
}
