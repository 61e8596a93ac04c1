//! Vectors of x86 processors, and which of them this one has.
//!
//! Source: Intel Intrinsics Guide.

use std::arch::x86_64::*;

use super::Instructions;
use super::attention::{Head, Rows};
use super::convolution::{self, Layer};
use super::gate::Gate;
use super::lanes::{Lanes, lanes};
use super::product::{self, Matrix};

/// All instructions that this processor has, the fastest first.
pub(super) fn all() -> Vec<Instructions> {
    let mut found = Vec::new();
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
        found.push(Instructions::Vnni512);
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        if is_x86_feature_detected!("avxvnni") {
            found.push(Instructions::Vnni256);
        }
        found.push(Instructions::Avx2);
    }
    found
}

/// # Safety
/// The processor has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn convolution_vnni_512(layer: &Layer<'_>, work: convolution::Work<'_>) {
    // SAFETY: whoever calls this knows.
    unsafe { layer.run::<Vnni512, 8, 3>(work) }
}

/// # Safety
/// The processor has AVX-VNNI and FMA.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) unsafe fn convolution_vnni_256(layer: &Layer<'_>, work: convolution::Work<'_>) {
    // SAFETY: whoever calls this knows.
    unsafe { layer.run::<Vnni256, 4, 2>(work) }
}

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn convolution_avx2(layer: &Layer<'_>, work: convolution::Work<'_>) {
    // SAFETY: whoever calls this knows.
    unsafe { layer.run::<Avx2, 4, 2>(work) }
}

/// # Safety
/// The processor has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn product_vnni_512(matrix: &Matrix<'_>, work: product::Work<'_>) {
    // SAFETY: whoever calls this knows.
    unsafe { matrix.run::<Vnni512, 6, 4>(work) }
}

/// # Safety
/// The processor has AVX-VNNI and FMA.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) unsafe fn product_vnni_256(matrix: &Matrix<'_>, work: product::Work<'_>) {
    // SAFETY: whoever calls this knows.
    unsafe { matrix.run::<Vnni256, 3, 2>(work) }
}

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn product_avx2(matrix: &Matrix<'_>, work: product::Work<'_>) {
    // SAFETY: whoever calls this knows.
    unsafe { matrix.run::<Avx2, 2, 2>(work) }
}

/// # Safety
/// The processor has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn attention_512(head: &Head<'_>, rows: Rows) {
    // SAFETY: whoever calls this knows.
    unsafe { head.run::<Vnni512>(rows) }
}

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn attention_256(head: &Head<'_>, rows: Rows) {
    // SAFETY: whoever calls this knows.
    unsafe { head.run::<Avx2>(rows) }
}

/// # Safety
/// The processor has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn gate_512(gate: &Gate<'_>, to: &mut [f32]) {
    // SAFETY: whoever calls this knows.
    unsafe { gate.run::<Vnni512>(to) }
}

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn gate_256(gate: &Gate<'_>, to: &mut [f32]) {
    // SAFETY: whoever calls this knows.
    unsafe { gate.run::<Avx2>(to) }
}

/// Sixteen numbers of AVX-512, with VNNI.
pub(super) struct Vnni512;

// SAFETY: every function does what the trait says, with instructions that whoever calls it knows to be there.
unsafe impl Lanes for Vnni512 {
    type Whole = __m512i;
    type Float = __m512;
    const WIDTH: usize = 16;
    const MIDDLE: u8 = 128;
    const LESS: u8 = 0;

