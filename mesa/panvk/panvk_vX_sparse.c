/* SPDX-License-Identifier: MIT
 *
 * Sparse binding for a panvk that has none (Mesa 25.0), by libpanvk_sparse.
 *
 * No line of panvk changes. Entry points of one architecture come before the common ones, so those here override panvk's by
 * name. Physical devices have no such table: the linker wraps their functions (--wrap), which are named __wrap_* here. At its
 * creation a device with sparse binding gets our driver_submit for its queues. A device without the feature is left as it is.
 *
 * What is bound where: each sparse resource takes addresses of panvk's heap of addresses. A bind becomes a pvs_bind of these
 * addresses and the GEM handle of the memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "panvk_buffer.h"
#include "panvk_device.h"
#include "panvk_device_memory.h"
#include "panvk_entrypoints.h"
#include "panvk_image.h"
#include "panvk_physical_device.h"
#include "panvk_queue.h"

#include "drm-uapi/drm_fourcc.h"
#include "pan_props.h"
#include "util/list.h"
#include "util/u_atomic.h"
#include "vk_drm_syncobj.h"
#include "vk_format.h"
#include "vk_log.h"
#include "vk_util.h"

#include "panvk_sparse.h"

#if PAN_ARCH != 10
#error "Of the architectures of Mesa 25.0 only v10 has panthor"
#endif

#define PAGE 4096ull
/* panvk gives away addresses of 32 bits, without the lowest 32 MiB. */
#define VA_BEGIN 0x2000000ull
#define VA_END   (1ull << 32)

/* ---- what a device has besides struct panvk_device ---- */

struct sparse_physical_device {
   struct list_head link;
   const struct panvk_physical_device *phys;
   struct pvs_device *pvs;
};

struct sparse_device {
   struct list_head link;
   const struct panvk_device *dev;
   struct pvs_vm *vm;
   /* Signalled after all binds so far, whenever a queue is waited for. */
   struct vk_sync *bound;
   bool has_bound;
   /* Of the latest call, for the next. NULL: there is none, or a call uses it. */
   struct bind_array *spare;
};

/* Memory for the binds of a call. Larger ones are not kept, which are 3.5 MiB. */
#define MOST_KEPT 65536u

struct bind_array {
   uint32_t capacity;
   struct pvs_bind binds[];
};

/* Guards the two lists, not what is in them. */
static simple_mtx_t lists_lock = SIMPLE_MTX_INITIALIZER;
static struct list_head physical_devices = {&physical_devices, &physical_devices};
static struct list_head devices = {&devices, &devices};
/* panvk's own, the same for all queues. */
static VkResult (*panvk_submit)(struct vk_queue *, struct vk_queue_submit *);

static bool
is_sparse(const struct panvk_device *dev)
{
   return dev->vk.enabled_features.sparseBinding;
}

static struct sparse_device *
sparse_of(const struct panvk_device *dev)
{
   struct sparse_device *found = NULL;
   simple_mtx_lock(&lists_lock);
   list_for_each_entry(struct sparse_device, sd, &devices, link) {
      if (sd->dev == dev)
         found = sd;
   }
   simple_mtx_unlock(&lists_lock);
   return found;
}

static void
log_message(UNUSED void *data, uint32_t level, const char *message)
{
   if (level == PVS_LOG_ERROR)
      mesa_loge("panvk-sparse: %s", message);
   else
      mesa_logw("panvk-sparse: %s", message);
}

static VkResult
to_result(struct panvk_device *dev, int ret)
{
   switch (ret) {
   case 0:
      return VK_SUCCESS;
   case -EIO:
   case -ENODEV:
      return vk_device_set_lost(&dev->vk, "sparse binding: %s", strerror(-ret));
   case -EINVAL:
      return panvk_error(dev, VK_ERROR_VALIDATION_FAILED_EXT);
   default:
      return panvk_error(dev, VK_ERROR_OUT_OF_DEVICE_MEMORY);
   }
}

/* ---- addresses of resources ---- */

static void
free_va(struct panvk_device *dev, uint64_t va, uint64_t size)
{
   simple_mtx_lock(&dev->as.lock);
   util_vma_heap_free(&dev->as.heap, va, size);
   simple_mtx_unlock(&dev->as.lock);
}

