//! Recordings and the features computed from them.
//!
//! A recording goes [`audio`] → [`slicing`] (long takes into clips) →
//! [`prepare`] (clips into [`features::ClipFeatures`]) → [`dataset`], which is
//! what training, clustering and evaluation read.

pub mod atomic_file;
pub mod audio;
pub mod clips;
pub mod dataset;
pub mod features;
pub mod kmeans;
pub mod prepare;
pub mod slicing;
pub mod tables;