    lanes! {
        fn zeros() -> __m512i => _mm512_setzero_si512();
        fn load_bytes(from: *const u8) -> __m512i => _mm512_loadu_si512(from.cast());
        fn store_bytes(to: *mut u8, bytes: __m512i) -> () => _mm512_storeu_si512(to.cast(), bytes);
        fn spread(weights: *const i8) -> __m512i => _mm512_set1_epi32(weights.cast::<i32>().read_unaligned());
        fn add_products(sums: __m512i, bytes: __m512i, weights: __m512i) -> __m512i => _mm512_dpbusd_epi32(sums, bytes, weights);
        fn add_signed_products(sums: __m512i, bytes: __m512i, weights: __m512i) -> __m512i => _mm512_dpbusd_epi32(sums, bytes, weights);
        fn without_middle(sums: __m512i, of_weights: __m512i) -> __m512i => _mm512_sub_epi32(sums, _mm512_slli_epi32::<7>(of_weights));
        fn store_lowest(to: *mut u8, whole: __m512i) -> () => _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(whole));
        fn soon(at: *const i8) -> () => _mm_prefetch::<_MM_HINT_T0>(at);
        fn quads(parts: [__m512i; 4]) -> __m512i => _mm512_or_si512(
            _mm512_or_si512(parts[0], _mm512_slli_epi32::<8>(parts[1])),
            _mm512_or_si512(_mm512_slli_epi32::<16>(parts[2]), _mm512_slli_epi32::<24>(parts[3])),
        );
        fn minus(whole: __m512i, number: i32) -> __m512i => _mm512_sub_epi32(whole, _mm512_set1_epi32(number));
        fn floats(whole: __m512i) -> __m512 => _mm512_cvtepi32_ps(whole);
        fn rounded(floats: __m512) -> __m512i => _mm512_cvtps_epi32(floats);
        fn splat(value: f32) -> __m512 => _mm512_set1_ps(value);
        fn load(from: *const f32) -> __m512 => _mm512_loadu_ps(from);
        fn store(to: *mut f32, floats: __m512) -> () => _mm512_storeu_ps(to, floats);
        fn load_part(from: *const f32, count: usize) -> __m512 => _mm512_maskz_loadu_ps(first_of_sixteen(count), from);
        fn store_part(to: *mut f32, floats: __m512, count: usize) -> () => _mm512_mask_storeu_ps(to, first_of_sixteen(count), floats);
        fn min(a: __m512, b: __m512) -> __m512 => _mm512_min_ps(a, b);
        fn max(a: __m512, b: __m512) -> __m512 => _mm512_max_ps(a, b);
        fn add(a: __m512, b: __m512) -> __m512 => _mm512_add_ps(a, b);
        fn multiply(a: __m512, b: __m512) -> __m512 => _mm512_mul_ps(a, b);
        fn divide(a: __m512, b: __m512) -> __m512 => _mm512_div_ps(a, b);
        fn sum(floats: __m512) -> f32 => _mm512_reduce_add_ps(floats);
        fn power_of_two(whole: __m512i) -> __m512 => _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(whole, _mm512_set1_epi32(127))));
        fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 => _mm512_fmadd_ps(a, b, c);
    }
}

