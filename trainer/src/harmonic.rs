//! Training voices of the family `harmonic`.
//!
//! | module | what |
//! |---|---|
//! | `batches` | the crops of every step, made ahead |
//! | [`dataset`] | random crops of clips of features and audio |
//! | [`loss`] | multi-resolution spectral distance |
//! | [`critic`] | a small discriminator on mel spectrograms, against smeared detail |
//! | [`crowd`] | where the speakers of a large crowd begin |
//! | [`fit`] | the training loop |
//! | [`mix`] | one voice from several checkpoints |
//! | [`words`] | a network that listens, as part of the loss |
//! | [`held_out`] | distance and similarity on recordings it does not learn from |

mod batches;
pub mod critic;
pub mod crowd;
pub mod dataset;
pub mod fit;
pub mod held_out;
pub mod loss;
pub mod mix;
pub mod words;
