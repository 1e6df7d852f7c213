//! What the driver knows, process-wide: the base driver, and the maps from Vulkan's handles to their state.
//!
//! Vulkan's functions get a handle and nothing else, so these maps have to be global. All else belongs to
//! the instance or the device in them, and dies with it.

mod board;
mod choice;
mod device;
mod instance;
mod requirements;
mod starts;
mod submit;
mod timelines;

pub use board::Board;
pub use choice::{NO_SPARSE, any_binds_sparse};
pub use device::{Device, fail};
pub use instance::Instance;
pub use requirements::Requirements;
pub use starts::Starts;
pub use submit::submit;
pub use timelines::Timelines;

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use ::board::border::{self, NoBorder};
use ash::vk::{self, Handle};
use hosted::Hosted;
use hosted::config::{Config, DUMMY, Dummy, KERNEL, NULL, PROFILE, Profile, STATS};
use hosted::{HostedError, stats};
use panvk_sparse::lower::Strategy;
use vpanthor::KernelSpec;
use vulkan::base::Base;
use vulkan::handles::HandleMap;
use vulkan::logger::Logger;

/// The settings and the base driver.
#[derive(Debug)]
pub struct Driver {
    pub config: Config,
    pub mode: Mode,
    pub base: Base,
}

/// Where binds go.
#[derive(Debug)]
pub enum Mode {
    /// To a virtual kernel in this process; unbound ranges are mapped by that strategy.
    Hosted(Strategy),
    /// To the kernel of the base driver, a panvk, if this driver stands at its border.
    Board(Result<(), NoBorder>),
}

impl Driver {
    pub fn is_on_board(&self) -> bool {
        matches!(self.mode, Mode::Board(_))
    }

    /// Where binds go, for who reads about it.
    pub fn kernel(&self) -> String {
        match self.mode {
            Mode::Hosted(_) => self.config.kernel.to_string(),
            Mode::Board(_) => "panthor".to_owned(),
        }
    }
}

/// Why there is none.
#[derive(Debug)]
pub struct SetupError(String);

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

static LOGGER: Logger = Logger::new("panvk-sparse");

static DRIVER: OnceLock<Result<Driver, SetupError>> = OnceLock::new();

/// The driver, made at the first call. Where that fails, the reason is said on stderr, once, and every later
/// call fails as well.
pub fn driver() -> Result<&'static Driver, &'static SetupError> {
    DRIVER
        .get_or_init(|| {
            let made = make();
            if let Err(error) = &made {
                LOGGER.say(log::Level::Error, format_args!("{error}"));
            }
            made
        })
        .as_ref()
}

/// An error of a new backend, with the variable that it is about.
fn about_variable(error: HostedError) -> SetupError {
    SetupError(match error {
        HostedError::NoKernel(why) => format!("{KERNEL}: {why}"),
        HostedError::NoStrategy(why) => format!("{NULL}: {why}"),
        other => other.to_string(),
    })
}

fn make() -> Result<Driver, SetupError> {
    let mut config = Config::from_env().map_err(|error| SetupError(error.to_string()))?;
    LOGGER.start(config.log);
    if let Some(sink) = &config.stats {
        stats::check(sink).map_err(|error| {
            SetupError(format!(
                "{STATS}: {error}; expected stderr or a file that can be written"
            ))
        })?;
    }
    let (base, mode) = match choice::board_driver(&config)? {
        Some(base) => {
            if (config.profile, config.dummy) != (Profile::Base, Dummy::Null) {
                log::warn!("{PROFILE} and {DUMMY} mean nothing in front of a panvk");
            }
            let border = border::stand_at(base.address());
            if let Err(why) = &border {
                log::warn!(
                    "base driver {}: {why}; everything passes untouched",
                    base.path().display()
                );
            }
            (base, Mode::Board(border))
        }
        None => {
            if config.kernel == KernelSpec::Auto {
                let (path, _) = vpanthor::nodes::find()
                    .map_err(|error| SetupError(format!("{KERNEL}: {error}")))?;
                config.kernel = KernelSpec::Node(path);
            }
            // What can't work is said when the instance is created, not when a device is.
            let hosted = Hosted::new(&config.kernel, config.null, String::new(), String::new())
                .map_err(about_variable)?;
            (choice::load(&config)?, Mode::Hosted(hosted.strategy()))
        }
    };
    let driver = Driver { config, mode, base };
    log::info!(
        "base driver {}, kernel {}, mode {}",
        driver.base.path().display(),
        driver.kernel(),
        if driver.is_on_board() {
            "board"
        } else {
            "hosted"
        }
    );
    Ok(driver)
}

pub static INSTANCES: LazyLock<HandleMap<Instance>> = LazyLock::new(HandleMap::default);
pub static PHYSICAL_DEVICES: LazyLock<HandleMap<Instance>> = LazyLock::new(HandleMap::default);
pub static DEVICES: LazyLock<HandleMap<Device>> = LazyLock::new(HandleMap::default);
pub static QUEUES: LazyLock<HandleMap<Queue>> = LazyLock::new(HandleMap::default);

/// What is known of a `VkQueue`.
#[derive(Debug)]
pub struct Queue {
    pub device: Arc<Device>,
    /// Whether its family has `VK_QUEUE_SPARSE_BINDING_BIT`.
    pub binds: bool,
}

/// The state of a physical device's instance.
pub fn instance_of(physical_device: vk::PhysicalDevice) -> Option<Arc<Instance>> {
    let found = PHYSICAL_DEVICES.get(physical_device.as_raw());
    if found.is_none() {
        log::error!(
            "VkPhysicalDevice {:#x} is not known: it was not enumerated",
            physical_device.as_raw()
        );
    }
    found
}

/// The state of a device.
pub fn device_of(device: vk::Device) -> Option<Arc<Device>> {
    let found = DEVICES.get(device.as_raw());
    if found.is_none() {
        log::error!("VkDevice {:#x} is not known", device.as_raw());
    }
    found
}
