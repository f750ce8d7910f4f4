//! Arrays as vectors of the processor, and back.

use std::arch::x86_64::{__m256, __m256i, __m512, __m512i};

/// The same bytes as another type.
pub(super) trait As<T> {
    /// Loads or stores, as it comes.
    fn cast(self) -> T;
}

/// What may be taken for what: types that consist of numbers alone, of one size.
macro_rules! cast {
    ($($from:ty => $to:ty),+ $(,)?) => {$(
        impl As<$to> for $from {
            #[inline(always)]
            fn cast(self) -> $to {
                #[allow(unsafe_code, reason = "vectors are made of arrays by their bytes")]
                // SAFETY: both are plain numbers of one size, as the compiler checks; each bit pattern is valid.
                unsafe { std::mem::transmute(self) }
            }
        }
    )+};
}

cast! {
    [u8; 64] => __m512,
    [u8; 64] => __m512i,
    [u8; 64] => [__m256; 2],
    [u8; 64] => [__m256i; 2],
    __m512 => [f32; 16],
    [__m256; 2] => [f32; 16],
}
