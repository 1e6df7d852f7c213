//! What is expected: cases that fail, cases not to run, cases whose result changes from run to run.
//!
//! Two lists of failures: those through our driver, which fail on the bare base driver as well, and those that fail
//! on the bare base driver alone.
//!
//! The formats are deqp-runner's, so that its files can be used: `case,Fail` or `case,Crash` a line for what fails,
//! a regular expression a line for the others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hosted::config;
use regex::RegexSet;

use super::status::Status;
use super::{Args, Error, lists};

const LAVAPIPE_FAILS: &str = include_str!("../../../cts-lists/lavapipe-fails.txt");
const LAVAPIPE_BARE_FAILS: &str = include_str!("../../../cts-lists/lavapipe-bare-fails.txt");
const LAVAPIPE_SKIPS: &str = include_str!("../../../cts-lists/lavapipe-skips.txt");
const LAVAPIPE_FLAKES: &str = include_str!("../../../cts-lists/lavapipe-flakes.txt");
const LAVAPIPE_TAKEN_BACK: &str = include_str!("../../../cts-lists/lavapipe-taken-back.txt");

/// What follows from how a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    AsExpected,
    /// It fails as it is listed.
    ExpectedFailure,
    /// It passes and is listed as a failure: the line has to go. No more than a note.
    Improved,
    Unexpected,
}

/// What is expected of our driver in front of one base driver.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    fails: BTreeMap<String, Status>,
    /// What fails on the bare base driver in addition.
    bare_fails: BTreeMap<String, Status>,
    skips: RegexSet,
    flakes: RegexSet,
    taken_back: RegexSet,
}

impl Expectations {
    /// The files that the command line names; where it names none, those of lavapipe, if that is the base driver.
    pub fn of(args: &Args) -> Result<Self, Error> {
        let base = std::env::var_os(config::BASE_ICD).filter(|value| !value.is_empty());
        let lavapipe =
            base.is_none_or(|path| ["lvp", "lavapipe"].iter().any(|name| named(&path, name)));
        let choose = |file: &Option<PathBuf>, own: &'static str| match file {
            Some(path) => lists::read(path).map(|text| (path.display().to_string(), text)),
            None if lavapipe => Ok(("lavapipe's list".to_owned(), own.to_owned())),
            None => Ok((String::new(), String::new())),
        };
        let (name, text) = choose(&args.fails, LAVAPIPE_FAILS)?;
        let fails = self::fails(&name, &text)?;
        let (name, text) = choose(&args.bare_fails, LAVAPIPE_BARE_FAILS)?;
        let bare_fails = self::fails(&name, &text)?;
        let (name, text) = choose(&args.skips, LAVAPIPE_SKIPS)?;
        let skips = regexes(&name, &text)?;
        let (name, text) = choose(&args.flakes, LAVAPIPE_FLAKES)?;
        let flakes = regexes(&name, &text)?;
        let (name, text) = choose(&args.taken_back, LAVAPIPE_TAKEN_BACK)?;
        let taken_back = regexes(&name, &text)?;
        Ok(Self {
            fails,
            bare_fails,
            skips,
            flakes,
            taken_back,
        })
    }

    /// Whether `case` is not to be run.
    pub fn skips(&self, case: &str) -> bool {
        self.skips.is_match(case)
    }

    /// Whether nothing follows from how `case` ends.
    pub fn is_flake(&self, case: &str) -> bool {
        self.flakes.is_match(case)
    }

    /// Whether our driver is known not to support what `case` needs, though the base driver says that it does.
    pub fn is_taken_back(&self, case: &str) -> bool {
        self.taken_back.is_match(case)
    }

    /// What `case` is expected to do wrong.
    pub fn failure(&self, case: &str) -> Option<Status> {
        self.fails.get(case).copied()
    }

    /// What is expected of the bare base driver.
    pub fn on_bare(&self) -> Self {
        let mut bare = self.clone();
        bare.fails.append(&mut bare.bare_fails);
        bare
    }

    /// What follows from `case` ending with `status`. A case that the driver does not support says nothing of its
    /// failure; one that fails in another way than it is listed is a surprise.
    pub fn verdict(&self, case: &str, status: Status) -> Verdict {
        match self.failure(case) {
            _ if self.is_flake(case) => Verdict::AsExpected,
            Some(expected) if status == expected => Verdict::ExpectedFailure,
            Some(_) if status == Status::Skip => Verdict::AsExpected,
            Some(_) if status.is_good() => Verdict::Improved,
            None if status.is_good() => Verdict::AsExpected,
            Some(_) | None => Verdict::Unexpected,
        }
    }
}

fn named(path: &std::ffi::OsStr, name: &str) -> bool {
    let file = std::path::Path::new(path).file_name();
    file.is_some_and(|file| file.to_string_lossy().contains(name))
}