/// What all vectors of eight numbers have in common: they are those of AVX2.
macro_rules! eight {
    () => {
        type Whole = __m256i;
        type Float = __m256;
        const WIDTH: usize = 8;

        lanes! {
            fn zeros() -> __m256i => _mm256_setzero_si256();
            fn load_bytes(from: *const u8) -> __m256i => _mm256_loadu_si256(from.cast());
            fn store_bytes(to: *mut u8, bytes: __m256i) -> () => _mm256_storeu_si256(to.cast(), bytes);
            fn spread(weights: *const i8) -> __m256i => _mm256_set1_epi32(weights.cast::<i32>().read_unaligned());
            fn soon(at: *const i8) -> () => _mm_prefetch::<_MM_HINT_T0>(at);
            fn quads(parts: [__m256i; 4]) -> __m256i => _mm256_or_si256(
            _mm256_or_si256(parts[0], _mm256_slli_epi32::<8>(parts[1])),
            _mm256_or_si256(_mm256_slli_epi32::<16>(parts[2]), _mm256_slli_epi32::<24>(parts[3])),
        );
            fn minus(whole: __m256i, number: i32) -> __m256i => _mm256_sub_epi32(whole, _mm256_set1_epi32(number));
            fn floats(whole: __m256i) -> __m256 => _mm256_cvtepi32_ps(whole);
            fn rounded(floats: __m256) -> __m256i => _mm256_cvtps_epi32(floats);
            fn splat(value: f32) -> __m256 => _mm256_set1_ps(value);
            fn load(from: *const f32) -> __m256 => _mm256_loadu_ps(from);
            fn store(to: *mut f32, floats: __m256) -> () => _mm256_storeu_ps(to, floats);
            fn load_part(from: *const f32, count: usize) -> __m256 => _mm256_maskload_ps(from, first_of_eight(count));
            fn store_part(to: *mut f32, floats: __m256, count: usize) -> () => _mm256_maskstore_ps(to, first_of_eight(count), floats);
            fn min(a: __m256, b: __m256) -> __m256 => _mm256_min_ps(a, b);
            fn max(a: __m256, b: __m256) -> __m256 => _mm256_max_ps(a, b);
            fn add(a: __m256, b: __m256) -> __m256 => _mm256_add_ps(a, b);
            fn multiply(a: __m256, b: __m256) -> __m256 => _mm256_mul_ps(a, b);
            fn divide(a: __m256, b: __m256) -> __m256 => _mm256_div_ps(a, b);
            fn sum(floats: __m256) -> f32 => {
                let four = _mm_add_ps(_mm256_castps256_ps128(floats), _mm256_extractf128_ps::<1>(floats));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            };
            fn power_of_two(whole: __m256i) -> __m256 => _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(whole, _mm256_set1_epi32(127))));
            fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 => _mm256_fmadd_ps(a, b, c);
        }
    };
}

/// Eight numbers of AVX2, with AVX-VNNI.
pub(super) struct Vnni256;

// SAFETY: every function does what the trait says, with instructions that whoever calls it knows to be there.
unsafe impl Lanes for Vnni256 {
    const MIDDLE: u8 = 128;
    const LESS: u8 = 0;

    eight!();
    lanes! {
        fn add_products(sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i => _mm256_dpbusd_avx_epi32(sums, bytes, weights);
        fn add_signed_products(sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i => _mm256_dpbusd_avx_epi32(sums, bytes, weights);
        fn without_middle(sums: __m256i, of_weights: __m256i) -> __m256i => _mm256_sub_epi32(sums, _mm256_slli_epi32::<7>(of_weights));
        fn store_lowest(to: *mut u8, whole: __m256i) -> () => _mm_storel_epi64(to.cast(), { let half = halves(whole); _mm_packus_epi16(half, half) });
    }
}

/// Eight numbers of AVX2.
pub(super) struct Avx2;

// SAFETY: every function does what the trait says, with instructions that whoever calls it knows to be there.
unsafe impl Lanes for Avx2 {
    const MIDDLE: u8 = 0;
    const LESS: u8 = 0;

    eight!();
    lanes! {
        fn add_products(sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i => _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, weights), _mm256_set1_epi16(1)));
        fn add_signed_products(sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i => {
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(bytes), _mm256_sign_epi8(weights, bytes));
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        };
        fn without_middle(sums: __m256i, of_weights: __m256i) -> __m256i => { let _ = of_weights; sums };
        fn store_lowest(to: *mut u8, whole: __m256i) -> () => _mm_storel_epi64(to.cast(), { let half = halves(whole); _mm_packs_epi16(half, half) });
    }
}

/// A bit for each of the first `count` numbers of sixteen.
#[inline(always)]
fn first_of_sixteen(count: usize) -> u16 {
    ((1_u32 << count.min(16)) - 1) as u16
}

/// All bits for each of the first `count` numbers of eight.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn first_of_eight(count: usize) -> __m256i {
    // SAFETY: as of this function.
    unsafe {
        _mm256_cmpgt_epi32(
            _mm256_set1_epi32(count.min(8) as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        )
    }
}

/// The eight numbers of a vector in 16 bits.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn halves(whole: __m256i) -> __m128i {
    // SAFETY: as of this function.
    unsafe {
        let low = _mm256_castsi256_si128(whole);
        _mm_packs_epi32(low, _mm256_extracti128_si256::<1>(whole))
    }
}
