//! Vectors of numbers, whatever instructions they are made of.

/// A vector of `WIDTH` numbers of 32 bits, or of four times as many bytes, and what is done with it.
///
/// # Safety
/// Its functions may be called where the processor has the instructions they are made of, and pointers they are given hold a whole
/// vector, of any alignment, or as many numbers of it as the function is told.
pub(super) unsafe trait Lanes {
    /// Whole numbers.
    type Whole: Copy;
    /// Floats.
    type Float: Copy;
    /// Numbers in a vector; [`WIDEST`] is a multiple of it.
    const WIDTH: usize;
    /// The byte that means 0 where bytes have a sign.
    const MIDDLE: u8;
    /// By how much bytes that have none are less here, because products take bytes with a sign: 0 or 128.
    const LESS: u8;

    /// Zeros.
    unsafe fn zeros() -> Self::Whole;
    /// Bytes, four to a number.
    unsafe fn load_bytes(from: *const u8) -> Self::Whole;
    /// Stores bytes, four to a number.
    unsafe fn store_bytes(to: *mut u8, bytes: Self::Whole);
    /// Four weights in every number.
    unsafe fn spread(weights: *const i8) -> Self::Whole;
    /// Adds to every number the products of its four bytes (less [`Self::LESS`]) with its four weights, of which two together are within
    /// 16 bits.
    unsafe fn add_products(
        sums: Self::Whole,
        bytes: Self::Whole,
        weights: Self::Whole,
    ) -> Self::Whole;
    /// The same where bytes have a sign, [`Self::MIDDLE`] is added to them and weights are any: sums have it too.
    unsafe fn add_signed_products(
        sums: Self::Whole,
        bytes: Self::Whole,
        weights: Self::Whole,
    ) -> Self::Whole;
    /// Such sums without [`Self::MIDDLE`], of weights whose own sums these are.
    unsafe fn without_middle(sums: Self::Whole, of_weights: Self::Whole) -> Self::Whole;
    /// Stores the lowest byte of every number.
    unsafe fn store_lowest(to: *mut u8, whole: Self::Whole);
    /// Says that what lies there will be read soon; it need not be there.
    unsafe fn soon(at: *const i8);
    /// The lowest bytes of four vectors, less [`Self::LESS`], as bytes of one. Their other bytes are 0.
    unsafe fn quads(parts: [Self::Whole; 4]) -> Self::Whole;
    /// Less a number.
    unsafe fn minus(whole: Self::Whole, number: i32) -> Self::Whole;
    /// As floats.
    unsafe fn floats(whole: Self::Whole) -> Self::Float;
    /// Rounded, halves to even.
    unsafe fn rounded(floats: Self::Float) -> Self::Whole;

    /// The same float everywhere.
    unsafe fn splat(value: f32) -> Self::Float;
    /// Floats.
    unsafe fn load(from: *const f32) -> Self::Float;
    /// Stores floats.
    unsafe fn store(to: *mut f32, floats: Self::Float);
    /// The first `count` floats of a vector, and zeros.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::Float;
    /// Stores the first `count` floats of a vector.
    unsafe fn store_part(to: *mut f32, floats: Self::Float, count: usize);
    /// The smaller of each two; the second where one is NaN.
    unsafe fn min(a: Self::Float, b: Self::Float) -> Self::Float;
    /// The larger of each two; the second where one is NaN.
    unsafe fn max(a: Self::Float, b: Self::Float) -> Self::Float;
    /// Sums.
    unsafe fn add(a: Self::Float, b: Self::Float) -> Self::Float;
    /// Products.
    unsafe fn multiply(a: Self::Float, b: Self::Float) -> Self::Float;
    /// The sum of a vector.
    unsafe fn sum(floats: Self::Float) -> f32;
    /// Two to the power of whole numbers from -126 to 127.
    unsafe fn power_of_two(whole: Self::Whole) -> Self::Float;
    /// Quotients.
    unsafe fn divide(a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a · b + c`, rounded once.
    unsafe fn multiply_add(a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
}

/// The functions of [`Lanes`], in few lines: each is one expression.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! lanes {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $result:ty => $body:expr;)*) => {
        $(#[inline(always)]
        #[allow(unused_unsafe, reason = "one of them does nothing")]
        unsafe fn $name($($argument: $kind),*) -> $result {
            // SAFETY: as of the trait.
            unsafe { $body }
        })*
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use lanes;

/// Numbers in the widest vector.
pub(super) const WIDEST: usize = 16;

/// The first `count` floats of a vector, and zeros; all of it if `count` is more.
///
/// # Safety
/// As of [`Lanes`]; `from` holds `count` floats.
#[inline(always)]
pub(super) unsafe fn load_first<L: Lanes>(from: *const f32, count: usize) -> L::Float {
    // SAFETY: as of this function.
    unsafe {
        if count >= L::WIDTH {
            L::load(from)
        } else {
            L::load_part(from, count)
        }
    }
}

/// Stores the first `count` floats of a vector; all of it if `count` is more.
///
/// # Safety
/// As of [`Lanes`]; `to` holds `count` floats.
#[inline(always)]
pub(super) unsafe fn store_first<L: Lanes>(to: *mut f32, floats: L::Float, count: usize) {
    // SAFETY: as of this function.
    unsafe {
        if count >= L::WIDTH {
            L::store(to, floats);
        } else {
            L::store_part(to, floats, count);
        }
    }
}

/// The exponential of numbers between -87 and 87, and of others that of the nearest of these.
///
/// Two to the power of what is whole of `x / ln 2`, and seven terms of a power series for the rest. Of NaN it is NaN.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
pub(super) unsafe fn exponential<L: Lanes>(x: L::Float) -> L::Float {
    const TERMS: [f32; 7] = [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    // SAFETY: as of this function.
    unsafe {
        let x = L::min(L::splat(87.0), L::max(L::splat(-87.0), x));
        let whole = L::rounded(L::multiply(x, L::splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts: the first has so few digits that its products with whole numbers are exact.
        let rest = L::multiply_add(L::floats(whole), L::splat(-0.693_359_4), x);
        let rest = L::multiply_add(L::floats(whole), L::splat(2.121_944_4e-4), rest);
        let mut sum = L::splat(TERMS[0]);
        for term in &TERMS[1..] {
            sum = L::multiply_add(sum, rest, L::splat(*term));
        }
        L::multiply(sum, L::power_of_two(whole))
    }
}

/// The smallest and largest number, and 0 if all are on one side of it.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
pub(super) unsafe fn extremes<L: Lanes>(values: &[f32]) -> [f32; 2] {
    let (mut low, mut high) = ([0.0f32; WIDEST], [0.0f32; WIDEST]);
    // SAFETY: as of this function; vectors are whole or filled with zeros.
    unsafe {
        let mut lows = [L::splat(0.0); 2];
        let mut highs = lows;
        for start in (0..values.len()).step_by(2 * L::WIDTH) {
            for n in 0..2 {
                let at = start + n * L::WIDTH;
                if at >= values.len() {
                    break;
                }
                let value = load_first::<L>(values.as_ptr().add(at), values.len() - at);
                lows[n] = L::min(value, lows[n]);
                highs[n] = L::max(value, highs[n]);
            }
        }
        L::store(low.as_mut_ptr(), L::min(lows[0], lows[1]));
        L::store(high.as_mut_ptr(), L::max(highs[0], highs[1]));
    }
    let low = low[..L::WIDTH].iter().copied().fold(0.0, f32::min);
    [low, high[..L::WIDTH].iter().copied().fold(0.0, f32::max)]
}