fn fails(name: &str, text: &str) -> Result<BTreeMap<String, Status>, Error> {
    let mut fails = BTreeMap::new();
    for line in lists::lines(text) {
        // deqp-runner's result files have the duration behind a second comma.
        let mut fields = line.split(',');
        let case = fields.next().unwrap_or_default();
        let status = fields.next().unwrap_or_default();
        let status = status.parse().map_err(|()| {
            let names = Status::ALL.map(|status| status.to_string()).join(", ");
            Error::Usage(format!(
                "{name}: {line:?} is not understood: expected a case, a comma, and one of {names}"
            ))
        })?;
        if fails.insert(case.to_owned(), status).is_some() {
            return Err(Error::Usage(format!("{name}: {case} is there twice")));
        }
    }
    Ok(fails)
}

fn regexes(name: &str, text: &str) -> Result<RegexSet, Error> {
    RegexSet::new(lists::lines(text)).map_err(|error| Error::Usage(format!("{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectations() -> Expectations {
        Expectations {
            fails: fails("x", "# why\na.b,Fail\na.c,Crash,0.5\n").unwrap(),
            bare_fails: fails("x", "a.bare,Fail").unwrap(),
            skips: RegexSet::empty(),
            flakes: regexes("x", "a\\.f.*").unwrap(),
            taken_back: RegexSet::empty(),
        }
    }

    #[test]
    fn an_expected_failure_that_passes_is_improved_and_one_that_crashes_unexpected() {
        for (case, status, verdict) in [
            ("a.b", Status::Fail, Verdict::ExpectedFailure),
            ("a.b", Status::Pass, Verdict::Improved),
            ("a.b", Status::Warn, Verdict::Improved),
            ("a.b", Status::Crash, Verdict::Unexpected),
            ("a.b", Status::Skip, Verdict::AsExpected),
            ("a.c", Status::Crash, Verdict::ExpectedFailure),
            ("a.c", Status::Fail, Verdict::Unexpected),
            ("a.d", Status::Fail, Verdict::Unexpected),
            ("a.d", Status::Warn, Verdict::AsExpected),
            ("a.f1", Status::Crash, Verdict::AsExpected),
            ("a.bare", Status::Fail, Verdict::Unexpected),
            ("a.bare", Status::Pass, Verdict::AsExpected),
        ] {
            assert_eq!(
                expectations().verdict(case, status),
                verdict,
                "{case} {status}"
            );
        }
    }

    #[test]
    fn the_bare_base_driver_fails_in_what_fails_through_ours_and_in_more() {
        let bare = expectations().on_bare();
        for case in ["a.b", "a.bare"] {
            assert_eq!(bare.verdict(case, Status::Fail), Verdict::ExpectedFailure);
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        for text in ["a.b", "a.b,Failed", "a.b,Fail\na.b,Crash"] {
            let Err(Error::Usage(message)) = fails("list.txt", text) else {
                panic!("{text:?} is taken");
            };
            assert!(
                message.contains("list.txt") && message.contains("a.b"),
                "{message}"
            );
        }
        assert!(regexes("list.txt", "(").is_err());
    }

    #[test]
    fn the_lists_of_lavapipe_are_understood() {
        let ours = fails("x", LAVAPIPE_FAILS).unwrap();
        let bare = fails("x", LAVAPIPE_BARE_FAILS).unwrap();
        assert!(!ours.is_empty() && !bare.is_empty());
        assert!(!bare.keys().any(|case| ours.contains_key(case)));
        regexes("x", LAVAPIPE_SKIPS).unwrap();
        regexes("x", LAVAPIPE_FLAKES).unwrap();
        let taken_back = regexes("x", LAVAPIPE_TAKEN_BACK).unwrap();
        let cases = |text: &'static str| text.split_whitespace();
        for case in cases(
            "image_sparse_residency.2d.g8_b8_r8_3plane_420_unorm.512_256_1
            mipmap_sparse_residency.2d.g10x6_b10x6r10x6_2plane_444_unorm_3pack16.512_256_1
            image_sparse_binding.multiple_bind_sparse_info.2d.g8_b8r8_2plane_420_unorm.512_256_1
            image_sparse_residency.2d.r32g32b32_sfloat.512_256_1
            device_group_image_sparse_memory_aliasing.2d.b8g8r8_srgb.128_128_1
            aligned_mip_size.2d.r16g16b16_sint",
        ) {
            let case = format!("dEQP-VK.sparse_resources.{case}");
            assert!(taken_back.is_match(&case), "{case}");
        }
        // Four components, compressed ones, binds of whole images, and images that are not sparse.
        for case in cases(
            "sparse_resources.image_sparse_residency.2d.r32g32b32a32_sfloat.512_256_1
            sparse_resources.image_sparse_residency.2d.g8b8g8r8_422_unorm.512_256_1
            sparse_resources.image_block_shapes.2d.etc2_r8g8b8_srgb_block.samples_1
            texture.swizzle.texture_coordinate.etc2_r8g8b8_srgb_block_2d_npot_sparse_xx
            sparse_resources.image_sparse_binding.multiple_bind_sparse_info.2d.r8g8b8_unorm.512_256_1
            ycbcr.format.g8_b8_r8_3plane_420_unorm.vertex_optimal
            api.external.memory.opaque_fd.dedicated.image.info",
        ) {
            let case = format!("dEQP-VK.{case}");
            assert!(!taken_back.is_match(&case), "{case}");
        }
    }
}