static int
range_create(struct panvk_device *dev, uint64_t size, bool resident, uint64_t *va)
{
   simple_mtx_lock(&dev->as.lock);
   *va = util_vma_heap_alloc(&dev->as.heap, size, size > 0x200000 ? 0x200000 : PAGE);
   simple_mtx_unlock(&dev->as.lock);
   if (!*va)
      return -ENOMEM;

   const struct pvs_range range = {
      .va = *va,
      .size = size,
      .granularity = PAGE,
      .flags = resident ? PVS_RANGE_RESIDENT : 0,
   };
   const int ret = pvs_range_add(sparse_of(dev)->vm, &range);
   /* What may still map something is never used again. */
   if (ret && ret != -EBUSY)
      free_va(dev, *va, size);
   if (ret)
      *va = 0;
   return ret;
}

static void
range_destroy(struct panvk_device *dev, uint64_t va, uint64_t size)
{
   if (va && !pvs_range_remove(sparse_of(dev)->vm, va))
      free_va(dev, va, size);
}

/* ---- buffers ---- */

static uint64_t
buffer_size(const struct panvk_buffer *buffer)
{
   return align64(buffer->vk.size, PAGE);
}

VKAPI_ATTR VkResult VKAPI_CALL
panvk_per_arch(CreateBuffer)(VkDevice _device, const VkBufferCreateInfo *info, const VkAllocationCallbacks *alloc,
                             VkBuffer *out)
{
   VkResult result = panvk_CreateBuffer(_device, info, alloc, out);
   if (result != VK_SUCCESS || !(info->flags & VK_BUFFER_CREATE_SPARSE_BINDING_BIT))
      return result;

   VK_FROM_HANDLE(panvk_device, dev, _device);
   VK_FROM_HANDLE(panvk_buffer, buffer, *out);
   const bool resident = info->flags & VK_BUFFER_CREATE_SPARSE_RESIDENCY_BIT;
   result = to_result(dev, range_create(dev, buffer_size(buffer), resident, &buffer->dev_addr));
   if (result != VK_SUCCESS) {
      panvk_DestroyBuffer(_device, *out, alloc);
      *out = VK_NULL_HANDLE;
   }
   return result;
}

VKAPI_ATTR void VKAPI_CALL
panvk_per_arch(DestroyBuffer)(VkDevice _device, VkBuffer _buffer, const VkAllocationCallbacks *alloc)
{
   VK_FROM_HANDLE(panvk_device, dev, _device);
   VK_FROM_HANDLE(panvk_buffer, buffer, _buffer);
   if (buffer && buffer->vk.create_flags & VK_BUFFER_CREATE_SPARSE_BINDING_BIT)
      range_destroy(dev, buffer->dev_addr, buffer_size(buffer));
   panvk_DestroyBuffer(_device, _buffer, alloc);
}

VKAPI_ATTR void VKAPI_CALL
panvk_per_arch(GetDeviceBufferMemoryRequirements)(VkDevice _device, const VkDeviceBufferMemoryRequirements *info,
                                                  VkMemoryRequirements2 *reqs)
{
   panvk_GetDeviceBufferMemoryRequirements(_device, info, reqs);
   if (info->pCreateInfo->flags & VK_BUFFER_CREATE_SPARSE_BINDING_BIT) {
      reqs->memoryRequirements.alignment = PAGE;
      reqs->memoryRequirements.size = align64(info->pCreateInfo->size, PAGE);
   }
}

/* ---- images ----
 *
 * Without residency an image keeps the layout that panvk gives it. With residency it gets one in which a standard sparse block
 * (64 KiB) is 4 to 16 rows of whole pages: tiles of 16x16 texels row by row, rows padded to whole blocks. Levels that are
 * narrower or lower than a block make up the mip tail, one for each layer.
 */

#define BLOCK 65536ull
#define TILE  16u /* texels, each way */

/* Of formats with 1, 2, 4, 8 and 16 bytes a texel. */
static const VkExtent3D standard_blocks[] = {{256, 256, 1}, {256, 128, 1}, {128, 128, 1}, {128, 64, 1}, {64, 64, 1}};

/* NULL: images of the format cannot be partially resident. */
static const VkExtent3D *
block_of(VkFormat format, VkImageType type, VkImageTiling tiling)
{
   const VkImageAspectFlags aspects = vk_format_aspects(format);
   if (type != VK_IMAGE_TYPE_2D || tiling != VK_IMAGE_TILING_OPTIMAL || vk_format_is_compressed(format) ||
       vk_format_get_plane_count(format) != 1 || (aspects != VK_IMAGE_ASPECT_COLOR_BIT && aspects != VK_IMAGE_ASPECT_DEPTH_BIT))
      return NULL;
   const unsigned bytes = vk_format_get_blocksize(format);
   return bytes && bytes <= 16 && util_is_power_of_two_nonzero(bytes) ? &standard_blocks[util_logbase2(bytes)] : NULL;
}

