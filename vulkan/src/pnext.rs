//! Walking `pNext` chains: the linked lists by which Vulkan structs are extended.

use std::ffi::c_void;

use ash::vk;

/// The links of a chain, first to last.
#[derive(Debug)]
pub struct Chain {
    next: *mut vk::BaseOutStructure<'static>,
}

impl Iterator for Chain {
    type Item = *mut vk::BaseOutStructure<'static>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next.is_null() {
            return None;
        }
        let link = self.next;
        // SAFETY: `Chain` is made of valid chains only (see `chain`): a link that is not null starts with
        // `sType` and `pNext`.
        self.next = unsafe { (*link).p_next };
        Some(link)
    }
}

/// The links that follow from `p_next`, the `pNext` member of a Vulkan struct.
///
/// # Safety
/// `p_next` is null or a valid chain, as the Vulkan specification asks of every `pNext`, and stays one
/// while the iterator is used.
pub unsafe fn chain(p_next: *const c_void) -> Chain {
    Chain {
        next: p_next.cast_mut().cast(),
    }
}

/// The first struct of type `T` in the chain. It may be read, and, in a chain of output structs, written.
///
/// # Safety
/// As for [`chain`].
pub unsafe fn find<T: vk::TaggedStructure>(p_next: *const c_void) -> Option<*mut T> {
    // SAFETY: the caller's promise is the one that `chain` asks for.
    unsafe { chain(p_next) }
        // SAFETY: a link of a valid chain can be read as its head.
        .find(|&link| unsafe { (*link).s_type } == T::STRUCTURE_TYPE)
        .map(|link| link.cast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_struct_by_its_type_and_nothing_in_an_empty_chain() {
        let mut timeline = vk::TimelineSemaphoreSubmitInfo::default();
        let mut group = vk::DeviceGroupBindSparseInfo::default().resource_device_index(3);
        group.p_next = (&raw mut timeline).cast();
        let head: *const c_void = (&raw const group).cast();
        // SAFETY: a chain of two valid structs that outlive the calls.
        unsafe {
            let found = find::<vk::DeviceGroupBindSparseInfo>(head).unwrap();
            assert_eq!((*found).resource_device_index, 3);
            assert!(find::<vk::TimelineSemaphoreSubmitInfo>(head).is_some());
            assert!(find::<vk::SubmitInfo>(head).is_none());
            assert_eq!(chain(head).count(), 2);
            assert_eq!(chain(std::ptr::null()).count(), 0);
        }
    }
}
