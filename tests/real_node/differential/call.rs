//! One ioctl as data: what it is called with, in a form that can be printed, read back and made smaller.

use std::fmt::{self, Write};

use panvk_sparse::uapi::*;

/// Where the memory is that calls point into. Always the same, so that a printed call means the same the next time.
pub const BASE: u64 = 0x10_0000_0000;
/// Bytes of it. What lies before and behind it can't be read or written.
pub const LEN: usize = 16 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub request: u32,
    /// The address of the argument.
    pub arg: u64,
    /// What the memory holds from `BASE` on; the rest is zero.
    pub memory: Vec<u8>,
    /// Where in the memory a file descriptor belongs, and which of those there are (see `Sides::fds`).
    pub fd: Option<(usize, usize)>,
}

/// Puts arguments and arrays into the memory, one behind the other.
#[derive(Default)]
pub struct Builder {
    memory: Vec<u8>,
}

impl Builder {
    /// Room for the argument comes first.
    pub fn new() -> Self {
        Self {
            memory: vec![0; 64],
        }
    }

    /// The address of a copy of `values`.
    pub fn put<T: Plain>(&mut self, values: &[T]) -> u64 {
        let at = BASE + self.memory.len() as u64;
        self.memory.extend_from_slice(T::slice_as_bytes(values));
        self.memory.resize(self.memory.len().next_multiple_of(8), 0);
        assert!(self.memory.len() <= LEN);
        at
    }

    pub fn call<T: Plain>(mut self, request: u32, args: T) -> Call {
        self.memory[..size_of::<T>()].copy_from_slice(args.as_bytes());
        Call {
            request,
            arg: BASE,
            memory: self.memory,
            fd: None,
        }
    }
}

/// A call whose argument points to nothing.
pub fn plain<T: Plain>(request: u32, args: T) -> Call {
    Builder::new().call(request, args)
}

impl Call {
    /// The argument as the kernel reads it, where it lies in the memory: what the request is too short for is zero.
    pub fn args<T: Plain>(&self) -> Option<T> {
        let size = ioctl_size(self.request).min(size_of::<T>());
        let size = if self.request & 1 << 30 != 0 { size } else { 0 };
        let bytes: Vec<u8> = self.values(self.arg, size as u32)?;
        Some(T::from_prefix(&bytes))
    }

    /// An array at an address, where all of it lies in the memory.
    pub fn values<T: Plain>(&self, at: u64, count: u32) -> Option<Vec<T>> {
        self.objects(at, size_of::<T>() as u32, count)
    }

    /// An array of objects that are `stride` bytes apart.
    pub fn objects<T: Plain>(&self, at: u64, stride: u32, count: u32) -> Option<Vec<T>> {
        let start = usize::try_from(at.checked_sub(BASE)?).ok()?;
        let (stride, count) = (stride as usize, count as usize);
        let end = start.checked_add(stride.checked_mul(count)?)?;
        if end > LEN {
            return None;
        }
        let mut bytes = self.memory.get(start..).unwrap_or_default().to_vec();
        bytes.resize(end - start, 0);
        let size = stride.min(size_of::<T>());
        let object = |i: usize| T::from_prefix(&bytes[i * stride..i * stride + size]);
        Some((0..count).map(object).collect())
    }

    pub fn array<T: Plain>(&self, array: &ObjArray) -> Option<Vec<T>> {
        self.objects(array.array, array.stride, array.count)
    }

    /// Changes the argument.
    pub fn set_args<T: Plain>(&mut self, args: &T) {
        self.memory[..size_of::<T>()].copy_from_slice(args.as_bytes());
    }

    pub fn number(&self) -> u8 {
        ioctl_nr(self.request)
    }

    pub fn is(&self, code: u32) -> bool {
        self.number() == ioctl_nr(code)
    }

