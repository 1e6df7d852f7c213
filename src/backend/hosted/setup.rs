//! Opening: a virtual kernel, and a node beside it where one is named.

use std::sync::Mutex;

use super::address_space::AddressSpace;
use super::memories::Memories;
use super::node::{Node, model_of};
use super::stand_ins::StandIns;
use super::{Counts, Hosted, Labels, State, out_of_memory};
use crate::backend::BackendError;
use crate::bind::{Planner, Shadow};
use crate::config::NullChoice;
use crate::drm::{self, Capabilities, KernelSpec, NullBacking, NullMapError, OpenError};
use crate::lower::{Lowering, Strategy};
use crate::vpanthor::{Flavour, Kernel, OpenOptions};

/// What goes on when a device is created.
const KERNEL_SETUP: &str = "setting up the kernel";

impl Hosted {
    /// Opens the kernel, probes it, and makes a VM with a dummy for unbound ranges.
    ///
    /// `device` and `base_driver` are names for the stats line.
    ///
    /// # Errors
    /// The kernel can't be opened, or can't do what `choice` asks; the message says what it can.
    pub fn new(
        kernel: &KernelSpec,
        choice: NullChoice,
        device: String,
        base_driver: String,
    ) -> Result<Self, BackendError> {
        Self::open(kernel, choice, device, base_driver, true)
    }

    /// As [`Hosted::new`], for a caller that only counts: the batches that a base queue gets have no binds in them.
    /// All counts are the same; what it takes to find those binds is saved.
    ///
    /// # Errors
    /// As for [`Hosted::new`].
    pub fn counting(
        kernel: &KernelSpec,
        choice: NullChoice,
        device: String,
        base_driver: String,
    ) -> Result<Self, BackendError> {
        Self::open(kernel, choice, device, base_driver, false)
    }

    fn open(
        kernel: &KernelSpec,
        choice: NullChoice,
        device: String,
        base_driver: String,
        mirrors: bool,
    ) -> Result<Self, BackendError> {
        let failed = |error: OpenError| BackendError::NoKernel(error.to_string());
        match kernel {
            KernelSpec::Vpanthor(flavour) => {
                let opened = open_model(*flavour, mirrors)?;
                let capabilities =
                    drm::probe(&opened).map_err(|error| out_of_memory(KERNEL_SETUP, error))?;
                let labels = Labels {
                    device,
                    base_driver,
                    kernel: kernel.to_string(),
                };
                Self::on(opened, &capabilities, choice, None, labels, mirrors)
            }
            KernelSpec::Node(path) => {
                let node = drm::Device::open(kernel).map_err(failed)?;
                let name = path.display().to_string();
                Self::on_node(node, name, choice, (device, base_driver), mirrors)
            }
            KernelSpec::Auto => {
                let (path, node) = drm::find().map_err(failed)?;
                let name = path.display().to_string();
                Self::on_node(node, name, choice, (device, base_driver), mirrors)
            }
        }
    }

    /// As [`Self::new`], with a kernel that is open already and called `name`, such as `/dev/dri/renderD128`. The
    /// application lives on a virtual kernel that does what `node` is seen to do, and `node` is asked the same: where
    /// it answers otherwise, that is said in the log and counted in the statistics.
    ///
    /// # Errors
    /// The kernel can't do what `choice` asks; the message says what it can.
    pub fn beside(
        node: drm::Device,
        name: String,
        choice: NullChoice,
        device: String,
        base_driver: String,
    ) -> Result<Self, BackendError> {
        Self::on_node(node, name, choice, (device, base_driver), true)
    }

    fn on_node(
        node: drm::Device,
        name: String,
        choice: NullChoice,
        (device, base_driver): (String, String),
        mirrors: bool,
    ) -> Result<Self, BackendError> {
        let capabilities = drm::probe(&node).map_err(|error| out_of_memory(&name, error))?;
        let model = model_of(&capabilities);
        log::info!("{name} does what vpanthor:{model} does");
        let labels = Labels {
            device,
            base_driver,
            kernel: name,
        };
        Self::on(
            open_model(model, mirrors)?,
            &capabilities,
            choice,
            Some((node, model)),
            labels,
            mirrors,
        )
    }

    /// On the virtual kernel `device`, which does what `capabilities` say, as does the node.
    fn on(
        device: drm::Device,
        capabilities: &Capabilities,
        choice: NullChoice,
        node: Option<(drm::Device, Flavour)>,
        labels: Labels,
        mirrors: bool,
    ) -> Result<Self, BackendError> {
        let wanted = match choice {
            NullChoice::Auto => None,
            NullChoice::Fixed(strategy) => Some(strategy),
        };
        let null = null_map(capabilities, &device, wanted)?;
        let vm = device
            .create_vm(0)
            .map_err(|error| out_of_memory(KERNEL_SETUP, error))?;
        let mut va_range = vm.user_va_range();
        let node = match node {
            None => None,
            Some((node, model)) => {
                let own_null = null_map(capabilities, &node, Some(null.strategy()))?;
                let own_vm = node
                    .create_vm(0)
                    .map_err(|error| out_of_memory(KERNEL_SETUP, error))?;
                va_range = va_range.min(own_vm.user_va_range());
                let name = labels.kernel.clone();
                Some(Node::new(own_vm, own_null, &null, name, model))
            }
        };
        if let (Some(file), Some(dummy)) = (device.vpanthor(), null.dummy()) {
            if let Some(id) = file.bo_id(dummy.handle().0) {
                file.set_dummy(vm.id().0, id);
            }
        }
        let before = device.counters();
        let state = State {
            spaces: AddressSpace::new(va_range),
            vm,
            node,
            shadow: Shadow::new(),
            memories: Memories::new(mirrors),
            stand_ins: StandIns::default(),
            planner: Planner::default(),
            lowering: Lowering::default(),
            counts: Counts::default(),
            fresh: Vec::new(),
            lost: None,
            mirrors,
        };
        Ok(Self {
            device,
            null,
            before,
            labels,
            state: Mutex::new(state),
        })
    }
}

/// A virtual kernel whose syncobjs stand for the base driver's semaphores.
fn open_model(flavour: Flavour, mirrors: bool) -> Result<drm::Device, BackendError> {
    let options = OpenOptions {
        take_waits_as_met: true,
        record_changes: mirrors,
    };
    drm::Device::open_vpanthor(Kernel::new(flavour).open(options))
        .map_err(|error| out_of_memory(KERNEL_SETUP, error))
}

fn null_map(
    capabilities: &Capabilities,
    device: &drm::Device,
    wanted: Option<Strategy>,
) -> Result<NullBacking, BackendError> {
    capabilities
        .null_map(device, wanted)
        .map_err(|error| match error {
            NullMapError::CreateDummy { .. } => out_of_memory(KERNEL_SETUP, error),
            _ => BackendError::NoStrategy(error.to_string()),
        })
}
