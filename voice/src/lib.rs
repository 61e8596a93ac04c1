//! The contract between trainer and plugin: manifest, package, tables, ONNX graph writer.
//!
//! A voice is one package (`.timbra`, or a folder with the same files): [`manifest`] says what is in it, [`check`]
//! whether what it says can be true, [`package`] reads and writes it whole, [`tables`] are its cluster and retrieval
//! tables, [`library`] finds voices and encoders in folders. This crate knows neither the inference runtime nor the
//! training framework.

pub mod check;
mod container;
pub mod error;
pub mod identity;
pub mod library;
pub mod manifest;
pub mod onnx_check;
pub mod onnx_precision;
pub mod onnx_writer;
pub mod package;
pub mod tables;

pub use error::VoiceError;
pub use library::VoiceRef;
pub use manifest::{EncoderManifest, Manifest};
pub use package::{EncoderPackage, VoicePackage};
