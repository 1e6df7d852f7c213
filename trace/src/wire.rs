//! Numbers and strings as bytes.

use super::MAX_STRING;

/// What is wrong with the bytes at `at` of what is decoded.
#[derive(Debug)]
pub struct Fault {
    pub at: usize,
    pub found: String,
    pub expected: String,
}

/// A fault is rare and large, so it is boxed: the results of the small functions below stay in registers.
pub type Decoded<T> = Result<T, Box<Fault>>;

#[cold]
pub fn fault<T>(at: usize, found: impl Into<String>, expected: impl Into<String>) -> Decoded<T> {
    Err(Box::new(Fault {
        at,
        found: found.into(),
        expected: expected.into(),
    }))
}

/// A number in groups of 7 bits, the lowest first; the top bit says that there are more.
#[inline]
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number of either sign, small where its magnitude is.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

/// Powers of two that lengths and offsets of binds are multiples of: a byte, a page of 4 KiB, a sparse block of 64 KiB, 2 MiB.
const UNITS: [u32; 4] = [0, 12, 16, 21];

/// How far `value` is from `predicted`, in the largest unit that fits. The first byte has the unit in bits 0 and 1, the sign
/// in bit 2, four bits of the number, and the bit that says that there are more; those follow as [`put`] writes them.
#[inline]
pub fn put_scaled(out: &mut Vec<u8>, value: u64, predicted: u64) {
    let difference = value.wrapping_sub(predicted) as i64;
    put_parts(out, difference < 0, difference.unsigned_abs());
}

#[inline]
fn put_parts(out: &mut Vec<u8>, negative: bool, magnitude: u64) {
    let unit = match magnitude.trailing_zeros() {
        21.. => 3,
        16.. => 2,
        12.. => 1,
        _ => 0,
    };
    let number = magnitude >> UNITS[unit];
    let first = unit as u8 | u8::from(negative) << 2 | (number as u8 & 15) << 3;
    match number >> 4 {
        0 => out.push(first),
        rest => {
            out.push(first | 0x80);
            put(out, rest);
        }
    }
}

/// A length in bytes, then UTF-8; what is too long is cut.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(MAX_STRING);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    put(out, len as u64);
    out.extend_from_slice(&text.as_bytes()[..len]);
}