static const VkExtent3D *
image_block(const struct panvk_image *image)
{
   return block_of(image->vk.format, image->vk.image_type, image->vk.tiling);
}

static bool
is_resident(const struct panvk_image *image)
{
   return image->vk.create_flags & VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT;
}

/* The first level of the mip tail; the number of levels, if there is none. */
static uint32_t
tail_level(const struct panvk_image *image)
{
   const VkExtent3D *block = image_block(image);
   uint32_t level = 0;
   while (level < image->vk.mip_levels && u_minify(image->vk.extent.width, level) >= block->width &&
          u_minify(image->vk.extent.height, level) >= block->height)
      level++;
   return level;
}

static VkResult
lay_out(struct panvk_image *image)
{
   struct pan_image_layout *layout = &image->planes[0].layout;
   const VkExtent3D *block = image_block(image);
   if (!block || image->plane_count != 1 || image->vk.samples != 1 ||
       layout->modifier != DRM_FORMAT_MOD_ARM_16X16_BLOCK_U_INTERLEAVED)
      return VK_ERROR_FORMAT_NOT_SUPPORTED;

   const uint64_t tile = TILE * TILE * util_format_get_blocksize(layout->format);
   const uint32_t tail = tail_level(image);
   uint64_t offset = 0;
   for (uint32_t level = 0; level < layout->nr_slices; level++) {
      struct pan_image_slice_layout *slice = &layout->slices[level];
      const uint32_t w = level < tail ? block->width : TILE, h = level < tail ? block->height : TILE;
      const uint64_t row = (uint64_t)align(u_minify(layout->width, level), w) / TILE * tile;
      const uint64_t size = row * (align(u_minify(layout->height, level), h) / TILE);
      if (offset + size > UINT32_MAX)
         return VK_ERROR_OUT_OF_DEVICE_MEMORY;
      slice->offset = offset;
      slice->row_stride = row;
      slice->surface_stride = size;
      slice->size = size;
      offset += size;
   }
   layout->array_stride = align64(offset, BLOCK);
   layout->data_size = layout->array_stride * layout->array_size;
   return layout->data_size > UINT32_MAX ? VK_ERROR_OUT_OF_DEVICE_MEMORY : VK_SUCCESS;
}

static uint64_t
image_size(const struct panvk_image *image)
{
   uint64_t size = 0;
   for (uint8_t plane = 0; plane < image->plane_count; plane++)
      size += image->planes[plane].layout.data_size;
   return align64(size, PAGE);
}

