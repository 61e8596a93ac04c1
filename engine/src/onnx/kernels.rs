//! Operators of our own for CPUs that play a voice in 8 bits.
//!
//! What the runtime offers makes a convolution of whole numbers from seven operators, each of which reads and writes all of what
//! passes through; in a decoder that takes longer than the sums. One operator does it in two passes: it bends, rounds and
//! lays out what comes in, and sums, scales and adds to it what goes out. Others are one node where there were many, which is what
//! steps of few frames cost.
//!
//! | module | what |
//! |---|---|
//! | `lanes` | vectors of numbers, whatever instructions they are made of |
//! | `x86`, `arm` | those of x86 and of ARM processors, and which of them this one has |
//! | `convolution` | the convolution |
//! | `product` | the product with a matrix |
//! | `attention` | attention to what is carried and to a step's own frames |
//! | `gate` | the gate of a WaveNet |
//! | `operators` | all of them as operators of the runtime |
//!
//! A processor without such instructions has the runtime's operators instead (`voice/onnx_precision.rs` writes either).

#![cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(
        dead_code,
        unused_variables,
        reason = "no instructions are known there yet"
    )
)]

#[cfg(target_arch = "aarch64")]
mod arm;
mod attention;
mod convolution;
mod gate;
mod lanes;
mod operators;
mod product;
#[cfg(target_arch = "x86_64")]
mod x86;

use ort::operator::OperatorDomain;
use timbra_voice::onnx_precision::{OWN_DOMAIN, Operators};

/// Instructions that operators are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// Products of bytes in vectors of 64: AVX-512 VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni512,
    /// The same in vectors of 32: AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni256,
    /// Products of bytes that are summed in 16 bits: AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Products of bytes in vectors of 16: NEON.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Instructions {
    /// The fastest ones that this processor has.
    pub(crate) fn find() -> Option<Self> {
        Self::all().into_iter().next()
    }

    /// All that this processor has, the fastest first.
    fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        return x86::all();
        #[cfg(target_arch = "aarch64")]
        return arm::all();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        Vec::new()
    }
}

/// Runs a number of pieces of work, at the same time where there are threads for it.
pub(in crate::onnx) type Parallel<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// Where something is written, for several threads that each have places of their own.
struct Place<T>(*mut T);
// SAFETY: pieces of work write to places of their own.
unsafe impl<T> Sync for Place<T> {}

impl<T> Place<T> {
    /// A method, so that closures hold all of it.
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Which operators graphs in 8 bits have here.
#[must_use]
pub fn operators_here() -> Operators {
    match Instructions::find() {
        Some(_) => Operators::Own,
        None => Operators::Runtime,
    }
}

/// The operators, for a session; `None` where there are none.
pub(super) fn operators() -> ort::Result<Option<OperatorDomain>> {
    let Some(instructions) = Instructions::find() else {
        return Ok(None);
    };
    let domain = OperatorDomain::new(OWN_DOMAIN)?
        .add(operators::Convolution { instructions })?
        .add(operators::Product { instructions })?
        .add(operators::Attention { instructions })?
        .add(operators::Gate { instructions })?
        .add(operators::Halves)?;
    Ok(Some(domain))
}
