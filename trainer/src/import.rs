//! Readers of the files that voices of so-vits-svc 4.0/4.1 and RVC v1/v2 come in.
//!
//! | file | read by | gives |
//! |---|---|---|
//! | `G_*.pth`, RVC `*.pth`, `*.safetensors` | [`mod@state_dict`] | tensors by name, read when asked for |
//! | `*.onnx` exports of voices | [`onnx_file`], [`onnx_weights`] | the same, and strides and dilations |
//! | a configuration beside them | [`settings`] | what tensors do not say |
//! | the rest of a `.pth` (`config`, `sr`, `version`, …) | [`torch_file`] | [`pickle::Value`] |
//! | `kmeans_*.pt` | [`clusters`] | centres, by speaker |
//! | `feature_and_index.pkl`, `*.index`, `*.npy` | [`retrieval`] | vectors, by speaker |
//!
//! Most of these files are Python pickles, which are programs. Nothing a file says is ever run here: names of functions
//! are only names, the few that data needs are understood, and a file that asks for any other is refused. No size that a
//! file states is believed before it was compared with the length of the file.
//!
//! A voice without a configuration is described by the shapes of its tensors ([`derived`]).
//!
//! ```text
//! error     why a file is refused            source    bytes of a file, bounds checked
//! pickle    the restricted unpickler         number    element types to f32
//! numpy     arrays inside a pickle           tensor    shape + strides + where the bytes lie
//! npy       .npy files                       matrix    [rows, columns] of f32
//! faiss     flat and IVF-flat indexes        speaker   whose table it is
//! split     convolutions kept in two parts
//! ```

pub mod clusters;
pub mod derived;
pub mod error;
pub mod faiss;
pub mod hubert_names;
pub mod matrix;
pub mod npy;
pub mod number;
pub mod numpy;
pub mod onnx_file;
pub mod onnx_weights;
pub mod pickle;
pub mod retrieval;
pub mod rvc_config;
pub mod safetensors_file;
pub mod settings;
pub mod source;
pub mod sovits_config;
pub mod speaker;
pub mod split;
pub mod state_dict;
pub mod tensor;
pub mod torch_file;
pub mod weights;

pub use error::ReadError;
pub use matrix::Matrix;
pub use onnx_file::OnnxFile;
pub use settings::Settings;
pub use speaker::Speaker;
pub use state_dict::{StateDict, read_state_dict, state_dict};
pub use tensor::LazyTensor;
pub use torch_file::TorchFile;
