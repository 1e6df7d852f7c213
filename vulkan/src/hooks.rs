//! Tables of Vulkan's functions by their names: those that a driver or a layer answers itself ([`hooks!`]), and those of
//! the driver or layer below that it calls ([`functions_below!`]).
//!
//! [`hooks!`]: macro@crate::hooks
//! [`functions_below!`]: crate::functions_below

/// A function of a driver or a layer.
#[derive(Clone, Copy, Debug)]
pub struct Hook<L> {
    /// What it is dispatched by.
    pub level: L,
    pub function: unsafe extern "system" fn(),
}

/// Defines `find`, from a name to the [`Hook`] of that name: each function has the type that Vulkan gives it, checked
/// at compile time. The table starts with the type of the levels; their names follow, each with its functions.
#[macro_export]
macro_rules! hooks {
    ($levels:ident: $($level:ident { $($($name:literal)|+ => $function:path as $type:ty,)* })*) => {
        /// The own function of that name.
        pub fn find(name: &::std::ffi::CStr) -> Option<$crate::hooks::Hook<$levels>> {
            Some(match name.to_bytes() {
                $($($($name)|+ => {
                    let function: $type = $function;
                    $crate::hooks::Hook {
                        level: $levels::$level,
                        // SAFETY: function pointers all have one size; who asks for the name knows the type.
                        function: unsafe { ::std::mem::transmute::<$type, unsafe extern "system" fn()>(function) },
                    }
                })*)*
                _ => return None,
            })
        }
    };
}

/// Defines a table of the functions below: for each its field, its type and its names, the first of which that is known
/// below is taken.
#[macro_export]
macro_rules! functions_below {
    (
        $(#[$about:meta])*
        pub struct $table:ident {
            required { $($field:ident: $type:ty = $($name:literal)|+,)* }
            optional { $($(#[$of:meta])* $maybe:ident: $maybe_type:ty = $($maybe_name:literal)|+,)* }
        }
    ) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $table {
            $(pub $field: $type,)*
            $($(#[$of])* pub $maybe: Option<$maybe_type>,)*
        }

        impl $table {
            /// `None` where a required function is missing.
            ///
            /// # Safety
            /// `get` answers functions of the names that it is asked for.
            unsafe fn load(
                get: impl Fn(&::std::ffi::CStr) -> ::ash::vk::PFN_vkVoidFunction + Copy,
            ) -> Option<Self> {
                use $crate::base::first_proc;
                // SAFETY: each field's type is that of its names; the rest is the caller's promise.
                unsafe {
                    Some(Self {
                        $($field: first_proc(&[$($name),+], get)?,)*
                        $($maybe: first_proc(&[$($maybe_name),+], get),)*
                    })
                }
            }
        }
    };
}
