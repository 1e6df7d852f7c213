//! Any bytes as ioctls of any number and size. The first byte chooses the kernel.

#![no_main]

#[path = "../../tests/vpanthor/kit/ioctls.rs"]
mod ioctls;

use libfuzzer_sys::fuzz_target;
use vpanthor::Flavour;

fuzz_target!(|data: &[u8]| {
    if let Some((first, data)) = data.split_first() {
        let flavour = Flavour::ALL[usize::from(*first) % Flavour::ALL.len()];
        ioctls::run(flavour, data);
    }
});
