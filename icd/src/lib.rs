//! The Vulkan ICD.
