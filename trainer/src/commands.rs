//! One verb a file: its arguments and what it does.

pub mod adjust;
pub mod build;
pub mod cluster;
pub mod compress;
pub mod convert;
pub mod doctor;
pub mod encoder;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod index;
pub mod inspect;
pub mod mix;
pub mod page;
pub mod plot;
pub mod prepare;
mod shares;
pub mod slice;
pub mod train;
