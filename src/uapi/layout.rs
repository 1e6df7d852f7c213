//! How the uAPI's structs and numbers are written down once: the macros, and what they record.

/// Plain data: integers without padding, so every bit pattern is a value and every byte of a value is initialised.
///
/// # Safety
/// The type is `repr(C)` (or an integer), consists of integers and other `Plain` types only, and has no padding.
pub unsafe trait Plain: Copy + Default + 'static {
    /// The value's bytes, in memory order.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: `Plain` promises that all `size_of::<Self>()` bytes are initialised; they live as long as `self`.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// The value's bytes, to be written: any bytes make a value.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `Plain` promises that every bit pattern is a value; `self` is borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(std::ptr::from_mut(self).cast(), size_of::<Self>())
        }
    }

    /// The bytes of all elements, in memory order.
    fn slice_as_bytes(slice: &[Self]) -> &[u8] {
        // SAFETY: as for `as_bytes`; the elements of a slice lie next to each other.
        unsafe { std::slice::from_raw_parts(slice.as_ptr().cast(), size_of_val(slice)) }
    }

    /// The value whose first bytes are `bytes`, and zeros where `bytes` is too short; what is too long is ignored.
    fn from_prefix(bytes: &[u8]) -> Self {
        let mut value = Self::default();
        let out = value.as_bytes_mut();
        let len = out.len().min(bytes.len());
        out[..len].copy_from_slice(&bytes[..len]);
        value
    }
}

// SAFETY: integers have no padding and any bits are a value.
unsafe impl Plain for u8 {}
// SAFETY: as for u8.
unsafe impl Plain for u16 {}
// SAFETY: as for u8.
unsafe impl Plain for u32 {}
// SAFETY: as for u8.
unsafe impl Plain for i32 {}
// SAFETY: as for u8.
unsafe impl Plain for u64 {}
// SAFETY: as for u8.
unsafe impl Plain for i64 {}
// SAFETY: arrays have no padding between their elements.
unsafe impl Plain for [u8; 3] {}
// SAFETY: as for `[u8; 3]`.
unsafe impl Plain for [u32; 4] {}

/// A field of a uAPI struct; offset and size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The C name.
    pub name: &'static str,
    pub offset: usize,
    pub size: usize,
}

/// A uAPI struct as Rust lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructLayout {
    /// The C name, without `struct`.
    pub c_name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Bytes.
    pub align: usize,
    /// In memory order, without padding that C leaves unnamed.
    pub fields: &'static [Field],
}

/// A type that knows its layout.
pub trait Layout {
    const LAYOUT: StructLayout;
}

/// A constant of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    pub c_name: &'static str,
    pub value: u64,
    /// Bytes of the Rust constant: where C's enumerator is negative, only these count.
    pub size: usize,
}

/// An ioctl of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ioctl {
    pub c_name: &'static str,
    /// What people call it: `VM_BIND`.
    pub name: &'static str,
    /// The whole request number: direction, size, 'd' and number.
    pub code: u32,
}

/// A function-like macro of a header: `(word >> shift) & mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitField {
    pub c_name: &'static str,
    pub shift: u32,
    pub mask: u32,
}

/// Defines uAPI structs: `c_name = RustName (size in bytes) { offset => field: type, .. }`.
///
/// Size, every offset and the absence of padding are checked at compile time. A field whose name starts with
/// an underscore is padding that C leaves to the compiler.
#[macro_export]
#[doc(hidden)]
macro_rules! uapi_structs {
    ($(
        $(#[$meta:meta])*
        $c_name:ident = $name:ident ($size:literal) {
            $( $(#[$field_meta:meta])* $offset:literal => $field:ident : $ty:ty, )+
        }
    )+) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name {
                $( $(#[$field_meta])* pub $field: $ty, )+
            }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                $( assert!(std::mem::offset_of!($name, $field) == $offset); )+
                // No padding: see the SAFETY line below.
                assert!(0 $( + size_of::<$ty>() )+ == $size);
                const fn plain<T: $crate::uapi::Plain>() {}
                $( plain::<$ty>(); )+
            };

            // SAFETY: repr(C); the assertions above say that all fields are `Plain` and that their sizes add up to
            // the struct's, so there is no padding.
            unsafe impl $crate::uapi::Plain for $name {}

            impl $crate::uapi::Layout for $name {
                const LAYOUT: $crate::uapi::StructLayout = $crate::uapi::StructLayout {
                    c_name: stringify!($c_name),
                    size: $size,
                    align: align_of::<$name>(),
                    fields: &[ $( $crate::uapi::Field {
                        name: stringify!($field),
                        offset: $offset,
                        size: size_of::<$ty>(),
                    }, )+ ],
                };
            }
        )+

        pub(super) const STRUCTS: &[&$crate::uapi::StructLayout] =
            &[ $( &<$name as $crate::uapi::Layout>::LAYOUT, )+ ];
    };
}

/// Defines constants: `C_NAME = RUST_NAME: type = value;`.
#[macro_export]
#[doc(hidden)]
macro_rules! uapi_constants {
    ($( $(#[$meta:meta])* $c_name:ident = $name:ident : $ty:ty = $value:expr; )+) => {
        $( $(#[$meta])* pub const $name: $ty = $value; )+

        pub(super) const CONSTANTS: &[$crate::uapi::Constant] = &[
            $( $crate::uapi::Constant {
                c_name: stringify!($c_name),
                value: $name as u64,
                size: size_of::<$ty>(),
            }, )+
        ];
    };
}
