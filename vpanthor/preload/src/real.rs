//! The functions that this library stands in front of: the next ones of the same name, usually the C library's.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// A place for one function's address, looked up at the first call.
#[derive(Debug)]
pub struct Slot {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Slot {
    pub const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// The address, null where no other library has such a function.
    pub fn get(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: the name is a C string. Two threads may do this at once: they find the same.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

/// Calls the next function of a name: `real!(c"close", fn(c_int) -> c_int, fd)`. Where there is none, errno is ENOSYS and the
/// result what follows `else`.
macro_rules! real {
    ($name:literal, fn($($ty:ty),* $(; $variadic:tt)?) -> $ret:ty, $($arg:expr),* => $none:expr) => {{
        static SLOT: $crate::real::Slot = $crate::real::Slot::new($name);
        let address = SLOT.get();
        if address.is_null() {
            $crate::sys::set_errno(libc::ENOSYS);
            $none
        } else {
            // SAFETY: the C library's function of this name has this type.
            #[allow(unused_unsafe, reason = "a caller may be unsafe as a whole")]
            let function: unsafe extern "C" fn($($ty),* $(, $variadic)?) -> $ret =
                unsafe { std::mem::transmute(address) };
            // SAFETY: the caller's own arguments, which the caller vouches for, or ones with a path of ours.
            #[allow(unused_unsafe, reason = "as above")]
            let result = unsafe { function($($arg),*) };
            result
        }
    }};
}
pub(crate) use real;
