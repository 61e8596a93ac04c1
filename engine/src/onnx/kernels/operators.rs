//! What is computed here as operators of the runtime.

mod attention;
mod convolution;
mod gates;
mod product;

use std::cell::RefCell;

use ort::operator::ComputeContext;
use ort::value::ValueRef;

pub(super) use attention::Attention;
pub(super) use convolution::Convolution;
pub(super) use gates::{Gate, Halves};
pub(super) use product::Product;

use super::Parallel;

/// Does `work`, whose pieces the threads of the session share; what fails there fails here.
fn in_pieces(context: &ComputeContext, work: impl FnOnce(Parallel<'_>)) -> ort::Result<()> {
    let failed = RefCell::new(None);
    work(&|count, piece| {
        if let Err(error) = context.par_for(count, 0, piece) {
            *failed.borrow_mut() = Some(error);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

fn known(number: i64) -> Option<usize> {
    usize::try_from(number).ok()
}

fn needed(value: Option<ValueRef<'_>>) -> ort::Result<ValueRef<'_>> {
    value.ok_or_else(|| ort::Error::new("an input of an operator in 8 bits is missing"))
}

fn unexpected(what: &str, found: &[i64]) -> ort::Error {
    ort::Error::new(format!(
        "an operator in 8 bits cannot take {what} of shape {found:?}"
    ))
}
