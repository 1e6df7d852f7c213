//! What holds for any records, any place where a file ends and any byte that changes.

use proptest::prelude::*;
use trace::{ReadError, Writer};

use super::kit::*;
use crate::arbitrary;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_file_ends_cleanly_within_its_limit_with_as_many_records_as_fit(
        records in arbitrary::records(20),
        limit in 0..4000_u64,
        per_block in 1..20_usize,
    ) {
        let mut writer = Writer::new(Vec::new(), &header()).unwrap();
        let head = writer.bytes();
        writer.set_limit(limit);
        let mut taken = 0;
        for record in &records {
            match writer.record(record) {
                Ok(()) => taken += 1,
                Err(error) => {
                    prop_assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
                    break;
                }
            }
            if taken % per_block == 0 {
                writer.flush().unwrap();
            }
        }
        let bytes = writer.finish().unwrap();
        prop_assert!(bytes.len() as u64 <= limit.max(head + 30), "{} of {limit}", bytes.len());
        let (back, error, clean) = read(&bytes, false);
        prop_assert!(error.is_none() && clean, "{error:?}");
        prop_assert_eq!(&back, &records[..taken]);
        // One that was refused would not have fitted.
        if taken < records.len() {
            let longer = file(&records[..=taken], per_block);
            prop_assert!(longer.len() as u64 + 30 > limit);
        }
    }

    #[test]
    fn records_come_back_as_they_were(
        records in arbitrary::records(20),
        per_block in 1..20_usize,
    ) {
        let bytes = file(&records, per_block);
        let (back, error, clean) = read(&bytes, false);
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(back, records);
        prop_assert!(clean);
    }

    #[test]
    fn of_a_file_that_is_cut_off_every_whole_block_is_read(
        records in arbitrary::records(12),
        per_block in 1..5_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = file(&records, per_block);
        let starts = blocks(&bytes);
        let cut = cut.index(bytes.len());
        let (back, error, clean) = read(&bytes[..cut], false);
        prop_assert!(!clean);
        let whole = starts[1..].iter().filter(|&&end| end <= cut).count();
        prop_assert_eq!(&back, &records[..(whole * per_block).min(records.len())]);
        if cut < starts[0] {
            prop_assert!(error.is_some());
        } else if starts.contains(&cut) {
            prop_assert!(error.is_none());
        } else {
            let truncated = matches!(
                error,
                Some(ReadError::Truncated { offset, found, .. })
                    if offset == starts[whole] as u64 && offset + found == cut as u64
            );
            prop_assert!(truncated, "{error:?}");
            let (salvaged, error, _) = read(&bytes[..cut], true);
            prop_assert!(error.is_none());
            prop_assert_eq!(salvaged, back);
        }
    }

    #[test]
    fn a_changed_byte_is_found_and_the_blocks_before_it_are_read(
        records in arbitrary::records(12),
        per_block in 1..5_usize,
        at in any::<prop::sample::Index>(),
        change in 1..=u8::MAX,
    ) {
        let mut bytes = file(&records, per_block);
        let starts = blocks(&bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let (back, error, clean) = read(&bytes, false);
        prop_assert!(!clean);
        let error = error.expect("an error");
        let whole = starts[1..].iter().filter(|&&end| end <= at).count();
        prop_assert_eq!(&back, &records[..(whole * per_block).min(records.len())]);
        let damaged = if at < starts[0] { 0..starts[0] } else { starts[whole]..at + 1 };
        prop_assert!(damaged.contains(&(error.offset() as usize)), "{at}: {error}");
        if at >= starts[0] {
            let (salvaged, error, _) = read(&bytes, true);
            prop_assert!(error.is_none());
            prop_assert_eq!(salvaged, back);
        }
    }

    #[test]
    fn contents_of_a_block_that_make_no_sense_are_no_records(
        contents in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = file(&[], 1);
        bytes.truncate(blocks(&bytes)[0]);
        append_block(&mut bytes, b"PVSB", &contents);
        let start = blocks(&bytes)[0];
        // With the checksum right, the decoder is what has to find out.
        let (back, error, _) = read(&bytes, false);
        prop_assert!(back.len() <= contents.len());
        if let Some(error) = error {
            prop_assert!((start..=bytes.len()).contains(&(error.offset() as usize)), "{error}");
        }
    }
}
