//! One bind of the application, checked and turned into a request.
//!
//! All that Vulkan promises about the numbers in a `VkSparseMemoryBind` is checked here, before anything is
//! planned: what comes out names whole pages inside one resource and inside one memory object.

use std::fmt;

use super::{Request, Target};
use crate::units::{BoRef, SZ_4K, Va};

/// A sparse resource, as far as a bind has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// How messages name it, for example `buffer 0x5581`.
    pub name: String,
    /// Where it lies in the VM. A multiple of the granularity.
    pub va: Va,
    /// `VkMemoryRequirements::size` in bytes. The page that it ends in is the resource's as a whole.
    pub size: u64,
    /// `VkMemoryRequirements::alignment` in bytes: offsets in the resource and in memory are multiples of it.
    /// A power of two, from 4 KiB.
    pub granularity: u64,
}

/// A memory object, as far as a bind has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub bo: BoRef,
    /// Bytes that can be bound. The page that they end in can be mapped as a whole.
    pub size: u64,
}

/// The numbers of a `VkSparseMemoryBind`, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBind {
    pub resource_offset: u64,
    pub size: u64,
    /// `None` unbinds; the memory offset means nothing then.
    pub memory: Option<Memory>,
    pub memory_offset: u64,
}

/// A bind that breaks a rule of `VkSparseMemoryBind`, with the resource that it was meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindError {
    /// [`Resource::name`].
    pub resource: String,
    pub kind: BindErrorKind,
}

/// The rule that a bind breaks. All numbers are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindErrorKind {
    /// The size is 0 (VUID-VkSparseMemoryBind-size-01098).
    Empty,
    /// A number is no multiple of what it has to be.
    Misaligned {
        /// The field of `VkSparseMemoryBind`.
        field: &'static str,
        value: u64,
        /// What it has to be a multiple of.
        granularity: u64,
    },
    /// `resource_offset + size` is beyond the resource (VUID-VkSparseMemoryBind-resourceOffset-01099, -size-01100).
    BeyondResource {
        resource_offset: u64,
        size: u64,
        resource_size: u64,
    },
    /// `memory_offset + size` is beyond the memory object (VUID-VkSparseMemoryBind-memoryOffset-01101, -size-01102).
    BeyondMemory {
        memory_offset: u64,
        size: u64,
        memory_size: u64,
    },
    /// The sum of two numbers does not fit in 64 bits.
    Overflow {
        /// The field of `VkSparseMemoryBind` that `size` is added to, or the resource's address.
        field: &'static str,
        value: u64,
        size: u64,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.resource)?;
        match self.kind {
            BindErrorKind::Empty => write!(f, "size is 0, expected at least 1 byte"),
            BindErrorKind::Misaligned {
                field,
                value,
                granularity,
            } => {
                write!(
                    f,
                    "{field} is {value} ({value:#x}), expected a multiple of {granularity}"
                )?;
                if field == SIZE {
                    write!(f, " or a range that ends where the resource ends")?;
                }
                Ok(())
            }
            BindErrorKind::BeyondResource {
                resource_offset,
                size,
                resource_size,
            } => write!(
                f,
                "resourceOffset is {resource_offset} and size is {size}, \
                 expected a range inside the {resource_size} bytes of the resource"
            ),
            BindErrorKind::BeyondMemory {
                memory_offset,
                size,
                memory_size,
            } => write!(
                f,
                "memoryOffset is {memory_offset} and size is {size}, \
                 expected a range inside the {memory_size} bytes of the memory"
            ),
            BindErrorKind::Overflow { field, value, size } => {
                write!(
                    f,
                    "{field} is {value} ({value:#x}) and size is {size}, expected a sum below 2^64"
                )
            }
        }
    }
}

impl std::error::Error for BindError {}

const RESOURCE_OFFSET: &str = "resourceOffset";
const MEMORY_OFFSET: &str = "memoryOffset";
const SIZE: &str = "size";

/// Checks a bind and gives it its address.
///
/// # Errors
/// A size of 0; an offset in the resource or in memory that is no multiple of the resource's granularity; a size
/// that is none, unless the range ends where the resource ends; a range that isn't wholly inside the resource
/// or inside the memory; sums beyond 2^64.
pub fn resolve(resource: &Resource, bind: &MemoryBind) -> Result<Request, BindError> {
    check(resource, bind).map_err(|kind| BindError {
        resource: resource.name.clone(),
        kind,
    })
}

