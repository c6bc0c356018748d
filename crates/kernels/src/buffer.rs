//! Vectors that a kernel is about to overwrite.

/// `n` numbers that mean nothing yet. Setting a result to zero before it is computed costs as much
/// as many a loop that computes it.
///
/// With debug assertions they are NaN, so that a kernel which reads them is found out.
pub fn buffer(n: usize) -> Vec<f32> {
    let mut values = Vec::<f32>::with_capacity(n);
    #[cfg(all(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(debug_assertions),
        not(miri)
    ))]
    // SAFETY: there is room for `n`. The empty assembly has the pointer, so for the compiler it may
    // have written all of them; any bits are an f32.
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) values.as_mut_ptr(), options(nostack, preserves_flags));
        values.set_len(n);
    }
    #[cfg(not(all(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(debug_assertions),
        not(miri)
    )))]
    values.resize(n, f32::NAN);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_vectors_to_be_written() {
        for n in [0, 1, 1 << 20] {
            let mut values = buffer(n);
            assert_eq!(values.len(), n);
            values.fill(1.0);
            values.push(2.0);
            assert!(values[..n].iter().all(|&x| x == 1.0));
        }
    }
}