    pub fn name(&self) -> &'static str {
        ioctls()
            .find(|one| self.is(one.code))
            .map_or("another ioctl", |one| one.name)
    }

    /// The call in words: its name, its argument, and the arrays that matter.
    fn describe(&self) -> String {
        let mut text = String::from(self.name());
        macro_rules! argument {
            ($( $code:ident: $ty:ident, )+) => {
                match self.number() {
                    $( n if n == ioctl_nr($code) => {
                        if let Some(args) = self.args::<$ty>() {
                            let _ = write!(text, " {args:x?}");
                        }
                    } )+
                    _ => {}
                }
            };
        }
        argument! {
            IOCTL_DEV_QUERY: DevQuery, IOCTL_VM_CREATE: VmCreate, IOCTL_VM_DESTROY: VmDestroy, IOCTL_VM_BIND: VmBind,
            IOCTL_VM_GET_STATE: VmGetState, IOCTL_BO_CREATE: BoCreate, IOCTL_BO_MMAP_OFFSET: BoMmapOffset,
            IOCTL_GROUP_CREATE: GroupCreate, IOCTL_GROUP_DESTROY: GroupDestroy, IOCTL_GROUP_SUBMIT: GroupSubmit,
            IOCTL_GROUP_GET_STATE: GroupGetState, IOCTL_TILER_HEAP_CREATE: TilerHeapCreate,
            IOCTL_TILER_HEAP_DESTROY: TilerHeapDestroy, IOCTL_BO_SET_LABEL: BoSetLabel,
            IOCTL_SET_USER_MMIO_OFFSET: SetUserMmioOffset, IOCTL_BO_SYNC: BoSync, IOCTL_BO_QUERY_INFO: BoQueryInfo,
            IOCTL_VERSION: Version, IOCTL_GEM_CLOSE: GemClose, IOCTL_GET_CAP: GetCap,
            IOCTL_PRIME_HANDLE_TO_FD: PrimeHandle, IOCTL_PRIME_FD_TO_HANDLE: PrimeHandle,
            IOCTL_SYNCOBJ_CREATE: SyncobjCreate, IOCTL_SYNCOBJ_DESTROY: SyncobjDestroy,
            IOCTL_SYNCOBJ_HANDLE_TO_FD: SyncobjHandle, IOCTL_SYNCOBJ_FD_TO_HANDLE: SyncobjHandle,
            IOCTL_SYNCOBJ_WAIT: SyncobjWait, IOCTL_SYNCOBJ_RESET: SyncobjArray, IOCTL_SYNCOBJ_SIGNAL: SyncobjArray,
            IOCTL_SYNCOBJ_TIMELINE_WAIT: SyncobjTimelineWait, IOCTL_SYNCOBJ_QUERY: SyncobjTimelineArray,
            IOCTL_SYNCOBJ_TRANSFER: SyncobjTransfer, IOCTL_SYNCOBJ_TIMELINE_SIGNAL: SyncobjTimelineArray,
            IOCTL_SYNCOBJ_EVENTFD: SyncobjEventfd, IOCTL_SET_CLIENT_NAME: SetClientName,
        }
        if let Some(ops) = self
            .bind()
            .and_then(|bind| self.array::<VmBindOp>(&bind.ops))
        {
            let _ = write!(text, " ops {ops:x?}");
        }
        for (index, sync) in self.syncs() {
            let _ = write!(text, " {index}: {sync:x?}");
        }
        text
    }

    /// The argument of a VM_BIND.
    pub fn bind(&self) -> Option<VmBind> {
        self.is(IOCTL_VM_BIND).then(|| self.args())?
    }

    /// The sync ops of an asynchronous VM_BIND or a GROUP_SUBMIT, each with the number of its op or job.
    pub fn syncs(&self) -> Vec<(usize, SyncOp)> {
        let arrays: Vec<ObjArray> = if let Some(bind) = self.bind() {
            let ops = self.array::<VmBindOp>(&bind.ops).unwrap_or_default();
            ops.iter().map(|op| op.syncs).collect()
        } else if self.is(IOCTL_GROUP_SUBMIT) {
            let args = self.args::<GroupSubmit>().unwrap_or_default();
            let jobs = self.array::<QueueSubmit>(&args.queue_submits);
            jobs.unwrap_or_default()
                .iter()
                .map(|job| job.syncs)
                .collect()
        } else {
            Vec::new()
        };
        let syncs = |(index, array): (usize, ObjArray)| {
            let syncs = self.array::<SyncOp>(&array).unwrap_or_default();
            syncs.into_iter().map(move |sync| (index, sync))
        };
        arrays.into_iter().enumerate().flat_map(syncs).collect()
    }
}

/// `REQUEST ARG fd@OFFSET=WHICH +OFFSET=BYTES... # in words`, numbers in hexadecimal.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} {:x}", self.request, self.arg)?;
        if let Some((at, which)) = self.fd {
            write!(f, " fd@{at:x}={which:x}")?;
        }
        let mut inside = false;
        for (word, bytes) in self.memory.chunks(8).enumerate() {
            let empty = bytes.iter().all(|byte| *byte == 0);
            if !empty && !inside {
                write!(f, " +{:x}=", word * 8)?;
            }
            inside = !empty;
            if inside {
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
        }
        write!(f, " # {}", self.describe())
    }
}

/// Reads what [`Call`]'s `Display` writes.
pub fn parse(line: &str) -> Option<Call> {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut words = line.split('#').next()?.split_whitespace();
    let mut call = Call {
        request: hex(words.next()?)? as u32,
        arg: hex(words.next()?)?,
        ..Call::default()
    };
    for word in words {
        let (place, value) = word.split_once('=')?;
        if let Some(at) = place.strip_prefix("fd@") {
            call.fd = Some((hex(at)? as usize, hex(value)? as usize));
            continue;
        }
        let at = hex(place.strip_prefix('+')?)? as usize;
        let end = at + value.len() / 2;
        if end > LEN || value.len() % 2 != 0 {
            return None;
        }
        call.memory.resize(call.memory.len().max(end), 0);
        for (byte, digits) in call.memory[at..end]
            .iter_mut()
            .zip(value.as_bytes().chunks(2))
        {
            *byte = hex(std::str::from_utf8(digits).ok()?)? as u8;
        }
    }
    Some(call)
}

#[test]
fn a_call_is_read_as_it_was_printed() {
    let mut memory = Builder::new();
    let array = memory.put(&[7u32, 0, 0, 0, 9]);
    let mut call = memory.call(
        IOCTL_SYNCOBJ_RESET,
        SyncobjArray {
            handles: array,
            count_handles: 5,
            pad: 0,
        },
    );
    call.fd = Some((8, 2));
    let text = call.to_string();
    let mut read = parse(&text).expect(&text);
    read.memory.resize(call.memory.len(), 0);
    assert_eq!(read, call, "{text}");
}
