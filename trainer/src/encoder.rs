//! Training the content encoder from labelled speech and singing (`trainer encoder`).
//!
//! | module | what |
//! |---|---|
//! | [`corpus`] | clips and their phone labels |
//! | [`acoustics`] | what content must be good for besides phones |
//! | [`augment`] | what makes the encoder forget the speaker, the pitch and the room |
//! | [`understood`] | what a speech recogniser makes of the corpus, to be learned too |
//! | `batches` | the crops of every step, made ahead |
//! | `verdict` | what the encoder is told of them |
//! | [`fit`] | the training loop |

pub mod acoustics;
pub mod augment;
mod batches;
pub mod corpus;
pub mod fit;
pub mod understood;
mod verdict;
