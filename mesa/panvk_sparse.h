/* SPDX-License-Identifier: MIT
 *
 * panvk-sparse: carries out sparse binds of a Vulkan driver for Arm Mali with the fewest panthor VM_BIND operations.
 *
 * Mali faults on an address that maps nothing, so every unbound range of a sparse resource is mapped to a small buffer
 * object, the dummy. The library finds out how the kernel does that best, remembers what each address maps, and asks the
 * kernel only for what a bind changes.
 *
 * Units: addresses, sizes, offsets and strides are bytes and multiples of 4096, unless a field says something else.
 * Padding and reserved fields are 0.
 *
 * Errors: a function that returns int returns 0, or a negative errno after which nothing has changed:
 *   -EINVAL  an argument is wrong. The log says which, its value, and what was expected. Or the kernel said so.
 *   -EIO     the VM is lost: its state is not known, now and ever after. Treat it as VK_ERROR_DEVICE_LOST.
 *   -EBUSY   (ranges only) the kernel refused to unmap a range. Its addresses still map something: never use them again.
 *   others   the kernel's, for example -ENOMEM. Treat it as VK_ERROR_OUT_OF_DEVICE_MEMORY. The call may be made again.
 *
 * Threads: every function may be called from any thread, except that nothing else may use an object that is being
 * destroyed. Each pvs_vm has one lock, which a call holds while it is in the kernel. Calls for different VMs do not wait for
 * each other. Calls for one VM reach the kernel in the order in which they take its lock: a caller who needs a certain order
 * makes one call after the other.
 * The library calls `log` at the end of a call, when it has given back its lock, so `log` may call the library. The caller
 * may hold locks of its own while it calls the library, except those that its `log` takes.
 *
 * A process that forks must not use an object of its parent. No function unwinds or ends the process.
 */
#ifndef PANVK_SPARSE_H
#define PANVK_SPARSE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of all structs and functions below. Another version has another number and other symbol versions. */
#define PVS_ABI 1

struct pvs_device; /* What a kernel was seen to do: one for each VkPhysicalDevice. */
struct pvs_vm;     /* One panthor VM with its sparse ranges: one for each VkDevice. */

/* How unbound ranges are mapped. */
enum pvs_strategy {
   PVS_STRATEGY_AUTO = 0,   /* the best of the following that works */
   PVS_STRATEGY_SPARSE = 1, /* one operation; the kernel has a dummy of its own */
   PVS_STRATEGY_REPEAT = 2, /* one operation; the kernel repeats our dummy */
   PVS_STRATEGY_CHUNK = 3,  /* one operation for each 2 MiB */
   PVS_STRATEGY_PAGE = 4    /* one operation for each 4096 bytes: a slow reference */
};

enum pvs_log_level {
   PVS_LOG_ERROR = 1,
   PVS_LOG_WARNING = 2
};

struct pvs_device_info {
   uint32_t abi;      /* PVS_ABI */
   int32_t fd;        /* an open file of the render node, used only during pvs_device_create */
   uint32_t strategy; /* enum pvs_strategy */
   uint32_t reserved; /* 0 */
   /* Gets what goes wrong as text of one line, valid during the call, on the thread that called the library. NULL: nobody
    * does. `level` is enum pvs_log_level. */
   void (*log)(void *log_data, uint32_t level, const char *message);
   void *log_data; /* for `log`; must stay valid as long as the device and its VMs */
};

/* Finds out what the kernel can do. That takes 20 to 40 ioctls on scratch VMs, which are gone afterwards: do it once, when
 * the first VkDevice with sparse binding is created. -EINVAL also for a strategy that does not work on this kernel, and for
 * a file that is not panthor's. */
int pvs_device_create(const struct pvs_device_info *info, struct pvs_device **device);
/* May come before the VMs are destroyed. NULL is allowed. */
void pvs_device_destroy(struct pvs_device *device);

struct pvs_vm_info {
   uint32_t abi;    /* PVS_ABI */
   int32_t fd;      /* the open file that the VM belongs to; duplicated, the caller keeps its own */
   uint32_t vm_id;  /* of DRM_IOCTL_PANTHOR_VM_CREATE; the caller destroys the VM after the pvs_vm */
   uint32_t reserved; /* 0 */
   uint64_t va_end; /* user addresses of the VM are below it, as DRM_IOCTL_PANTHOR_VM_CREATE's user_va_range says */
};

/* One or two ioctls: DRM_IOCTL_VERSION, and the creation of the dummy if the kernel has none of its own. The dummy belongs
 * to this VM only. */
