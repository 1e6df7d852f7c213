//! A copy of the structs of one `vkQueueBindSparse`, to be read when the call is long over.
//!
//! The application's structs live until its call returns. Turning them into a [`BindCall`] takes several times as long
//! as copying them, so who must not hold the application up copies, and reads elsewhere.

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr;

use ash::vk;

use super::binds::{describe_call, slice};
use super::pnext;
use crate::calls::BindCall;

/// The structs, one after another in one piece of memory, with pointers to each other where the originals have them.
///
/// # Invariants
/// The first `infos` structs in `room` are valid, and so is all they point to, which lies in `room` too.
#[derive(Debug)]
pub struct CallCopy {
    /// Its capacity is what counts: nothing in it is a number of its own, so its length is 0.
    room: Vec<u64>,
    words: usize,
    infos: u32,
    fence: vk::Fence,
}

// SAFETY: the pointers in `room` point into `room`, which the copy owns alone.
unsafe impl Send for CallCopy {}

/// Bytes of a word, and what every struct that is copied here is aligned to at most.
const WORD: usize = size_of::<u64>();

impl CallCopy {
    /// The words of `u64` that a copy of the structs takes.
    ///
    /// # Safety
    /// All structs are valid, and so is all they point to.
    pub unsafe fn words(infos: &[vk::BindSparseInfo<'_>]) -> usize {
        let mut words = words_of(infos);
        for info in infos {
            // SAFETY: the caller's promise, for each array and each link.
            unsafe {
                words += words_of(slice(info.p_wait_semaphores, info.wait_semaphore_count));
                words += words_of(slice(info.p_signal_semaphores, info.signal_semaphore_count));
                let buffers = slice(info.p_buffer_binds, info.buffer_bind_count);
                let opaque = slice(info.p_image_opaque_binds, info.image_opaque_bind_count);
                let images = slice(info.p_image_binds, info.image_bind_count);
                words += words_of(buffers) + words_of(opaque) + words_of(images);
                for bind in buffers {
                    words += words_of(slice(bind.p_binds, bind.bind_count));
                }
                for bind in opaque {
                    words += words_of(slice(bind.p_binds, bind.bind_count));
                }
                for bind in images {
                    words += words_of(slice(bind.p_binds, bind.bind_count));
                }
                for link in pnext::chain(info.p_next) {
                    words += match Link::of(link) {
                        Link::Timeline(timeline) => {
                            let (waits, signals) = timeline_values(&*timeline);
                            words_of(slice(timeline, 1)) + words_of(waits) + words_of(signals)
                        }
                        Link::Group(group) => words_of(slice(group, 1)),
                        Link::Unknown(head) => words_of(slice(head, 1)),
                    };
                }
            }
        }
        words
    }

    /// Copies the structs into `room`, whose contents are lost; it grows where it is too small.
    ///
    /// Of a struct in a `pNext` chain whose type is not known only the type is kept.
    ///
    /// # Safety
    /// All structs are valid, and so is all they point to; `words` is [`CallCopy::words`] of them.
    pub unsafe fn new(
        infos: &[vk::BindSparseInfo<'_>],
        fence: vk::Fence,
        mut room: Vec<u64>,
        words: usize,
    ) -> Self {
        room.clear();
        room.reserve_exact(words);
        let mut free = Free {
            next: room.as_mut_ptr(),
            words,
        };
        let copies: *mut vk::BindSparseInfo<'_> = free.copy(infos).cast_mut();
        for (i, info) in infos.iter().enumerate() {
            // SAFETY: the caller's promise, for each array and each link; `copies` are as many as `infos`.
            unsafe {
                let copy = &mut *copies.add(i);
                copy.p_wait_semaphores =
                    free.copy(slice(info.p_wait_semaphores, info.wait_semaphore_count));
                copy.p_signal_semaphores =
                    free.copy(slice(info.p_signal_semaphores, info.signal_semaphore_count));
                let binds = slice(info.p_buffer_binds, info.buffer_bind_count);
                copy.p_buffer_binds = free.copy(binds);
                for (i, bind) in binds.iter().enumerate() {
                    let copy = &mut *copy.p_buffer_binds.cast_mut().add(i);
                    copy.p_binds = free.copy(slice(bind.p_binds, bind.bind_count));
                }
                let binds = slice(info.p_image_opaque_binds, info.image_opaque_bind_count);
                copy.p_image_opaque_binds = free.copy(binds);
                for (i, bind) in binds.iter().enumerate() {
                    let copy = &mut *copy.p_image_opaque_binds.cast_mut().add(i);
                    copy.p_binds = free.copy(slice(bind.p_binds, bind.bind_count));
                }
                let binds = slice(info.p_image_binds, info.image_bind_count);
                copy.p_image_binds = free.copy(binds);
                for (i, bind) in binds.iter().enumerate() {
                    let copy = &mut *copy.p_image_binds.cast_mut().add(i);
                    copy.p_binds = free.copy(slice(bind.p_binds, bind.bind_count));
                }
                copy.p_next = copy_chain(info.p_next, &mut free);
            }
        }
        Self {
            room,
            words,
            infos: infos.len() as u32,
            fence,
        }
    }

    /// The structs, to be changed: each bind of a buffer or an opaque one of an image by `opaque`, each one of tiles by `tiles`.
    /// They point to the chains of `infos`, the originals.
    pub fn changed<'a>(
        &'a mut self,
        infos: &'a [vk::BindSparseInfo<'_>],
        mut opaque: impl FnMut(&mut vk::SparseMemoryBind),
        mut tiles: impl FnMut(&mut vk::SparseImageMemoryBind),
    ) -> &'a [vk::BindSparseInfo<'a>] {
        /// # Safety
        /// As of [`slice`], and nobody else reads the elements.
        unsafe fn each<T>(first: *const T, count: u32, change: &mut dyn FnMut(&mut T)) {
            for i in 0..count as usize {
                // SAFETY: the caller's promise.
                change(unsafe { &mut *first.cast_mut().add(i) });
            }
        }
        let first: *mut vk::BindSparseInfo<'_> = self.room.as_mut_ptr().cast();
        // SAFETY: the type's invariant; the structs are the copy's own.
        unsafe {
            let copies = match self.infos {
                0 => &mut [],
                count => std::slice::from_raw_parts_mut(first, count as usize),
            };
            for (copy, info) in copies.iter_mut().zip(infos) {
                copy.p_next = info.p_next;
                for bind in slice(copy.p_buffer_binds, copy.buffer_bind_count) {
                    each(bind.p_binds, bind.bind_count, &mut opaque);
                }
                for bind in slice(copy.p_image_opaque_binds, copy.image_opaque_bind_count) {
                    each(bind.p_binds, bind.bind_count, &mut opaque);
                }
                for bind in slice(copy.p_image_binds, copy.image_bind_count) {
                    each(bind.p_binds, bind.bind_count, &mut tiles);
                }
            }
            copies
        }
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.words * WORD
    }

    /// What the call asks for, as [`describe_call`] says it.
    pub fn read(&self) -> BindCall {
        // SAFETY: the type's invariant.
        unsafe {
            let infos: *const vk::BindSparseInfo<'_> = self.room.as_ptr().cast();
            describe_call(slice(infos, self.infos), self.fence)
        }
    }

    /// The memory, to be used again.
    pub fn into_room(self) -> Vec<u64> {
        self.room
    }
}

