//! Programs and layers that others have made.

use crate::kit::{BARE, ICD, LAYER, Trace, layer_path, recorded};
use ash::vk;
use common::config::Config;
use common::{App, Gpu};
use std::path::Path;
use std::process::Command;
use trace::Event;

fn vulkaninfo(config: Config, trace: Option<&Path>) -> String {
    let mut command = Command::new("vulkaninfo");
    config.apply(&mut command);
    for display in ["DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"] {
        command.env_remove(display);
    }
    // The same list of layers in both runs.
    command.env("VK_LAYER_PATH", layer_path());
    if let Some(trace) = trace {
        command.env("VK_INSTANCE_LAYERS", LAYER);
        command.env(crate::kit::FILE, trace);
    }
    let (status, stdout, stderr) = common::child::finish(command);
    assert!(status.success(), "{config:?}: {status}\n{stderr}");
    assert!(!stderr.contains("panvk-sparse-trace:"), "{stderr}");
    stdout
}

/// The names whose values are what the machine has free right now.
const PASSING: &[&str] = &["budget", "usage"];

#[test]
fn vulkaninfo_reports_the_same_with_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (i, config) in [BARE, ICD].into_iter().enumerate() {
        let file = folder.path().join(format!("{i}.pvst"));
        let (without, with) = (vulkaninfo(config, None), vulkaninfo(config, Some(&file)));
        let lasting = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| {
                    let name = line.split_once(" = ").map(|(name, _)| name.trim());
                    !name.is_some_and(|name| PASSING.contains(&name))
                })
                // The extension that the layer brings.
                .filter(|line| !line.contains("VK_EXT_layer_settings"))
                // And that there is one more of them.
                .filter(|line| !line.starts_with("Instance Extensions: count"))
                .map(str::to_owned)
                .collect()
        };
        let (without, with) = (lasting(&without), lasting(&with));
        let different = without.iter().zip(&with).find(|(a, b)| a != b);
        assert_eq!(different, None, "{config:?}");
        assert_eq!(without.len(), with.len());
        let trace = Trace::read(&file);
        assert!(trace.ended_cleanly);
        assert!(trace.count(|event| matches!(event, Event::DeviceCreated(_))) > 0);
    }
}

#[test]
fn a_present_marks_a_frame() {
    const FRAMES: usize = 3;
    let test = common::name_of!(a_present_marks_a_frame);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        present(&app, FRAMES);
    };
    recorded(test, BARE, &[], body, |recorded| {
        let trace = recorded.trace();
        let marks: Vec<_> = trace
            .events()
            .filter_map(|event| match event {
                Event::Submit { count, .. } => Some(*count as usize),
                Event::Present { .. } => Some(usize::MAX),
                _ => None,
            })
            .collect();
        let frame = [1, usize::MAX];
        assert_eq!(marks, frame.repeat(FRAMES));
        let devices: Vec<_> = trace
            .events()
            .filter_map(|event| match event {
                Event::DeviceCreated(created) => Some(created.device),
                Event::Present { device, queue } => {
                    assert_ne!(*queue, 0);
                    Some(*device)
                }
                _ => None,
            })
            .collect();
        assert!(devices.len() == FRAMES + 1 && devices.iter().all(|d| *d == devices[0]));
    });
}

