//! Flushing denormal numbers to zero for the length of a scope.
//!
//! A decaying filter or network state otherwise ends in numbers on which processors are a hundred times slower. It is
//! done for every step of the worker, on whatever thread, so that threaded and offline results are the same.

/// While it lives, this thread flushes denormal results and reads denormal operands as zero.
#[derive(Debug)]
pub struct FlushDenormals {
    saved: u64,
    /// The register belongs to the thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// Flush-to-zero and denormals-are-zero of MXCSR (Intel SDM vol. 1, 10.2.3.3 and 10.2.3.4).
#[cfg(target_arch = "x86_64")]
const FLUSH_BITS: u64 = 1 << 15 | 1 << 6;
/// FZ of FPCR (Arm ARM, C5.2.8).
#[cfg(target_arch = "aarch64")]
const FLUSH_BITS: u64 = 1 << 24;

impl FlushDenormals {
    /// Switches flushing on.
    ///
    /// Real-time: yes.
    #[must_use]
    pub fn scope() -> Self {
        let saved = read_register();
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        write_register(saved | FLUSH_BITS);
        Self {
            saved,
            _not_send: std::marker::PhantomData,
        }
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        write_register(self.saved);
    }
}

#[cfg(target_arch = "x86_64")]
fn read_register() -> u64 {
    let mut value = 0u32;
    // SAFETY: stores the 32-bit control register to `value`, which lives on this stack.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags))
    };
    u64::from(value)
}

#[cfg(target_arch = "x86_64")]
fn write_register(value: u64) {
    let value = value as u32;
    // SAFETY: `value` was read from the register, with only the two flush bits changed; exceptions stay masked.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags))
    };
}

#[cfg(target_arch = "aarch64")]
fn read_register() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags))
    };
    value
}

#[cfg(target_arch = "aarch64")]
fn write_register(value: u64) {
    // SAFETY: `value` was read from the register, with only the flush bit changed.
    unsafe {
        std::arch::asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack, preserves_flags))
    };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read_register() -> u64 {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn write_register(_value: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn denormals_are_flushed_inside_the_scope_only() {
        let tiny = std::hint::black_box(f32::MIN_POSITIVE);
        assert!(std::hint::black_box(tiny * 0.5) > 0.0);
        {
            let _scope = FlushDenormals::scope();
            assert_eq!(
                std::hint::black_box(std::hint::black_box(tiny) * 0.5).to_bits(),
                0
            );
        }
        assert!(std::hint::black_box(std::hint::black_box(tiny) * 0.5) > 0.0);
    }
}
