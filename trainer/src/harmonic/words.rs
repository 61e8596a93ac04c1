//! Whether a rendering says what its recording said: both are heard by the content encoder.
//!
//! A spectral distance weighs every bin alike, wherever the words are; and there is no recording of one speaker's words in
//! another's voice to be near to. The encoder hears both, and content is what it should be told by: the same words, the
//! same way, whoever says them.
//!
//! Source: losses of features that a network hears, Johnson et al. (1603.08155); for conversion between speakers without
//! parallel recordings, Kaneko and Kameoka, StarGAN-VC (1806.02169), whose classes are phones and speakers.

use std::path::Path;

use anyhow::Result;
use burn::module::Module as _;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use timbra_voice::package::EncoderPackage;

use crate::model::content::{ContentConfig, ContentEncoder};
use crate::model::graph_layers::GraphLayers;
use crate::model::harmonic::MODEL_RATE_HZ;
use crate::model::mel::{RATE_HZ, TensorLogMel};

/// The content encoder of a voice, as part of its loss.
#[derive(Debug)]
pub struct Words<B: Backend> {
    encoder: ContentEncoder<B>,
    mel: TensorLogMel<B>,
}

impl<B: Backend> Words<B> {
    /// The encoder in a package.
    ///
    /// # Errors
    /// It is none of the trainer's own, or of other widths.
    pub fn of(package: &Path, device: &B::Device) -> Result<Self> {
        let package = EncoderPackage::read(package)?;
        let config = ContentConfig {
            content_channels: package.manifest.encoder.channels,
            ..ContentConfig::default()
        };
        let mut encoder = ContentEncoder::new(&config, 1, device);
        encoder.read(&mut GraphLayers::of(
            &package.path,
            package.graph().to_vec(),
        )?)?;
        Ok(Self {
            encoder: encoder.no_grad(),
            mel: TensorLogMel::new(MODEL_RATE_HZ / RATE_HZ as usize, device),
        })
    }

    /// Content `[C, B, T]` of audio `[B, samples]`; before it counts as silence.
    pub fn heard(&self, audio: Tensor<B, 2>) -> Tensor<B, 3> {
        self.encoder.content_channels_first(self.mel.frames(audio))
    }

    /// Mean absolute distance of the content of `rendered` to that of `recorded`.
    pub fn distance(&self, rendered: Tensor<B, 2>, recorded: Tensor<B, 2>) -> Tensor<B, 1> {
        let recorded = self.heard(recorded).detach();
        (self.heard(rendered) - recorded).abs().mean()
    }
}