/// Presents images of a surface without a window. The submits are vkQueueSubmit2's.
fn present(app: &App, frames: usize) {
    let names = [
        ash::khr::surface::NAME.as_ptr(),
        ash::ext::headless_surface::NAME.as_ptr(),
    ];
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
    let info = vk::InstanceCreateInfo::default()
        .application_info(&application)
        .enabled_extension_names(&names);
    // SAFETY: structs that live until their call returns, handles that are alive, one thread.
    unsafe {
        let instance = app.entry.create_instance(&info, None).expect("an instance");
        let physical = instance.enumerate_physical_devices().expect("devices")[0];
        let headless = ash::ext::headless_surface::Instance::new(&app.entry, &instance);
        let surface = headless
            .create_headless_surface(&vk::HeadlessSurfaceCreateInfoEXT::default(), None)
            .expect("a surface");
        let surfaces = ash::khr::surface::Instance::new(&app.entry, &instance);
        let format = surfaces
            .get_physical_device_surface_formats(physical, surface)
            .expect("formats")[0];

        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
        let names = [ash::khr::swapchain::NAME.as_ptr()];
        let features = vk::PhysicalDeviceFeatures {
            sparse_binding: vk::TRUE,
            ..Default::default()
        };
        let mut features13 = vk::PhysicalDeviceVulkan13Features::default().synchronization2(true);
        // The features come by the chain here.
        let mut features2 = vk::PhysicalDeviceFeatures2::default().features(features);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features13)
            .push_next(&mut features2);
        let device = instance
            .create_device(physical, &info, None)
            .expect("vkCreateDevice");
        let queue = device.get_device_queue2(&vk::DeviceQueueInfo2::default());
        let swapchains = ash::khr::swapchain::Device::new(&instance, &device);
        let info = vk::SwapchainCreateInfoKHR::default()
            .surface(surface)
            .min_image_count(3)
            .image_format(format.format)
            .image_color_space(format.color_space)
            .image_extent(vk::Extent2D {
                width: 64,
                height: 64,
            })
            .image_array_layers(1)
            .image_usage(vk::ImageUsageFlags::COLOR_ATTACHMENT)
            .pre_transform(vk::SurfaceTransformFlagsKHR::IDENTITY)
            .composite_alpha(vk::CompositeAlphaFlagsKHR::OPAQUE)
            .present_mode(vk::PresentModeKHR::FIFO);
        let swapchain = swapchains
            .create_swapchain(&info, None)
            .expect("a swapchain");
        let fence = device
            .create_fence(&vk::FenceCreateInfo::default(), None)
            .expect("a fence");
        for _ in 0..frames {
            let (image, _) = swapchains
                .acquire_next_image(swapchain, u64::MAX, vk::Semaphore::null(), fence)
                .expect("an image");
            device
                .wait_for_fences(&[fence], true, u64::MAX)
                .expect("the image");
            device.reset_fences(&[fence]).expect("vkResetFences");
            device
                .queue_submit2(queue, &[vk::SubmitInfo2::default()], vk::Fence::null())
                .expect("vkQueueSubmit2");
            let (swapchain, image) = ([swapchain], [image]);
            let info = vk::PresentInfoKHR::default()
                .swapchains(&swapchain)
                .image_indices(&image);
            swapchains
                .queue_present(queue, &info)
                .expect("vkQueuePresentKHR");
        }
        device.device_wait_idle().expect("idle");
        device.destroy_fence(fence, None);
        swapchains.destroy_swapchain(swapchain, None);
        device.destroy_device(None);
        surfaces.destroy_surface(surface, None);
        instance.destroy_instance(None);
    }
}

/// A device of an application that has no use for sparse resources is in the recording, and that is all.
#[test]
fn of_a_device_without_sparse_binding_only_its_life_is_recorded() {
    let test = common::name_of!(of_a_device_without_sparse_binding_only_its_life_is_recorded);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
        // SAFETY: structs that live until their call returns, handles that are alive.
        unsafe {
            let device = app
                .instance
                .create_device(app.physical, &info, None)
                .expect("vkCreateDevice");
            let queue = device.get_device_queue(0, 0);
            device
                .queue_submit(queue, &[], vk::Fence::null())
                .expect("vkQueueSubmit");
            let memory = vk::MemoryAllocateInfo::default().allocation_size(4096);
            let memory = device.allocate_memory(&memory, None).expect("memory");
            device.free_memory(memory, None);
            device.destroy_device(None);
        }
        drop(Gpu::new(&app));
    };
    recorded(test, BARE, &[], body, |recorded| {
        let events: Vec<_> = recorded.trace().events().collect();
        let sparse: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::DeviceCreated(created) => Some(created.sparse_binding),
                Event::DeviceDestroyed { .. } => None,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sparse, [false, true]);
        assert_eq!(events.len(), 4);
    });
}