int pvs_vm_create(const struct pvs_device *device, const struct pvs_vm_info *info, struct pvs_vm **vm);
/* Leaves what is mapped as it is; the VM goes soon. NULL is allowed. */
void pvs_vm_destroy(struct pvs_vm *vm);

/* The resource is partially resident, so its unbound parts must not fault: all of it is mapped to the dummy at once. */
#define PVS_RANGE_RESIDENT 1u

struct pvs_range {
   uint64_t va;          /* first address */
   uint64_t size;        /* at least 4096 */
   uint64_t reserved;    /* bytes from va on that nothing else uses, at least size; 0: size. A few pages more, up to a multiple of
                            2 MiB, make unbound ranges cheaper */
   uint64_t granularity; /* the smallest bind, a power of two from 4096 */
   uint32_t flags;       /* PVS_RANGE_* */
   uint32_t pad;         /* 0 */
};

/* A sparse resource takes these addresses. -EINVAL also for addresses of another range. */
int pvs_range_add(struct pvs_vm *vm, const struct pvs_range *range);
/* The resource that starts at va is destroyed, and no work uses it any more: its addresses map nothing afterwards. Waits for
 * no bind: those that are queued run before. -EINVAL: no range starts there. */
int pvs_range_remove(struct pvs_vm *vm, uint64_t va);

/* Memory on this GEM handle is freed. Call it before the handle is closed, because the kernel gives the number away again.
 * What is mapped to the memory stays so. */
void pvs_bo_gone(struct pvs_vm *vm, uint32_t bo_handle);

/* For pvs_bind.flags. No mapping of a sparse range can be executed, whatever its flags. */
#define PVS_BIND_READONLY 1u /* the GPU must not write */
#define PVS_BIND_UNCACHED 2u /* the GPU must not cache */

/* Maps memory at va, or unbinds there.
 *
 * A block of image tiles is one bind: `slices` times `rows` pieces of `size` bytes. The next row begins row_stride bytes
 * further on, the next slice slice_stride bytes. The memory goes on from piece to piece without a gap. Pieces must not
 * overlap, and all lie in one range.
 */
struct pvs_bind {
   uint64_t va;
   uint64_t size;         /* of a piece, at least 4096 */
   uint64_t bo_offset;    /* of the first piece; ignored if bo_handle is 0 */
   uint64_t row_stride;   /* at least size, if rows is above 1; else ignored */
   uint64_t slice_stride; /* at least what the rows of a slice take, if slices is above 1; else ignored */
   uint32_t rows;         /* number; 0 means 1 */
   uint32_t slices;       /* number; 0 means 1 */
   uint32_t bo_handle;    /* a GEM handle of the VM's file; 0 unbinds */
   uint32_t flags;        /* PVS_BIND_*; 0 if bo_handle is 0 */
};

struct pvs_sync {
   uint32_t handle; /* of a DRM syncobj of the VM's file */
   uint32_t pad;    /* 0 */
   uint64_t point;  /* of the timeline; 0: the syncobj is binary */
};

/* One VkBindSparseInfo, or several with no semaphore between them. A later bind wins over an earlier one. */
struct pvs_batch {
   const struct pvs_sync *waits;   /* wait_count of them; each must have a fence already */
   const struct pvs_sync *signals; /* signal_count of them */
   const struct pvs_bind *binds;   /* bind_count of them */
   uint32_t wait_count;
   uint32_t signal_count;
   uint32_t bind_count;
   uint32_t pad; /* 0 */
};

/* Carries out the batches in order with one asynchronous VM_BIND (more only beyond 65,536 operations). VM_BINDs of one VM run
 * in the order of the calls. A call that changes nothing and has no wait and no signal asks the kernel nothing. */
int pvs_bind(struct pvs_vm *vm, const struct pvs_batch *batches, uint32_t batch_count);

struct pvs_stats {
   uint64_t ioctls;    /* VM_BIND calls since pvs_vm_create */
   uint64_t ops;       /* operations in them, of which: */
   uint64_t map_ops;   /* map memory */
   uint64_t null_ops;  /* map the dummy */
   uint64_t unmap_ops; /* unmap */
   uint64_t sync_ops;  /* only wait or signal */
   uint64_t calls;     /* of pvs_bind, those that succeeded */
   uint64_t binds;     /* in these calls */
   uint64_t elided;    /* of these, binds that changed nothing */
   uint32_t strategy;  /* enum pvs_strategy that is in use, never PVS_STRATEGY_AUTO */
   uint32_t pad;       /* 0 */
};
void pvs_vm_stats(struct pvs_vm *vm, struct pvs_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