fn check(resource: &Resource, bind: &MemoryBind) -> Result<Request, BindErrorKind> {
    let MemoryBind {
        resource_offset,
        size,
        memory,
        memory_offset,
    } = *bind;
    if size == 0 {
        return Err(BindErrorKind::Empty);
    }
    let end = sum(RESOURCE_OFFSET, resource_offset, size)?;
    if end > resource.size {
        return Err(BindErrorKind::BeyondResource {
            resource_offset,
            size,
            resource_size: resource.size,
        });
    }
    aligned(RESOURCE_OFFSET, resource_offset, resource.granularity)?;
    // The last block of a resource may be a part of one.
    if end != resource.size {
        aligned(SIZE, size, resource.granularity)?;
    }
    // The kernel maps whole pages.
    let end = end.checked_next_multiple_of(SZ_4K).unwrap_or(end);
    sum("address of the resource", resource.va.0, end)?;
    let target = match memory {
        None => Target::Null,
        Some(memory) => {
            let memory_end = sum(MEMORY_OFFSET, memory_offset, size)?;
            if memory_end > memory.size {
                return Err(BindErrorKind::BeyondMemory {
                    memory_offset,
                    size,
                    memory_size: memory.size,
                });
            }
            aligned(MEMORY_OFFSET, memory_offset, resource.granularity)?;
            Target::memory(memory.bo, memory_offset)
        }
    };
    Ok(Request {
        va: Va(resource.va.0 + resource_offset),
        len: end - resource_offset,
        target,
    })
}

pub(super) fn sum(field: &'static str, value: u64, size: u64) -> Result<u64, BindErrorKind> {
    value
        .checked_add(size)
        .ok_or(BindErrorKind::Overflow { field, value, size })
}

