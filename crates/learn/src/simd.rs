//! Two compilations of one inner loop: for CPUs with AVX2 and FMA, and for the others.
//!
//! The loops stay plain code over fixed arrays, which the compiler turns into vector instructions; only the call of the
//! wide version needs `unsafe`, because it is this program and not the compiler that has looked at the CPU.

/// Whether the fallback should fuse multiplication and addition too: every 64-bit Arm has the instruction, elsewhere it
/// would be a library call.
pub(crate) const FUSED: bool = cfg!(target_arch = "aarch64");

/// a·b + c, in one rounding where FUSED.
#[inline(always)]
pub(crate) fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Makes of `$generic::<FUSED>` a function of the same arguments which uses AVX2 and FMA where the CPU has them. Both
/// give the same to rounding.
macro_rules! compiled_twice {
    ($(#[$meta:meta])* $vis:vis $name:ident, $generic:ident, ($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)?) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $output)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $type),*) $(-> $output)? {
                    $generic::<true>($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: `wide` needs these two features and nothing else, and they have just been found.
                    #[allow(unsafe_code)]
                    return unsafe { wide($($arg),*) };
                }
            }
            $generic::<{ $crate::simd::FUSED }>($($arg),*)
        }
    };
}
pub(crate) use compiled_twice;
