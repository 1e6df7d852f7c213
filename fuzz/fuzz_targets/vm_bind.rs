//! Any bytes as VM_BINDs: arrays of ops and sync ops, strides, counts. The first byte chooses the kernel.

#![no_main]

#[path = "../../tests/vpanthor/kit/bytes.rs"]
mod bytes;

use libfuzzer_sys::fuzz_target;
use vpanthor::Flavour;

fuzz_target!(|data: &[u8]| {
    if let Some((first, data)) = data.split_first() {
        let flavour = Flavour::ALL[usize::from(*first) % Flavour::ALL.len()];
        bytes::run(flavour, data);
    }
});