/// A struct in the chain of a `VkBindSparseInfo`.
enum Link {
    Timeline(*const vk::TimelineSemaphoreSubmitInfo<'static>),
    Group(*const vk::DeviceGroupBindSparseInfo<'static>),
    Unknown(*const vk::BaseOutStructure<'static>),
}

impl Link {
    /// # Safety
    /// `link` is of a valid chain.
    unsafe fn of(link: *const vk::BaseOutStructure<'static>) -> Self {
        // SAFETY: the caller's promise.
        match unsafe { (*link).s_type } {
            vk::StructureType::TIMELINE_SEMAPHORE_SUBMIT_INFO => Self::Timeline(link.cast()),
            vk::StructureType::DEVICE_GROUP_BIND_SPARSE_INFO => Self::Group(link.cast()),
            _ => Self::Unknown(link),
        }
    }
}

/// # Safety
/// `timeline` is valid, and so are its arrays.
unsafe fn timeline_values<'a>(
    timeline: &vk::TimelineSemaphoreSubmitInfo<'a>,
) -> (&'a [u64], &'a [u64]) {
    // SAFETY: the caller's promise.
    unsafe {
        (
            slice(
                timeline.p_wait_semaphore_values,
                timeline.wait_semaphore_value_count,
            ),
            slice(
                timeline.p_signal_semaphore_values,
                timeline.signal_semaphore_value_count,
            ),
        )
    }
}

/// # Safety
/// `p_next` is a valid chain.
unsafe fn copy_chain(p_next: *const c_void, free: &mut Free) -> *const c_void {
    let mut first: *const c_void = ptr::null();
    let mut previous: *mut vk::BaseOutStructure<'_> = ptr::null_mut();
    // SAFETY: the caller's promise; a link's type says what it is, and each copy begins with type and pointer.
    unsafe {
        for link in pnext::chain(p_next) {
            let copy: *mut vk::BaseOutStructure<'_> = match Link::of(link) {
                Link::Timeline(timeline) => {
                    let (waits, signals) = timeline_values(&*timeline);
                    let copy = free.copy(slice(timeline, 1)).cast_mut();
                    (*copy).p_wait_semaphore_values = free.copy(waits);
                    (*copy).p_signal_semaphore_values = free.copy(signals);
                    copy.cast()
                }
                Link::Group(group) => free.copy(slice(group, 1)).cast_mut().cast(),
                Link::Unknown(head) => free.copy(slice(head, 1)).cast_mut(),
            };
            (*copy).p_next = ptr::null_mut();
            if previous.is_null() {
                first = copy.cast();
            } else {
                (*previous).p_next = copy;
            }
            previous = copy;
        }
    }
    first
}

/// What is left of the room.
///
/// # Invariants
/// `words` words from `next` on may be written.
struct Free {
    next: *mut u64,
    words: usize,
}

impl Free {
    /// A copy of `items`, null where there are none.
    ///
    /// # Panics
    /// They do not fit: somebody has changed the structs since they were measured.
    fn copy<T: Copy>(&mut self, items: &[T]) -> *const T {
        const { assert!(align_of::<T>() <= WORD) };
        if items.is_empty() {
            return ptr::null();
        }
        let words = words_of(items);
        assert!(
            words <= self.words,
            "the structs of a vkQueueBindSparse change while they are read"
        );
        let to: *mut T = self.next.cast();
        // SAFETY: the type's invariant, and the check; words are aligned well enough for every `T`.
        unsafe {
            ptr::copy_nonoverlapping(items.as_ptr(), to, items.len());
            self.next = self.next.add(words);
        }
        self.words -= words;
        to
    }
}

fn words_of<T>(items: &[T]) -> usize {
    Layout::for_value(items).size().div_ceil(WORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ash::vk::Handle;

    fn memory_bind(n: u64) -> vk::SparseMemoryBind {
        vk::SparseMemoryBind {
            resource_offset: n << 16,
            size: 1 << 16,
            memory: vk::DeviceMemory::from_raw(n % 3),
            memory_offset: n << 20,
            flags: vk::SparseMemoryBindFlags::from_raw(n as u32 & 1),
        }
    }

    fn image_bind(n: u32) -> vk::SparseImageMemoryBind {
        vk::SparseImageMemoryBind {
            subresource: vk::ImageSubresource {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                mip_level: n,
                array_layer: n + 1,
            },
            offset: vk::Offset3D {
                x: -1,
                y: n as i32,
                z: 3,
            },
            extent: vk::Extent3D {
                width: 4,
                height: 5,
                depth: n,
            },
            memory: vk::DeviceMemory::from_raw(u64::from(n) << 40),
            memory_offset: 7,
            flags: vk::SparseMemoryBindFlags::empty(),
        }
    }

    /// Hands a call of two infos with everything that there is to `check`.
    fn with_call(check: impl FnOnce(&[vk::BindSparseInfo<'_>])) {
        let semaphores: Vec<_> = (1..=3).map(vk::Semaphore::from_raw).collect();
        let binds: Vec<_> = (0..5).map(memory_bind).collect();
        let tiles: Vec<_> = (0..3).map(image_bind).collect();
        let buffers = [
            vk::SparseBufferMemoryBindInfo::default()
                .buffer(vk::Buffer::from_raw(0xb))
                .binds(&binds),
            vk::SparseBufferMemoryBindInfo::default().buffer(vk::Buffer::from_raw(0xc)),
        ];
        let opaque = [vk::SparseImageOpaqueMemoryBindInfo::default()
            .image(vk::Image::from_raw(0x1))
            .binds(&binds[1..3])];
        let images = [vk::SparseImageMemoryBindInfo::default()
            .image(vk::Image::from_raw(0x2))
            .binds(&tiles)];
        let mut timeline = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&[10, 11])
            .signal_semaphore_values(&[12]);
        let group = vk::DeviceGroupBindSparseInfo::default();
        // A struct that is longer than its head, and not known here.
        let mut unknown = vk::ProtectedSubmitInfo::default().protected_submit(true);
        unknown.p_next = (&raw const group).cast();
        timeline.p_next = (&raw const unknown).cast();
        let mut first = vk::BindSparseInfo::default()
            .wait_semaphores(&semaphores[..2])
            .signal_semaphores(&semaphores[2..])
            .buffer_binds(&buffers)
            .image_opaque_binds(&opaque)
            .image_binds(&images);
        first.p_next = (&raw const timeline).cast();
        let second = vk::BindSparseInfo::default().buffer_binds(&buffers[..1]);
        check(&[first, second, second]);
    }

    #[test]
    fn a_copy_says_what_the_structs_said() {
        let (mut copy, mut expected) = (None, None);
        with_call(|infos| {
            let fence = vk::Fence::from_raw(0xf);
            // SAFETY: valid structs.
            unsafe {
                expected = Some(describe_call(infos, fence));
                let words = CallCopy::words(infos);
                copy = Some(CallCopy::new(infos, fence, Vec::new(), words));
            }
        });
        // Here the structs are gone.
        let (copy, expected) = (copy.unwrap(), expected.unwrap());
        assert_eq!(copy.read(), expected);
        assert_eq!(expected.infos[0].waits[1].value, 11);
        assert!(!expected.infos[1].joins_previous && expected.infos[2].joins_previous);
        // Every word that was asked for is in use.
        let binds = 2 * (3 * 40 + 2 * 40);
        assert!(copy.bytes() > binds && copy.room.capacity() * WORD >= copy.bytes());
    }

    #[test]
    fn a_room_is_used_again_and_an_empty_call_needs_none() {
        // SAFETY: no structs, valid ones below.
        let empty = unsafe { CallCopy::new(&[], vk::Fence::null(), Vec::new(), 0) };
        assert_eq!((empty.read(), empty.bytes()), (BindCall::default(), 0));
        with_call(|infos| {
            // SAFETY: valid structs.
            let words = unsafe { CallCopy::words(infos) };
            let room: Vec<u64> = Vec::with_capacity(words + 100);
            let place = room.as_ptr();
            // SAFETY: valid structs.
            let copy = unsafe { CallCopy::new(infos, vk::Fence::null(), room, words) };
            let room = copy.into_room();
            assert_eq!(room.as_ptr(), place);
        });
    }

    #[test]
    #[should_panic(expected = "change while they are read")]
    fn structs_that_grow_between_measuring_and_copying_are_noticed() {
        with_call(|infos| {
            // SAFETY: valid structs.
            unsafe {
                let words = CallCopy::words(&infos[..1]);
                CallCopy::new(infos, vk::Fence::null(), Vec::new(), words);
            }
        });
    }
}
