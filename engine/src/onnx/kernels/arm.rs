//! Vectors of ARM processors, and whether this one has what they need.
//!
//! Every processor of 64 bits has NEON. Products of bytes came later and are not in all of them; they take bytes with a sign, so bytes of a
//! convolution are kept less 128.
//!
//! Source: Arm Architecture Reference Manual for A-profile, SDOT (vector).

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::Instructions;
use super::attention::{Head, Rows};
use super::convolution::{self, Layer};
use super::gate::Gate;
use super::lanes::{Lanes, lanes};
use super::product::{self, Matrix};

/// All instructions that this processor has.
pub(super) fn all() -> Vec<Instructions> {
    let has = is_aarch64_feature_detected!("dotprod");
    has.then_some(Instructions::Neon).into_iter().collect()
}

/// # Safety
/// The processor has products of bytes.
pub(super) unsafe fn convolution(layer: &Layer<'_>, work: convolution::Work<'_>) {
    // SAFETY: whoever calls this knows.
    unsafe { layer.run::<Neon, 8, 3>(work) }
}

/// # Safety
/// The processor has products of bytes.
pub(super) unsafe fn product(matrix: &Matrix<'_>, work: product::Work<'_>) {
    // SAFETY: whoever calls this knows.
    unsafe { matrix.run::<Neon, 6, 4>(work) }
}

/// # Safety
/// The processor has NEON.
pub(super) unsafe fn attention(head: &Head<'_>, rows: Rows) {
    // SAFETY: whoever calls this knows.
    unsafe { head.run::<Neon>(rows) }
}

/// # Safety
/// The processor has NEON.
pub(super) unsafe fn gate(gate: &Gate<'_>, to: &mut [f32]) {
    // SAFETY: whoever calls this knows.
    unsafe { gate.run::<Neon>(to) }
}

/// Four numbers of NEON, with products of bytes.
pub(super) struct Neon;

// SAFETY: every function does what the trait says, with instructions that whoever calls it knows to be there.
unsafe impl Lanes for Neon {
    type Whole = int32x4_t;
    type Float = float32x4_t;
    const WIDTH: usize = 4;
    const MIDDLE: u8 = 0;
    const LESS: u8 = 128;

    lanes! {
        fn zeros() -> int32x4_t => vdupq_n_s32(0);
        fn load_bytes(from: *const u8) -> int32x4_t => vreinterpretq_s32_u8(vld1q_u8(from));
        fn store_bytes(to: *mut u8, bytes: int32x4_t) -> () => vst1q_u8(to, vreinterpretq_u8_s32(bytes));
        fn spread(weights: *const i8) -> int32x4_t => vdupq_n_s32(weights.cast::<i32>().read_unaligned());
        fn add_products(sums: int32x4_t, bytes: int32x4_t, weights: int32x4_t) -> int32x4_t => with_products(sums, bytes, weights);
        fn add_signed_products(sums: int32x4_t, bytes: int32x4_t, weights: int32x4_t) -> int32x4_t => with_products(sums, bytes, weights);
        fn without_middle(sums: int32x4_t, of_weights: int32x4_t) -> int32x4_t => { let _ = of_weights; sums };
        fn store_lowest(to: *mut u8, whole: int32x4_t) -> () => {
            let half = vmovn_s32(whole);
            let bytes = vmovn_s16(vcombine_s16(half, half));
            to.cast::<i32>().write_unaligned(vget_lane_s32::<0>(vreinterpret_s32_s8(bytes)));
        };
        // What is read in order is fetched ahead without being asked for.
        fn soon(at: *const i8) -> () => { let _ = at; };
        fn quads(parts: [int32x4_t; 4]) -> int32x4_t => {
            let low = vorrq_s32(parts[0], vshlq_n_s32::<8>(parts[1]));
            let high = vorrq_s32(vshlq_n_s32::<16>(parts[2]), vshlq_n_s32::<24>(parts[3]));
            veorq_s32(vorrq_s32(low, high), vreinterpretq_s32_u8(vdupq_n_u8(Self::LESS)))
        };
        fn minus(whole: int32x4_t, number: i32) -> int32x4_t => vsubq_s32(whole, vdupq_n_s32(number));
        fn floats(whole: int32x4_t) -> float32x4_t => vcvtq_f32_s32(whole);
        fn rounded(floats: float32x4_t) -> int32x4_t => vcvtnq_s32_f32(floats);
        fn splat(value: f32) -> float32x4_t => vdupq_n_f32(value);
        fn load(from: *const f32) -> float32x4_t => vld1q_f32(from);
        fn store(to: *mut f32, floats: float32x4_t) -> () => vst1q_f32(to, floats);
        fn load_part(from: *const f32, count: usize) -> float32x4_t => {
            let mut four = [0.0; 4];
            from.copy_to_nonoverlapping(four.as_mut_ptr(), count.min(4));
            vld1q_f32(four.as_ptr())
        };
        fn store_part(to: *mut f32, floats: float32x4_t, count: usize) -> () => {
            let mut four = [0.0; 4];
            vst1q_f32(four.as_mut_ptr(), floats);
            four.as_ptr().copy_to_nonoverlapping(to, count.min(4));
        };
        fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t => vbslq_f32(vcltq_f32(a, b), a, b);
        fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t => vbslq_f32(vcgtq_f32(a, b), a, b);
        fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t => vaddq_f32(a, b);
        fn multiply(a: float32x4_t, b: float32x4_t) -> float32x4_t => vmulq_f32(a, b);
        fn sum(floats: float32x4_t) -> f32 => vaddvq_f32(floats);
        fn power_of_two(whole: int32x4_t) -> float32x4_t => vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(whole, vdupq_n_s32(127))));
        fn divide(a: float32x4_t, b: float32x4_t) -> float32x4_t => vdivq_f32(a, b);
        fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t => vfmaq_f32(c, a, b);
    }
}

/// Adds to every number the products of four bytes with four weights, both with a sign.
///
/// # Safety
/// The processor has products of bytes.
#[inline(always)]
unsafe fn with_products(sums: int32x4_t, bytes: int32x4_t, weights: int32x4_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: whoever calls this knows. The function of the standard library for it is not stable.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {bytes:v}.16b, {weights:v}.16b",
            sums = inout(vreg) sums,
            bytes = in(vreg) bytes,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}