/// `granularity` is a power of two; 0 asks for nothing.
pub(super) fn aligned(
    field: &'static str,
    value: u64,
    granularity: u64,
) -> Result<(), BindErrorKind> {
    if value & granularity.saturating_sub(1) == 0 {
        return Ok(());
    }
    Err(BindErrorKind::Misaligned {
        field,
        value,
        granularity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{BoHandle, SZ_64K};
    use proptest::prelude::*;

    const BO: BoRef = BoRef {
        handle: BoHandle(3),
        serial: 7,
    };

    fn image() -> Resource {
        Resource {
            name: "image 0x2a".into(),
            va: Va(1 << 30),
            size: 20 * SZ_64K + SZ_4K,
            granularity: SZ_64K,
        }
    }

    fn bind(resource_offset: u64, size: u64, memory_offset: u64) -> MemoryBind {
        let memory = Some(Memory {
            bo: BO,
            size: 32 * SZ_64K,
        });
        MemoryBind {
            resource_offset,
            size,
            memory,
            memory_offset,
        }
    }

    fn refused(bind: MemoryBind) -> BindErrorKind {
        resolve(&image(), &bind).unwrap_err().kind
    }

    #[test]
    fn a_bind_in_the_middle_gets_the_address_of_its_offset() {
        let request = resolve(&image(), &bind(SZ_64K, 2 * SZ_64K, 3 * SZ_64K)).unwrap();
        assert_eq!(request.va, Va((1 << 30) + SZ_64K));
        assert_eq!(request.len, 2 * SZ_64K);
        assert_eq!(request.target, Target::memory(BO, 3 * SZ_64K));
    }

    #[test]
    fn a_null_bind_keeps_its_offset_in_the_resource_and_ignores_the_one_in_memory() {
        let null = MemoryBind {
            memory: None,
            ..bind(5 * SZ_64K, SZ_64K, 12345)
        };
        let request = resolve(&image(), &null).unwrap();
        assert_eq!(
            request,
            Request {
                va: Va((1 << 30) + 5 * SZ_64K),
                len: SZ_64K,
                target: Target::Null
            }
        );
    }

    #[test]
    fn a_part_of_a_block_can_be_bound_only_where_the_resource_ends() {
        assert!(resolve(&image(), &bind(20 * SZ_64K, SZ_4K, 0)).is_ok());
        assert!(resolve(&image(), &bind(19 * SZ_64K, SZ_64K + SZ_4K, 0)).is_ok());
        assert_eq!(
            refused(bind(0, SZ_4K, 0)),
            BindErrorKind::Misaligned {
                field: "size",
                value: SZ_4K,
                granularity: SZ_64K
            }
        );
    }

    #[test]
    fn a_resource_of_any_size_is_bound_up_to_its_end_in_whole_pages() {
        let odd = Resource {
            size: 20 * SZ_64K + 1000,
            ..image()
        };
        for (offset, size) in [(20 * SZ_64K, 1000), (0, 20 * SZ_64K + 1000)] {
            let request = resolve(&odd, &bind(offset, size, 0)).unwrap();
            assert_eq!(request.va.0 - odd.va.0 + request.len, 20 * SZ_64K + SZ_4K);
        }
        for size in [999, 1001, SZ_4K] {
            assert!(resolve(&odd, &bind(20 * SZ_64K, size, 0)).is_err());
        }
        // The memory ends where the resource ends.
        let memory = Memory { bo: BO, size: 1000 };
        let mut last = bind(20 * SZ_64K, 1000, 0);
        last.memory = Some(memory);
        assert_eq!(resolve(&odd, &last).unwrap().len, SZ_4K);
    }

    #[test]
    fn each_broken_rule_has_its_error() {
        assert_eq!(refused(bind(0, 0, 0)), BindErrorKind::Empty);
        assert_eq!(
            refused(bind(SZ_4K, SZ_64K, 0)),
            BindErrorKind::Misaligned {
                field: "resourceOffset",
                value: SZ_4K,
                granularity: SZ_64K
            }
        );
        assert_eq!(
            refused(bind(0, SZ_64K, SZ_4K)),
            BindErrorKind::Misaligned {
                field: "memoryOffset",
                value: SZ_4K,
                granularity: SZ_64K
            }
        );
        assert_eq!(
            refused(bind(20 * SZ_64K, SZ_64K, 0)),
            BindErrorKind::BeyondResource {
                resource_offset: 20 * SZ_64K,
                size: SZ_64K,
                resource_size: 20 * SZ_64K + SZ_4K
            }
        );
        assert_eq!(
            refused(bind(0, 2 * SZ_64K, 31 * SZ_64K)),
            BindErrorKind::BeyondMemory {
                memory_offset: 31 * SZ_64K,
                size: 2 * SZ_64K,
                memory_size: 32 * SZ_64K
            }
        );
    }

    #[test]
    fn huge_numbers_are_refused_and_do_not_wrap() {
        let half = 1 << 63;
        assert!(
            matches!(refused(bind(0, half, 0)), BindErrorKind::BeyondResource { size, .. } if size == half)
        );
        assert_eq!(
            refused(bind(half, half, 0)),
            BindErrorKind::Overflow {
                field: "resourceOffset",
                value: half,
                size: half
            }
        );
        let top = u64::MAX - SZ_64K + 1;
        assert_eq!(
            refused(bind(0, SZ_64K, top)),
            BindErrorKind::Overflow {
                field: "memoryOffset",
                value: top,
                size: SZ_64K
            }
        );
        let high = Resource {
            va: Va(top),
            ..image()
        };
        assert!(matches!(
            resolve(&high, &bind(0, SZ_64K, 0)).unwrap_err().kind,
            BindErrorKind::Overflow {
                field: "address of the resource",
                ..
            }
        ));
    }

    #[test]
    fn messages_name_the_resource_the_field_the_value_and_what_was_expected() {
        let message = |bind| resolve(&image(), &bind).unwrap_err().to_string();
        assert_eq!(
            message(bind(SZ_4K, SZ_64K, 0)),
            "image 0x2a: resourceOffset is 4096 (0x1000), expected a multiple of 65536"
        );
        assert_eq!(
            message(bind(0, SZ_4K, 0)),
            "image 0x2a: size is 4096 (0x1000), expected a multiple of 65536 or a range that ends where the resource ends"
        );
        assert_eq!(
            message(bind(0, 1 << 63, 0)),
            "image 0x2a: resourceOffset is 0 and size is 9223372036854775808, \
             expected a range inside the 1314816 bytes of the resource"
        );
        assert_eq!(
            message(bind(0, 0, 0)),
            "image 0x2a: size is 0, expected at least 1 byte"
        );
    }

    /// Numbers around those that matter, and any others.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![
            (0u64..40).prop_map(|blocks| blocks * SZ_64K),
            (0u64..400).prop_map(|pages| pages * SZ_4K),
            any::<u64>(),
            (0u64..3).prop_map(|less| u64::MAX - less * SZ_64K),
            (0u64..64).prop_map(|bit| 1 << bit),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn what_is_accepted_lies_in_the_resource_and_in_the_memory(
            resource_offset in number(),
            size in number(),
            memory_offset in number(),
            bound: bool,
        ) {
            let (resource, mut bind) = (image(), bind(resource_offset, size, memory_offset));
            if !bound {
                bind.memory = None;
            }
            // The rules again, in arithmetic that can't overflow.
            let wide = |value: u64| u128::from(value);
            let end = wide(resource_offset) + wide(size);
            let in_resource = size > 0
                && end <= wide(resource.size)
                && resource_offset % SZ_64K == 0
                && (size % SZ_64K == 0 || (end == wide(resource.size) && size % SZ_4K == 0));
            let in_memory = !bound
                || (memory_offset % SZ_64K == 0 && wide(memory_offset) + wide(size) <= wide(32 * SZ_64K));
            match resolve(&resource, &bind) {
                Ok(request) => {
                    prop_assert!(in_resource && in_memory);
                    prop_assert_eq!(request.va.0, resource.va.0 + resource_offset);
                    prop_assert_eq!(request.len, size);
                }
                Err(_) => prop_assert!(!(in_resource && in_memory)),
            }
        }
    }
}
