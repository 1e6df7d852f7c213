//! Opening: a virtual kernel, with a node beside it where one is named.

use panvk_sparse::drm::{self, NullMapError, OpenError, ProbeError};
use panvk_sparse::vm::SparseVm;
use vpanthor::{Kernel, KernelSpec, OpenOptions, Tee, Virtual, model_of, nodes};

use crate::config::NullChoice;
use crate::error::out_of_memory;
use crate::{Hosted, HostedError, Labels, Space};

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
    ) -> Result<Self, HostedError> {
        let labels = Labels {
            device,
            base_driver,
            kernel: String::new(),
        };
        Space::open(kernel, choice, labels, true).map(Self::over)
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
    ) -> Result<Self, HostedError> {
        let labels = Labels {
            device,
            base_driver,
            kernel: name,
        };
        Space::beside(node, choice, labels, true).map(Self::over)
    }
}

impl Space {
    /// Opens the kernel, probes it, and makes a VM with a dummy for unbound ranges. `labels.kernel` is filled in.
    ///
    /// `mirrors`: whether the virtual kernel notes what changes in its page tables.
    ///
    /// # Errors
    /// The kernel can't be opened, or can't do what `choice` asks; the message says what it can.
    pub fn open(
        kernel: &KernelSpec,
        choice: NullChoice,
        mut labels: Labels,
        mirrors: bool,
    ) -> Result<Space, HostedError> {
        let failed = |error: OpenError| HostedError::NoKernel(error.to_string());
        let (path, node) = match kernel {
            KernelSpec::Vpanthor(flavour) => {
                labels.kernel = kernel.to_string();
                let file = Kernel::new(*flavour).open(options(mirrors));
                let device = vpanthor::device(file).map_err(failed)?;
                let capabilities = drm::probe(&device).map_err(unprobed)?;
                return Space::with(device, &capabilities, choice, labels);
            }
            KernelSpec::Node(path) => (path.clone(), nodes::open(path).map_err(failed)?),
            KernelSpec::Auto => nodes::find().map_err(failed)?,
        };
        labels.kernel = path.display().to_string();
        Space::beside(node, choice, labels, mirrors)
    }

    /// On a virtual kernel that does what `node` is seen to do, with `node` beside it.
    fn beside(
        node: drm::Device,
        choice: NullChoice,
        labels: Labels,
        mirrors: bool,
    ) -> Result<Space, HostedError> {
        let name = &labels.kernel;
        let capabilities = drm::probe(&node).map_err(|error| out_of_memory(name, error))?;
        let model = model_of(&capabilities);
        log::info!("{name} does what vpanthor:{model} does");
        let device = Tee::beside(node, name, model, options(mirrors))
            .map_err(|error| out_of_memory(KERNEL_SETUP, error))?;
        Space::with(device, &capabilities, choice, labels)
    }

    /// On `device`, which does what `capabilities` say.
    fn with(
        device: drm::Device,
        capabilities: &drm::Capabilities,
        choice: NullChoice,
        labels: Labels,
    ) -> Result<Space, HostedError> {
        let wanted = match choice {
            NullChoice::Auto => None,
            NullChoice::Fixed(strategy) => Some(strategy),
        };
        let null = capabilities.null_map(&device, wanted);
        let null = null.map_err(|error| match error {
            NullMapError::CreateDummy { .. } => out_of_memory(KERNEL_SETUP, error),
            _ => HostedError::NoStrategy(error.to_string()),
        })?;
        let vm = device
            .create_vm(0)
            .map_err(|error| out_of_memory(KERNEL_SETUP, error))?;
        if let (Some(file), Some(dummy)) = (device.vpanthor(), null.dummy()) {
            if let Some(id) = file.bo_id(dummy.handle().0) {
                file.set_dummy(vm.id().0, id);
            }
        }
        Ok(Space::on(device, SparseVm::new(vm, null), labels))
    }
}

/// A virtual kernel's syncobjs stand for the base driver's semaphores, which do the waiting.
fn options(mirrors: bool) -> OpenOptions {
    OpenOptions {
        take_waits_as_met: true,
        record_changes: mirrors,
        ..OpenOptions::default()
    }
}

fn unprobed(error: ProbeError) -> HostedError {
    out_of_memory(KERNEL_SETUP, error)
}