/* An image with its layout, without addresses. */
static VkResult
create_image(VkDevice _device, const VkImageCreateInfo *info, const VkAllocationCallbacks *alloc, VkImage *out)
{
   VK_FROM_HANDLE(panvk_device, dev, _device);
   VkResult result = panvk_CreateImage(_device, info, alloc, out);
   if (result != VK_SUCCESS || !(info->flags & VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT))
      return result;
   result = lay_out(panvk_image_from_handle(*out));
   if (result != VK_SUCCESS) {
      panvk_DestroyImage(_device, *out, alloc);
      *out = VK_NULL_HANDLE;
      return panvk_error(dev, result);
   }
   return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL
panvk_per_arch(CreateImage)(VkDevice _device, const VkImageCreateInfo *info, const VkAllocationCallbacks *alloc, VkImage *out)
{
   VkResult result = create_image(_device, info, alloc, out);
   if (result != VK_SUCCESS || !(info->flags & VK_IMAGE_CREATE_SPARSE_BINDING_BIT))
      return result;

   VK_FROM_HANDLE(panvk_device, dev, _device);
   VK_FROM_HANDLE(panvk_image, image, *out);
   uint64_t va, offset = 0;
   result = to_result(dev, range_create(dev, image_size(image), is_resident(image), &va));
   for (uint8_t plane = 0; plane < image->plane_count; plane++) {
      image->planes[plane].data.base = va;
      image->planes[plane].data.offset = offset;
      offset += image->planes[plane].layout.data_size;
   }
   if (result != VK_SUCCESS) {
      panvk_DestroyImage(_device, *out, alloc);
      *out = VK_NULL_HANDLE;
   }
   return result;
}

VKAPI_ATTR void VKAPI_CALL
panvk_per_arch(DestroyImage)(VkDevice _device, VkImage _image, const VkAllocationCallbacks *alloc)
{
   VK_FROM_HANDLE(panvk_device, dev, _device);
   VK_FROM_HANDLE(panvk_image, image, _image);
   if (image && image->vk.create_flags & VK_IMAGE_CREATE_SPARSE_BINDING_BIT)
      range_destroy(dev, image->planes[0].data.base, image_size(image));
   panvk_DestroyImage(_device, _image, alloc);
}

VKAPI_ATTR void VKAPI_CALL
panvk_per_arch(GetImageMemoryRequirements2)(VkDevice _device, const VkImageMemoryRequirementsInfo2 *info,
                                            VkMemoryRequirements2 *reqs)
{
   VK_FROM_HANDLE(panvk_image, image, info->image);
   panvk_GetImageMemoryRequirements2(_device, info, reqs);
   if (image->vk.create_flags & VK_IMAGE_CREATE_SPARSE_BINDING_BIT) {
      reqs->memoryRequirements.size = image_size(image);
      reqs->memoryRequirements.alignment = is_resident(image) ? BLOCK : PAGE;
   }
}

VKAPI_ATTR void VKAPI_CALL
panvk_per_arch(GetDeviceImageMemoryRequirements)(VkDevice _device, const VkDeviceImageMemoryRequirements *info,
                                                 VkMemoryRequirements2 *reqs)
{
   panvk_GetDeviceImageMemoryRequirements(_device, info, reqs);
   VkImage image;
   if (!(info->pCreateInfo->flags & VK_IMAGE_CREATE_SPARSE_BINDING_BIT) ||
       create_image(_device, info->pCreateInfo, NULL, &image) != VK_SUCCESS)
      return;
   const VkImageMemoryRequirementsInfo2 of = {.sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_REQUIREMENTS_INFO_2, .image = image};
   panvk_per_arch(GetImageMemoryRequirements2)(_device, &of, reqs);
   panvk_DestroyImage(_device, image, NULL);
}

VKAPI_ATTR void VKAPI_CALL
panvk_per_arch(GetImageSparseMemoryRequirements2)(VkDevice _device, const VkImageSparseMemoryRequirementsInfo2 *info,
                                                  uint32_t *count, VkSparseImageMemoryRequirements2 *reqs)
{
   VK_FROM_HANDLE(panvk_image, image, info->image);
   VK_OUTARRAY_MAKE_TYPED(VkSparseImageMemoryRequirements2, out, reqs, count);
   if (!is_resident(image))
      return;
   const struct pan_image_layout *layout = &image->planes[0].layout;
   const uint32_t tail = tail_level(image);
   const bool has_tail = tail < layout->nr_slices;
   const uint64_t begin = has_tail ? layout->slices[tail].offset : 0;
   vk_outarray_append_typed(VkSparseImageMemoryRequirements2, &out, r) {
      r->memoryRequirements = (VkSparseImageMemoryRequirements){
         .formatProperties = {.aspectMask = vk_format_aspects(image->vk.format), .imageGranularity = *image_block(image)},
         .imageMipTailFirstLod = tail,
         .imageMipTailSize = has_tail ? layout->array_stride - begin : 0,
         .imageMipTailOffset = begin,
         .imageMipTailStride = has_tail ? layout->array_stride : 0,
      };
   }
}

VKAPI_ATTR void VKAPI_CALL
panvk_per_arch(GetDeviceImageSparseMemoryRequirements)(VkDevice _device, const VkDeviceImageMemoryRequirements *info,
                                                       uint32_t *count, VkSparseImageMemoryRequirements2 *reqs)
{
   VkImage image;
   if (create_image(_device, info->pCreateInfo, NULL, &image) != VK_SUCCESS) {
      *count = 0;
      return;
   }
   const VkImageSparseMemoryRequirementsInfo2 of = {.sType = VK_STRUCTURE_TYPE_IMAGE_SPARSE_MEMORY_REQUIREMENTS_INFO_2,
                                                    .image = image};
   panvk_per_arch(GetImageSparseMemoryRequirements2)(_device, &of, count, reqs);
   panvk_DestroyImage(_device, image, NULL);
}

/* ---- memory ---- */

VKAPI_ATTR void VKAPI_CALL
panvk_per_arch(FreeMemory)(VkDevice _device, VkDeviceMemory _mem, const VkAllocationCallbacks *alloc)
{
   VK_FROM_HANDLE(panvk_device, dev, _device);
   VK_FROM_HANDLE(panvk_device_memory, mem, _mem);
   if (mem && is_sparse(dev))
      pvs_bo_gone(sparse_of(dev)->vm, mem->bo->handle);
   panvk_FreeMemory(_device, _mem, alloc);
}

/* ---- the queue ---- */

/* Writes the binds of a resource at `va` to `first` and what follows. One that goes on where the last one ends is made one with
 * it, which is what many applications bind: it costs less here than in the plan. Gives the end. */
static struct pvs_bind *
fill_binds(struct pvs_bind *first, uint64_t va, uint32_t count, const VkSparseMemoryBind *in)
{
   struct pvs_bind *end = first;
   for (uint32_t i = 0; i < count; i++) {
      VK_FROM_HANDLE(panvk_device_memory, mem, in[i].memory);
      const uint32_t handle = mem ? mem->bo->handle : 0;
      const uint64_t at = va + in[i].resourceOffset, offset = mem ? in[i].memoryOffset : 0;
      struct pvs_bind *last = end - 1;
      if (end > first && last->va + last->size == at && last->bo_handle == handle &&
          (!mem || last->bo_offset + last->size == offset))
         last->size += in[i].size;
      else
         *end++ = (struct pvs_bind){.va = at, .size = in[i].size, .bo_offset = offset, .bo_handle = handle};
   }
   return end;
}

/* The blocks of a bind, each a few rows of tiles. Only counts them if `out` is NULL. */
static uint32_t
fill_image_bind(struct pvs_bind *out, const struct panvk_image *image, const VkSparseImageMemoryBind *in)
{
   VK_FROM_HANDLE(panvk_device_memory, mem, in->memory);
   const struct pan_image_layout *layout = &image->planes[0].layout;
   const struct pan_image_slice_layout *slice = &layout->slices[in->subresource.mipLevel];
   const VkExtent3D *block = image_block(image);
   const uint32_t columns = DIV_ROUND_UP(in->extent.width, block->width);
   const uint32_t lines = DIV_ROUND_UP(in->extent.height, block->height);
   const uint32_t rows = block->height / TILE;
   const uint64_t level = image->planes[0].data.base + in->subresource.arrayLayer * layout->array_stride + slice->offset;
   uint64_t offset = mem ? in->memoryOffset : 0;
   for (uint32_t y = 0; y < lines && out; y++) {
      for (uint32_t x = 0; x < columns; x++) {
         *out++ = (struct pvs_bind){
            .va = level + (in->offset.y / block->height + y) * rows * (uint64_t)slice->row_stride +
                  (in->offset.x / block->width + x) * (BLOCK / rows),
            .size = BLOCK / rows,
            .rows = rows,
            .row_stride = slice->row_stride,
            .bo_handle = mem ? mem->bo->handle : 0,
            .bo_offset = offset,
         };
         offset += mem ? BLOCK : 0;
      }
   }
   return columns * lines;
}

static struct pvs_sync
to_pvs_sync(struct vk_sync *sync, uint64_t point)
{
   return (struct pvs_sync){.handle = vk_sync_as_drm_syncobj(sync)->syncobj, .point = point};
}

/* Nothing to run and nothing to bind: a queue is waited for, a fence or semaphores are signalled. panvk lets them wait for the
 * GPU's work. They also have to wait for the binds. */
static VkResult
submit_empty(struct sparse_device *sd, struct vk_queue *queue, struct vk_queue_submit *submit)
{
   if (!p_atomic_read(&sd->has_bound))
      return panvk_submit(queue, submit);

   /* Signalled after all earlier binds, because those of a VM run in order. */
   const struct pvs_sync signal = to_pvs_sync(sd->bound, 0);
   const struct pvs_batch batch = {.signals = &signal, .signal_count = 1};
   const int ret = pvs_bind(sd->vm, &batch, 1);
   if (ret)
      return to_result(to_panvk_device(queue->base.device), ret);

   STACK_ARRAY(struct vk_sync_wait, waits, submit->wait_count + 1);
   typed_memcpy(waits, submit->waits, submit->wait_count);
   waits[submit->wait_count] = (struct vk_sync_wait){.sync = sd->bound, .stage_mask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT};
   struct vk_queue_submit waiting = *submit;
   waiting.waits = waits;
   waiting.wait_count = submit->wait_count + 1;
   const VkResult result = panvk_submit(queue, &waiting);
   STACK_ARRAY_FINISH(waits);
   return result;
}

static struct bind_array *
take_array(struct sparse_device *sd, uint32_t count)
{
   struct bind_array *array = p_atomic_xchg(&sd->spare, NULL);
   if (array && array->capacity >= count)
      return array;
   free(array);
   array = malloc(sizeof(*array) + sizeof(array->binds[0]) * count);
   if (array)
      array->capacity = count;
   return array;
}

static void
keep_array(struct sparse_device *sd, struct bind_array *array)
{
   if (array && array->capacity <= MOST_KEPT)
      array = p_atomic_xchg(&sd->spare, array);
   free(array);
}

static VkResult
submit_binds(struct sparse_device *sd, struct vk_queue *queue, struct vk_queue_submit *submit)
{
   struct panvk_device *dev = to_panvk_device(queue->base.device);
   const uint32_t sync_count = submit->wait_count + submit->signal_count;
   uint32_t count = 0;
   for (uint32_t i = 0; i < submit->buffer_bind_count; i++)
      count += submit->buffer_binds[i].bindCount;
   for (uint32_t i = 0; i < submit->image_opaque_bind_count; i++)
      count += submit->image_opaque_binds[i].bindCount;
   for (uint32_t i = 0; i < submit->image_bind_count; i++) {
      VK_FROM_HANDLE(panvk_image, image, submit->image_binds[i].image);
      for (uint32_t j = 0; j < submit->image_binds[i].bindCount; j++)
         count += fill_image_bind(NULL, image, &submit->image_binds[i].pBinds[j]);
   }

   struct pvs_sync *syncs = malloc(sizeof(*syncs) * MAX2(sync_count, 1));
   struct bind_array *array = take_array(sd, count);
   if (!syncs || !array) {
      free(syncs);
      keep_array(sd, array);
      return panvk_error(dev, VK_ERROR_OUT_OF_HOST_MEMORY);
   }

   struct pvs_sync *signals = syncs + submit->wait_count;
   for (uint32_t i = 0; i < submit->wait_count; i++)
      syncs[i] = to_pvs_sync(submit->waits[i].sync, submit->waits[i].wait_value);
   for (uint32_t i = 0; i < submit->signal_count; i++)
      signals[i] = to_pvs_sync(submit->signals[i].sync, submit->signals[i].signal_value);

   struct pvs_bind *bind = array->binds;
   for (uint32_t i = 0; i < submit->buffer_bind_count; i++) {
      VK_FROM_HANDLE(panvk_buffer, buffer, submit->buffer_binds[i].buffer);
      bind = fill_binds(bind, buffer->dev_addr, submit->buffer_binds[i].bindCount, submit->buffer_binds[i].pBinds);
   }
   for (uint32_t i = 0; i < submit->image_opaque_bind_count; i++) {
      VK_FROM_HANDLE(panvk_image, image, submit->image_opaque_binds[i].image);
      bind = fill_binds(bind, image->planes[0].data.base, submit->image_opaque_binds[i].bindCount,
                        submit->image_opaque_binds[i].pBinds);
   }
   for (uint32_t i = 0; i < submit->image_bind_count; i++) {
      VK_FROM_HANDLE(panvk_image, image, submit->image_binds[i].image);
      for (uint32_t j = 0; j < submit->image_binds[i].bindCount; j++)
         bind += fill_image_bind(bind, image, &submit->image_binds[i].pBinds[j]);
   }

   const struct pvs_batch batch = {
      .waits = syncs,
      .signals = signals,
      .binds = array->binds,
      .wait_count = submit->wait_count,
      .signal_count = submit->signal_count,
      .bind_count = bind - array->binds,
   };
   p_atomic_set(&sd->has_bound, true);
   const int ret = pvs_bind(sd->vm, &batch, 1);
   free(syncs);
   keep_array(sd, array);
   return to_result(dev, ret);
}

static VkResult
sparse_submit(struct vk_queue *queue, struct vk_queue_submit *submit)
{
   if (vk_queue_is_lost(queue))
      return VK_ERROR_DEVICE_LOST;
   if (submit->command_buffer_count)
      return panvk_submit(queue, submit);
   struct sparse_device *sd = sparse_of(to_panvk_device(queue->base.device));
   if (vk_queue_submit_has_bind(submit))
      return submit_binds(sd, queue, submit);
   return submit_empty(sd, queue, submit);
}

/* ---- devices ---- */

/* The linker's --wrap makes calls of a function go to __wrap_*, and calls __real_* go to the function. */
#define WRAPPED(result, name, ...)                                                                                               \
   result __real_##name(__VA_ARGS__);                                                                                            \
   result __wrap_##name(__VA_ARGS__);                                                                                            \
   result __wrap_##name(__VA_ARGS__)

static int
vm_create(struct panvk_device *dev, struct pvs_vm **vm)
{
   const struct panvk_physical_device *phys = to_panvk_physical_device(dev->vk.physical);
   struct sparse_physical_device *known = NULL;
   int ret = 0;
   simple_mtx_lock(&lists_lock);
   list_for_each_entry(struct sparse_physical_device, spd, &physical_devices, link) {
      if (spd->phys == phys)
         known = spd;
   }
   if (!known) {
      const struct pvs_device_info info = {.abi = PVS_ABI, .fd = dev->kmod.dev->fd, .log = log_message};
      known = calloc(1, sizeof(*known));
      ret = known ? pvs_device_create(&info, &known->pvs) : -ENOMEM;
      if (!ret) {
         known->phys = phys;
         list_add(&known->link, &physical_devices);
      } else {
         free(known);
      }
   }
   simple_mtx_unlock(&lists_lock);
   if (ret)
      return ret;

   const struct pvs_vm_info info = {
      .abi = PVS_ABI,
      .fd = dev->kmod.dev->fd,
      .vm_id = dev->kmod.vm->handle,
      .va_end = panfrost_clamp_to_usable_va_range(dev->kmod.dev, VA_END),
   };
   return pvs_vm_create(known->pvs, &info, vm);
}

static void
sparse_device_destroy(struct panvk_device *dev, struct sparse_device *sd)
{
   pvs_vm_destroy(sd->vm);
   if (sd->bound)
      vk_sync_destroy(&dev->vk, sd->bound);
   free(sd->spare);
   free(sd);
}

static VkResult
sparse_device_create(struct panvk_device *dev)
{
   const struct panvk_physical_device *phys = to_panvk_physical_device(dev->vk.physical);
   struct sparse_device *sd = calloc(1, sizeof(*sd));
   if (!sd)
      return panvk_error(dev, VK_ERROR_OUT_OF_HOST_MEMORY);
   sd->dev = dev;
   VkResult result = vk_sync_create(&dev->vk, &phys->drm_syncobj_type, 0, 0, &sd->bound);
   if (result == VK_SUCCESS)
      result = vm_create(dev, &sd->vm) ? panvk_error(dev, VK_ERROR_INITIALIZATION_FAILED) : VK_SUCCESS;
   if (result != VK_SUCCESS) {
      sparse_device_destroy(dev, sd);
      return result;
   }
   simple_mtx_lock(&lists_lock);
   list_add(&sd->link, &devices);
   simple_mtx_unlock(&lists_lock);

   for (unsigned family = 0; family < PANVK_MAX_QUEUE_FAMILIES; family++) {
      for (int i = 0; i < dev->queue_count[family]; i++) {
         struct vk_queue *queue = &dev->queues[family][i].vk;
         panvk_submit = queue->driver_submit;
         queue->driver_submit = sparse_submit;
      }
   }
   return VK_SUCCESS;
}

WRAPPED(void, panvk_v10_destroy_device, struct panvk_device *dev, const VkAllocationCallbacks *alloc)
{
   struct sparse_device *sd = dev && is_sparse(dev) ? sparse_of(dev) : NULL;
   if (sd) {
      simple_mtx_lock(&lists_lock);
      list_del(&sd->link);
      simple_mtx_unlock(&lists_lock);
      sparse_device_destroy(dev, sd);
   }
   __real_panvk_v10_destroy_device(dev, alloc);
}

WRAPPED(VkResult, panvk_v10_create_device, struct panvk_physical_device *phys, const VkDeviceCreateInfo *info,
        const VkAllocationCallbacks *alloc, VkDevice *out)
{
   VkResult result = __real_panvk_v10_create_device(phys, info, alloc, out);
   if (result != VK_SUCCESS)
      return result;
   VK_FROM_HANDLE(panvk_device, dev, *out);
   if (!is_sparse(dev))
      return VK_SUCCESS;
   result = sparse_device_create(dev);
   if (result != VK_SUCCESS) {
      __real_panvk_v10_destroy_device(dev, alloc);
      *out = VK_NULL_HANDLE;
   }
   return result;
}

WRAPPED(VkResult, panvk_physical_device_init, struct panvk_physical_device *phys, struct panvk_instance *instance,
        drmDevicePtr drm)
{
   VkResult result = __real_panvk_physical_device_init(phys, instance, drm);
   if (result == VK_SUCCESS && pan_arch(phys->kmod.props.gpu_prod_id) == PAN_ARCH) {
      phys->vk.supported_features.sparseBinding = true;
      phys->vk.supported_features.sparseResidencyBuffer = true;
      phys->vk.supported_features.sparseResidencyImage2D = true;
      phys->vk.supported_features.sparseResidencyAliased = true;
      phys->vk.properties.sparseResidencyStandard2DBlockShape = true;
      phys->vk.properties.sparseAddressSpaceSize =
         panfrost_clamp_to_usable_va_range(phys->kmod.dev, VA_END) - VA_BEGIN;
   }
   return result;
}

WRAPPED(void, panvk_physical_device_finish, struct panvk_physical_device *phys)
{
   simple_mtx_lock(&lists_lock);
   list_for_each_entry_safe(struct sparse_physical_device, spd, &physical_devices, link) {
      if (spd->phys == phys) {
         list_del(&spd->link);
         pvs_device_destroy(spd->pvs);
         free(spd);
      }
   }
   simple_mtx_unlock(&lists_lock);
   __real_panvk_physical_device_finish(phys);
}

/* ---- what physical devices say ---- */

WRAPPED(VKAPI_ATTR void VKAPI_CALL, panvk_GetPhysicalDeviceQueueFamilyProperties2, VkPhysicalDevice _phys, uint32_t *count,
        VkQueueFamilyProperties2 *families)
{
   VK_FROM_HANDLE(panvk_physical_device, phys, _phys);
   __real_panvk_GetPhysicalDeviceQueueFamilyProperties2(_phys, count, families);
   if (families && phys->vk.supported_features.sparseBinding) {
      for (uint32_t i = 0; i < *count; i++)
         families[i].queueFamilyProperties.queueFlags |= VK_QUEUE_SPARSE_BINDING_BIT;
   }
}

WRAPPED(VKAPI_ATTR VkResult VKAPI_CALL, panvk_GetPhysicalDeviceImageFormatProperties2, VkPhysicalDevice _phys,
        const VkPhysicalDeviceImageFormatInfo2 *info, VkImageFormatProperties2 *props)
{
   VkResult result = __real_panvk_GetPhysicalDeviceImageFormatProperties2(_phys, info, props);
   if (result != VK_SUCCESS || !(info->flags & VK_IMAGE_CREATE_SPARSE_BINDING_BIT))
      return result;

   const bool resident = info->flags & VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT;
   if (vk_format_get_plane_count(info->format) != 1 || (resident && !block_of(info->format, info->type, info->tiling))) {
      props->imageFormatProperties = (VkImageFormatProperties){0};
      return VK_ERROR_FORMAT_NOT_SUPPORTED;
   }
   if (resident)
      props->imageFormatProperties.sampleCounts = VK_SAMPLE_COUNT_1_BIT;
   return VK_SUCCESS;
}

/* The properties, if images of this kind can be partially resident. */
static bool
sparse_format(VkPhysicalDevice _phys, VkFormat format, VkImageType type, VkSampleCountFlagBits samples,
              VkImageUsageFlags usage, VkImageTiling tiling, VkSparseImageFormatProperties *out)
{
   VK_FROM_HANDLE(panvk_physical_device, phys, _phys);
   const VkPhysicalDeviceImageFormatInfo2 info = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_IMAGE_FORMAT_INFO_2,
      .format = format,
      .type = type,
      .tiling = tiling,
      .usage = usage,
      .flags = VK_IMAGE_CREATE_SPARSE_BINDING_BIT | VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT,
   };
   VkImageFormatProperties2 props = {.sType = VK_STRUCTURE_TYPE_IMAGE_FORMAT_PROPERTIES_2};
   if (!phys->vk.supported_features.sparseResidencyImage2D || samples != VK_SAMPLE_COUNT_1_BIT ||
       __wrap_panvk_GetPhysicalDeviceImageFormatProperties2(_phys, &info, &props) != VK_SUCCESS)
      return false;
   *out = (VkSparseImageFormatProperties){.aspectMask = vk_format_aspects(format),
                                          .imageGranularity = *block_of(format, type, tiling)};
   return true;
}

