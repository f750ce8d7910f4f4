//! Loops that run with AVX-512 where the processor has it, or else with AVX2.

/// Runs a function compiled for AVX-512 if the processor has it, else for AVX2 and FMA, else as it comes. What it calls
/// is compiled with it as far as it is inlined. Each gives the same numbers: no sum is taken in another sequence, and
/// nothing is fused.
macro_rules! widest {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
                fn widest($($arg: $type),*) $(-> $out)? $body

                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $type),*) $(-> $out)? $body

                let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                if has_avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                    // SAFETY: the processor has all of them, as was just looked at.
                    #[allow(unsafe_code, reason = "a function for a processor that has these instructions")]
                    return unsafe { widest($($arg),*) };
                }
                if has_avx2 {
                    // SAFETY: the processor has both, as was just looked at.
                    #[allow(unsafe_code, reason = "a function for a processor that has these instructions")]
                    return unsafe { wide($($arg),*) };
                }
            }
            $body
        }
    };
}
pub(crate) use widest;

/// The sum of products, in eight lanes.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum()
}

/// Adds a multiple of `b` to `a`.
#[inline(always)]
pub(crate) fn add_scaled(a: &mut [f32], factor: f32, b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += factor * b;
    }
}