/// Bytes that are decoded, and how far that is.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// `at`: where to begin.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes on at `at`.
    pub fn skip_to(&mut self, at: usize) {
        self.at = at.min(self.bytes.len());
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// A part of what remains. Its positions are this one's.
    pub fn part(&self, len: usize) -> Self {
        Self {
            bytes: &self.bytes[..self.at + len.min(self.remaining())],
            at: self.at,
        }
    }

    #[inline]
    pub fn byte(&mut self) -> Decoded<u8> {
        match self.bytes.get(self.at) {
            Some(&byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => fault(self.at, "the end", "another byte"),
        }
    }

    #[inline]
    pub fn number(&mut self) -> Decoded<u64> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(byte.into())
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Decoded<u64> {
        let start = self.at;
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        fault(start, "a longer number", "a number of 64 bits")
    }

    #[inline]
    pub fn number_32(&mut self) -> Decoded<u32> {
        let start = self.at;
        let number = self.number()?;
        match u32::try_from(number) {
            Ok(number) => Ok(number),
            Err(_) => fault(start, number.to_string(), "a number of 32 bits"),
        }
    }

    #[inline]
    pub fn signed(&mut self) -> Decoded<i64> {
        Ok(unzigzag(self.number()?))
    }

    pub fn signed_32(&mut self) -> Decoded<i32> {
        let start = self.at;
        let number = self.signed()?;
        match i32::try_from(number) {
            Ok(number) => Ok(number),
            Err(_) => fault(start, number.to_string(), "a signed number of 32 bits"),
        }
    }

    /// What [`put_scaled`] wrote.
    #[inline]
    pub fn scaled(&mut self, predicted: u64) -> Decoded<u64> {
        let start = self.at;
        let first = self.byte()?;
        let low = u64::from(first >> 3 & 15);
        let rest = if first < 0x80 { 0 } else { self.number()? };
        let shift = UNITS[usize::from(first & 3)];
        if rest.leading_zeros() < 4 + shift {
            return fault(start, "a larger number", "a number of 64 bits");
        }
        let magnitude = (rest << 4 | low) << shift;
        Ok(match first & 4 {
            0 => predicted.wrapping_add(magnitude),
            _ => predicted.wrapping_sub(magnitude),
        })
    }

    /// A count of things that take at least a byte each.
    ///
    /// So nothing is allocated for more things than there can be.
    pub fn count(&mut self) -> Decoded<usize> {
        let start = self.at;
        let count = self.number()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.remaining() => Ok(count),
            _ => self.too_many(start, count),
        }
    }

    /// As [`Self::count`], with a flag in bit 0.
    pub fn flagged_count(&mut self) -> Decoded<(usize, bool)> {
        let start = self.at;
        let number = self.number()?;
        match usize::try_from(number >> 1) {
            Ok(count) if count <= self.remaining() => Ok((count, number & 1 != 0)),
            _ => self.too_many(start, number >> 1),
        }
    }

    #[cold]
    fn too_many<T>(&self, start: usize, count: u64) -> Decoded<T> {
        fault(
            start,
            format!("a count of {count}"),
            format!("no more than the {} bytes that follow", self.remaining()),
        )
    }

    pub fn string(&mut self) -> Decoded<String> {
        let start = self.at;
        let len = self.count()?;
        if len > MAX_STRING {
            return fault(
                start,
                format!("a string of {len} bytes"),
                format!("at most {MAX_STRING}"),
            );
        }
        let bytes = &self.bytes[self.at..self.at + len];
        self.at += len;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => fault(start, format!("a string with {error}"), "UTF-8"),
        }
    }

    pub fn flag(&mut self) -> Decoded<bool> {
        let start = self.at;
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => fault(start, format!("a flag of {byte}"), "0 or 1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..u64::BITS, 0..u64::BITS).prop_map(|(n, down, up)| n >> down << up)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn numbers_come_back(value in number(), predicted in number()) {
            let mut out = Vec::new();
            put(&mut out, value);
            put_signed(&mut out, value as i64);
            put_scaled(&mut out, value, predicted);
            prop_assert!(out.len() <= 30);
            let mut cursor = Cursor::new(&out, 0);
            prop_assert_eq!(cursor.number().unwrap(), value);
            prop_assert_eq!(cursor.signed().unwrap(), value as i64);
            prop_assert_eq!(cursor.scaled(predicted).unwrap(), value);
            prop_assert_eq!(cursor.remaining(), 0);
        }
    }

    #[test]
    fn a_number_of_65_bits_is_refused() {
        let mut bytes = vec![0xff; 9];
        bytes.push(1);
        assert_eq!(Cursor::new(&bytes, 0).number().unwrap(), u64::MAX);
        bytes[9] = 2;
        assert!(Cursor::new(&bytes, 0).number().is_err());
        // 2^60 units of 16, and 2^43 of 2 MiB.
        assert!(
            Cursor::new(
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
                0
            )
            .scaled(0)
            .is_err()
        );
        assert!(
            Cursor::new(&[0x83, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10], 0)
                .scaled(0)
                .is_err()
        );
    }

    #[test]
    fn fifteen_blocks_of_64_kib_take_one_byte() {
        let mut out = Vec::new();
        put_scaled(&mut out, 0, 15 << 16);
        assert_eq!(out, [2 | 4 | 15 << 3]);
    }

    #[test]
    fn a_long_string_is_cut_at_the_end_of_a_character() {
        let mut out = Vec::new();
        put_string(&mut out, &format!("a{}", "é".repeat(MAX_STRING)));
        let text = Cursor::new(&out, 0).string().unwrap();
        assert_eq!(text, format!("a{}", "é".repeat(MAX_STRING / 2 - 1)));
    }
}
