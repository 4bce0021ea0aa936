//! Vector arithmetic chosen at run time: one body, compiled for AVX-512, for AVX2 with FMA, and
//! for the baseline of the target.
//!
//! The bodies are plain loops over chunks of [`LANES`], which the compiler turns into vector
//! instructions of whatever width the clone may use.

/// Width of the chunks that loops are written in: two AVX-512 registers.
pub(crate) const LANES: usize = 32;

/// Defines a function that runs `body::<FMA>` compiled for the best instruction set at hand.
///
/// `FMA` says whether `f32::mul_add` is one instruction; where it is not it would be a library
/// call, so [`mul_add`] falls back to a product and a sum.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "kernels take their operands one by one")]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                match $crate::kernels::simd::level() {
                    // SAFETY: `level` found these features on this processor.
                    $crate::kernels::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernels::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::simd::Level::Portable => {}
                }
            }
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use multiversion;

/// Instruction set that a kernel runs with.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Avx512,
    Avx2,
    Portable,
}

/// The best instruction set of this processor.
#[cfg(target_arch = "x86_64")]
pub(crate) fn level() -> Level {
    use std::arch::is_x86_feature_detected as has;
    if has!("avx512f") && has!("avx512vl") && has!("avx512dq") && has!("avx512bw") && has!("fma") {
        Level::Avx512
    } else if has!("avx2") && has!("fma") {
        Level::Avx2
    } else {
        Level::Portable
    }
}

/// `a b + c`, fused where the hardware does that.
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Below this, [`exp`] returns `e^-87`, about `1.6e-38`, so that no result is subnormal.
const EXP_MIN: f32 = -87.0;
/// Above this, [`exp`] returns `e^88.3`, about `2.2e38`, so that no result is infinite.
const EXP_MAX: f32 = 88.3;

/// `e^x` with a relative error below `2.5e-7` on `[-87, 88.3]`, constant outside, NaN for NaN.
///
/// `e^x = 2^n e^r` with `n = round(x / ln 2)`, and a polynomial for `e^r` on `|r| <= ln(2)/2`
/// (coefficients of Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Comparisons in this direction let NaN through; `f32::clamp` does so too, but costs more.
    let x = if x < EXP_MIN { EXP_MIN } else { x };
    let x = if x > EXP_MAX { EXP_MAX } else { x };
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN2_HIGH, x);
    let r = mul_add::<FMA>(n, -LN2_LOW, r);
    let mut p = 1.987_569_1e-4;
    p = mul_add::<FMA>(p, r, 1.398_199_9e-3);
    p = mul_add::<FMA>(p, r, 8.333_452e-3);
    p = mul_add::<FMA>(p, r, 4.166_579_6e-2);
    p = mul_add::<FMA>(p, r, 1.666_666_5e-1);
    p = mul_add::<FMA>(p, r, 0.5);
    let e_r = mul_add::<FMA>(p * r, r, r) + 1.0;
    // The low bits of `shifted` are n; moved into the exponent field they multiply by 2^n.
    let two_n = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    e_r * f32::from_bits(two_n)
}

/// Sum of a row.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    fold(&lanes, add) + plain_sum(rest)
}

/// Inner product of two rows of one length.
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y.as_chunks::<LANES>();
    for (a, b) in xs.iter().zip(ys) {
        for i in 0..LANES {
            lanes[i] = mul_add::<FMA>(a[i], b[i], lanes[i]);
        }
    }
    let mut total = fold(&lanes, add);
    for (a, b) in x_rest.iter().zip(y_rest) {
        total = mul_add::<FMA>(*a, *b, total);
    }
    total
}

/// Largest element of a row; `-inf` for an empty one. NaN is passed over.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    rest.iter().fold(fold(&lanes, larger), |top, &v| larger(top, v))
}

/// Replaces `x` by `exp(scale (x - shift))` and returns the sum of that.
#[inline(always)]
pub(crate) fn exp_sum<const FMA: bool>(x: &mut [f32], shift: f32, scale: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            let e = exp::<FMA>((chunk[i] - shift) * scale);
            chunk[i] = e;
            lanes[i] += e;
        }
    }
    let mut total = fold(&lanes, add);
    for v in rest {
        *v = exp::<FMA>((*v - shift) * scale);
        total += *v;
    }
    total
}

/// Combines the lanes by halves; since the widths are known at compile time, this is a handful of vector
/// instructions.
#[inline(always)]
pub(crate) fn fold(lanes: &[f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let a: [f32; 16] = std::array::from_fn(|i| combine(lanes[i], lanes[i + 16]));
    let a: [f32; 8] = std::array::from_fn(|i| combine(a[i], a[i + 8]));
    let a: [f32; 4] = std::array::from_fn(|i| combine(a[i], a[i + 4]));
    combine(combine(a[0], a[2]), combine(a[1], a[3]))
}

#[inline(always)]
fn add(a: f32, b: f32) -> f32 {
    a + b
}

#[inline(always)]
fn plain_sum(x: &[f32]) -> f32 {
    let mut total = 0.0;
    for v in x {
        total += v;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst_relative_error<const FMA: bool>() -> f64 {
        let steps = 2_000_000;
        (0..=steps)
            .map(|i| -87.0 + 175.3 * f64::from(i) / f64::from(steps))
            .map(|x| {
                let x = x as f32;
                let exact = f64::from(x).exp();
                ((f64::from(exp::<FMA>(x)) - exact) / exact).abs()
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_keeps_its_error_bound() {
        assert!(worst_relative_error::<true>() < 2.5e-7, "{}", worst_relative_error::<true>());
        assert!(worst_relative_error::<false>() < 2.5e-7, "{}", worst_relative_error::<false>());
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        assert!((0.0..2e-38).contains(&exp::<true>(f32::NEG_INFINITY)));
        assert!(exp::<true>(f32::INFINITY).is_finite());
        assert!(exp::<true>(f32::NAN).is_nan());
        assert!((exp::<true>(0.0) - 1.0).abs() < f32::EPSILON);
    }

    #[test]
    fn reductions_cover_chunks_and_remainder() {
        for n in [0usize, 1, 31, 32, 33, 64, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let triangle = (n * n.saturating_sub(1) / 2) as f32;
            assert!((sum(&x) - triangle).abs() < 1e-3);
            let ones = vec![1.0; n];
            assert!((dot::<true>(&x, &ones) - triangle).abs() < 1e-3);
            assert!((dot::<false>(&x, &ones) - triangle).abs() < 1e-3);
            let expected = if n == 0 { f32::NEG_INFINITY } else { (n - 1) as f32 };
            assert!(max(&x).total_cmp(&expected).is_eq());
        }
    }
}
