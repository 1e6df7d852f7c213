//! A table of the functions that a driver or a layer answers itself, by their names.

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
