//! What the tests write: words that tell who wrote them and where.

/// Word `index` of the pattern `seed`; the shader `fill` computes the same.
pub fn pattern(seed: u32, index: u32) -> u32 {
    index.wrapping_mul(0x9E37_79B1) ^ seed.wrapping_mul(0x85EB_CA6B) ^ (index >> 7)
}

/// The first `words` words of the pattern.
pub fn words(seed: u32, words: u64) -> Vec<u32> {
    (0..words as u32).map(|i| pattern(seed, i)).collect()
}

/// Panics at the first word that differs, with its byte offset and, where possible, what the wrong value is.
#[track_caller]
pub fn assert_words(what: &str, offset: u64, got: &[u32], want: &[u32]) {
    assert_eq!(got.len(), want.len(), "{what}: length in words");
    let wrong = got.iter().zip(want).filter(|(g, w)| g != w).count();
    if let Some(at) = got.iter().zip(want).position(|(g, w)| g != w) {
        panic!(
            "{what}: byte {:#x} is {:#010x}, expected {:#010x} ({wrong} of {} words differ)",
            offset + at as u64 * 4,
            got[at],
            want[at],
            got.len()
        );
    }
}

/// As [`assert_words`], for the pattern `seed` starting at index `first`.
#[track_caller]
pub fn assert_pattern(what: &str, got: &[u32], seed: u32, first: u32) {
    let want: Vec<u32> = (0..got.len() as u32)
        .map(|i| pattern(seed, first.wrapping_add(i)))
        .collect();
    assert_words(what, 0, got, &want);
}
