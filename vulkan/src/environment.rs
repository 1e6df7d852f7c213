//! Variables of the environment, as a library that is loaded into other people's processes may read them.

use std::ffi::OsString;

/// Path of the base driver's ICD manifest, or of its shared library.
pub const BASE_ICD: &str = "PANVK_SPARSE_BASE_ICD";

/// A variable of the environment. A process with raised rights has none: its user chooses nothing, least of all
/// what is loaded.
pub fn variable(name: &str) -> Option<OsString> {
    if runs_with_raised_rights() {
        return None;
    }
    std::env::var_os(name)
}

/// Whether the kernel started this process in secure-execution mode (`AT_SECURE` of getauxval(3)).
/// Where that can't be read, as in a process that is not dumpable, it counts as such.
fn runs_with_raised_rights() -> bool {
    const AT_SECURE: usize = 23;
    let Ok(auxv) = std::fs::read("/proc/self/auxv") else {
        return true;
    };
    let word = size_of::<usize>();
    let number = |bytes: &[u8]| bytes.try_into().map(usize::from_ne_bytes).unwrap_or(0);
    !auxv
        .chunks_exact(2 * word)
        .map(|pair| pair.split_at(word))
        .any(|(kind, value)| number(kind) == AT_SECURE && number(value) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_does_not_run_with_raised_rights() {
        assert!(!runs_with_raised_rights());
    }
}
