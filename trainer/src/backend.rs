//! Which arithmetic a training runs on.

use std::fmt;

/// A training backend; the ones besides `flex` exist only when the program was built with their feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum BackendName {
    /// Pure Rust on the CPU
    #[default]
    Flex,
    /// PyTorch's library on the CPU: several times faster than flex
    #[cfg(feature = "libtorch")]
    Libtorch,
    /// NVIDIA GPU
    #[cfg(feature = "cuda")]
    Cuda,
    /// Any GPU with a Vulkan driver
    #[cfg(feature = "vulkan")]
    Vulkan,
    /// Apple GPU
    #[cfg(feature = "metal")]
    Metal,
    /// AMD GPU
    #[cfg(feature = "rocm")]
    Rocm,
}

impl BackendName {
    /// Every backend of this build.
    #[must_use]
    pub fn available() -> &'static [Self] {
        <Self as clap::ValueEnum>::value_variants()
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Evaluates `$body` with `$backend` as the backend type and `$device` as its default device.
#[macro_export]
macro_rules! with_backend {
    ($name:expr, |$backend:ident, $device:ident| $body:expr) => {
        match $name {
            $crate::backend::BackendName::Flex => {
                type $backend = burn::backend::Flex;
                let $device = Default::default();
                $body
            }
            #[cfg(feature = "libtorch")]
            $crate::backend::BackendName::Libtorch => {
                type $backend = burn::backend::LibTorch;
                let $device = burn::backend::libtorch::LibTorchDevice::Cpu;
                $body
            }
            #[cfg(feature = "cuda")]
            $crate::backend::BackendName::Cuda => {
                type $backend = burn::backend::Cuda;
                let $device = Default::default();
                $body
            }
            #[cfg(feature = "vulkan")]
            $crate::backend::BackendName::Vulkan => {
                type $backend = burn::backend::Vulkan;
                let $device = Default::default();
                $body
            }
            #[cfg(feature = "metal")]
            $crate::backend::BackendName::Metal => {
                type $backend = burn::backend::Metal;
                let $device = Default::default();
                $body
            }
            #[cfg(feature = "rocm")]
            $crate::backend::BackendName::Rocm => {
                type $backend = burn::backend::Rocm;
                let $device = Default::default();
                $body
            }
        }
    };
}
