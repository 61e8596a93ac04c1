//! The family `vits`: so-vits-svc 4.0 and 4.1 and RVC v1 and v2, described once.
//!
//! [`spec`] says what a voice consists of, [`voice`] puts it together, [`eval`] has the operations it is written in.
//!
//! Source: Kim et al., VITS (2106.06103).

pub mod auto_f0;
pub mod decoder;
pub mod eval;
pub mod export;
pub mod flow;
pub mod graph;
pub mod layers;
pub mod prior;
pub mod spec;
pub mod transformer;
pub mod voice;
pub mod wavenet;
pub mod weights;