WRAPPED(VKAPI_ATTR void VKAPI_CALL, panvk_GetPhysicalDeviceSparseImageFormatProperties2, VkPhysicalDevice phys,
        const VkPhysicalDeviceSparseImageFormatInfo2 *info, uint32_t *count, VkSparseImageFormatProperties2 *props)
{
   VK_OUTARRAY_MAKE_TYPED(VkSparseImageFormatProperties2, out, props, count);
   VkSparseImageFormatProperties one;
   if (!sparse_format(phys, info->format, info->type, info->samples, info->usage, info->tiling, &one))
      return;
   vk_outarray_append_typed(VkSparseImageFormatProperties2, &out, p)
      p->properties = one;
}

WRAPPED(VKAPI_ATTR void VKAPI_CALL, panvk_GetPhysicalDeviceSparseImageFormatProperties, VkPhysicalDevice phys, VkFormat format,
        VkImageType type, VkSampleCountFlagBits samples, VkImageUsageFlags usage, VkImageTiling tiling, uint32_t *count,
        VkSparseImageFormatProperties *props)
{
   VK_OUTARRAY_MAKE_TYPED(VkSparseImageFormatProperties, out, props, count);
   VkSparseImageFormatProperties one;
   if (!sparse_format(phys, format, type, samples, usage, tiling, &one))
      return;
   vk_outarray_append_typed(VkSparseImageFormatProperties, &out, p)
      *p = one;
}
