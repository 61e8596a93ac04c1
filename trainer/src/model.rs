//! The networks: what the trainer optimises and exports.
//!
//! | module | what |
//! |---|---|
//! | [`causal`] | causal convolutions and residual blocks, and their streaming export |
//! | [`content`] | the content encoder |
//! | [`harmonic`], [`harmonic_graph`], [`excitation`] | the harmonic voice, its streaming graph, its source in training |
//! | [`folded_dft`] | differentiable DFTs |
//! | [`graph_layers`] | the weights of a written graph, to train it further |
//! | [`mel`] | the log-mel front end, in Rust and as a graph |
//! | [`recogniser`] | the encoder of a speech recogniser, to train with |

pub mod causal;
pub mod content;
pub mod excitation;
pub mod folded_dft;
pub mod graph_layers;
pub mod harmonic;
pub mod harmonic_graph;
pub mod hubert;
pub mod mel;
pub mod recogniser;
pub mod vits;
