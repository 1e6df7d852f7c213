//! From what a kernel can do to a way of mapping unbound ranges, ready for use.

use super::{Capabilities, trials::chunk_size};
use crate::drm::bo::Bo;
use crate::drm::device::Device;
use crate::drm::error::IoctlError;
use crate::lower::{NullMap, Strategy};
use crate::uapi;
use crate::units::{SZ_4K, SZ_64K, VmId};
use std::{error, fmt};

/// A [`NullMap`] and the dummy that it names, which lives as long as this.
#[derive(Debug)]
pub struct NullBacking {
    map: NullMap,
    dummy: Option<Bo>,
}

impl NullBacking {
    pub fn map(&self) -> NullMap {
        self.map
    }

    pub fn strategy(&self) -> Strategy {
        self.map.strategy()
    }

    /// None where the kernel has a dummy of its own.
    pub fn dummy(&self) -> Option<&Bo> {
        self.dummy.as_ref()
    }
}

/// Why there is no [`NullMap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NullMapError {
    /// The kernel cannot do what was chosen.
    Unavailable {
        strategy: Strategy,
        /// What the probe found out about it.
        why: String,
        /// Best first.
        works: Vec<Strategy>,
    },
    /// The kernel cannot do anything.
    NothingWorks { why: String },
    /// There is no memory for the dummy.
    CreateDummy { size: u64, error: IoctlError },
}

impl fmt::Display for NullMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NullMapError::Unavailable {
                strategy,
                why,
                works,
            } => {
                write!(
                    f,
                    "null strategy {strategy} does not work on this kernel ({why}); these do:"
                )?;
                if works.is_empty() {
                    write!(f, " none")?;
                }
                for (i, strategy) in works.iter().enumerate() {
                    write!(f, "{} {strategy}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            NullMapError::NothingWorks { why } => {
                write!(f, "no null strategy works on this kernel ({why})")
            }
            NullMapError::CreateDummy { size, error } => {
                write!(
                    f,
                    "cannot create the dummy buffer object of {size} bytes: {error}"
                )
            }
        }
    }
}

impl error::Error for NullMapError {}

impl Capabilities {
    /// The strategy to use: `choice` if the kernel can do it, or the best (None).
    ///
    /// # Errors
    /// [`NullMapError::Unavailable`], [`NullMapError::NothingWorks`].
    pub fn choose(&self, choice: Option<Strategy>) -> Result<Strategy, NullMapError> {
        let why = |strategy: Strategy| {
            let trial = self
                .tried
                .iter()
                .rfind(|trial| trial.strategy == Some(strategy));
            trial.map_or_else(
                || "it was not tried".to_string(),
                |trial| trial.meaning.clone(),
            )
        };
        match choice {
            Some(strategy) if self.strategies.contains(&strategy) => Ok(strategy),
            Some(strategy) => Err(NullMapError::Unavailable {
                strategy,
                why: why(strategy),
                works: self.strategies.clone(),
            }),
            None => {
                let best = self.strategies.first().copied();
                best.ok_or_else(|| NullMapError::NothingWorks {
                    why: why(Strategy::Page),
                })
            }
        }
    }

    /// The way to map unbound ranges with `choice`, or with the best strategy (None). Creates the dummy on `device`,
    /// which has to be the one that was probed, or another file of the same kernel.
    ///
    /// # Errors
    /// As for [`choose`](Self::choose); [`NullMapError::CreateDummy`].
    pub fn null_map(
        &self,
        device: &Device,
        choice: Option<Strategy>,
    ) -> Result<NullBacking, NullMapError> {
        self.null_map_of(device, choice, None)
    }

    /// As [`null_map`](Self::null_map), with a dummy that only the VM `exclusive` of `device` can map. The kernel has less to
    /// do for such a buffer object with each job and each bind.
    ///
    /// # Errors
    /// As for [`null_map`](Self::null_map).
    pub fn null_map_of(
        &self,
        device: &Device,
        choice: Option<Strategy>,
        exclusive: Option<VmId>,
    ) -> Result<NullBacking, NullMapError> {
        let create = |size: u64| {
            let bo = device.create_bo(size, uapi::BO_NO_MMAP, exclusive);
            bo.map_err(|error| NullMapError::CreateDummy { size, error })
        };
        let (bo, map) = match self.choose(choice)? {
            Strategy::Sparse => {
                return Ok(NullBacking {
                    map: NullMap::Sparse,
                    dummy: None,
                });
            }
            Strategy::Repeat => {
                // A tile of an image is the largest thing that is bound as one, so ranges need no more, unless large
                // ranges work: then whole 2 MiB pages of the dummy repeat.
                let dummy_size = self.repeat_max_range.max(SZ_64K);
                let bo = create(dummy_size)?;
                let dummy = bo.handle();
                (
                    bo,
                    NullMap::Repeat {
                        dummy,
                        dummy_size,
                        max_range: self.repeat_max_range,
                    },
                )
            }
            Strategy::Chunk => {
                let dummy_size = chunk_size(self.page_sizes);
                let bo = create(dummy_size)?;
                let dummy = bo.handle();
                (bo, NullMap::Chunk { dummy, dummy_size })
            }
            Strategy::Page => {
                let bo = create(SZ_4K)?;
                let dummy = bo.handle();
                (bo, NullMap::Page { dummy })
            }
        };
        Ok(NullBacking {
            map,
            dummy: Some(bo),
        })
    }
}
