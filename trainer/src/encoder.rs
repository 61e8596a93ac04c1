//! Training the content encoder from labelled speech and singing (`trainer encoder`).
//!
//! | module | what |
//! |---|---|
//! | [`corpus`] | clips and their phone labels |
//! | [`acoustics`] | what content must be good for besides phones |
//! | [`augment`] | what makes the encoder forget the speaker, the pitch and the room |
//! | [`fit`] | the training loop |

pub mod acoustics;
pub mod augment;
pub mod corpus;
pub mod fit;
