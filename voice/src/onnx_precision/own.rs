//! Operators of our own, for processors that Timbra knows.
//!
//! | module | what |
//! |---|---|
//! | `surroundings` | who makes and reads what |
//! | `convolutions` | a decoder's convolutions |
//! | `matrices` | products with matrices |
//! | `front` | an encoder's first layers as such products |
//! | `attention`, `gates` | what lies between products |
//! | `together` | what the runtime has as one operator; all of these in a graph |

mod attention;
mod convolutions;
mod front;
mod gates;
mod matrices;
mod surroundings;
mod together;

pub use attention::OWN_ATTENTION;
pub use convolutions::{OWN_CONVOLUTION, OWN_ROWS};
pub use gates::{OWN_GATE, OWN_HALVES};
pub use matrices::{OWN_COLUMNS, OWN_PIECE, OWN_PRODUCT, own_scale_at};

pub(super) use convolutions::OwnConvolutions;
pub(super) use front::Front;
pub(super) use matrices::OwnMatrices;
pub(super) use surroundings::Surroundings;
pub(super) use together::Together;

/// The domain of the operators.
pub const OWN_DOMAIN: &str = "timbra";
/// Its version.
pub const OWN_OPSET: i64 = 1;
