//! Small arithmetic shared by the algorithms: sums and products of blocks in one fixed order, and checked casts.

/// Σ aᵢ·bᵢ with eight partial sums, so that the compiler can use wide registers; the order is fixed.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a_wide, a_rest) = a.as_chunks::<8>();
    let (b_wide, b_rest) = b.as_chunks::<8>();
    for (x, y) in a_wide.iter().zip(b_wide) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    fold_lanes(lanes) + rest
}

/// Σ aᵢ, as [`dot`].
pub(crate) fn sum(a: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (wide, rest) = a.as_chunks::<8>();
    for x in wide {
        for lane in 0..8 {
            lanes[lane] += x[lane];
        }
    }
    fold_lanes(lanes) + rest.iter().sum::<f64>()
}

fn fold_lanes(lanes: [f64; 8]) -> f64 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// y += a·x.
pub(crate) fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// The largest absolute value, 0 for none.
pub(crate) fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// eˣ for x ≤ 0, at least 1 ulp-ish exact, without a branch or a library call, so that loops over it vectorise and every
/// platform gives the same bits. x below −708 gives e⁻⁷⁰⁸, which is 0 for every sum made of it.
///
/// Cody–Waite reduction x = k·ln 2 + r with |r| ≤ ln 2 / 2, then a Taylor polynomial of degree 13 in r.
#[inline(always)]
pub(crate) fn exp_nonpositive(x: f64) -> f64 {
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Adding 1.5·2⁵² rounds to an integer, which then stands in the low bits of the sum.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let x = if x < -708.0 { -708.0 } else { x };
    let shifted = x * LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let mut p = 1.0 / 6_227_020_800.0;
    for factorial in
        [479_001_600.0, 39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0]
    {
        p = p * r + 1.0 / factorial;
    }
    let exponent = shifted.to_bits().wrapping_add(1023) << 52;
    p * f64::from_bits(exponent)
}

/// The probabilities of classes 0 and 1 by the score of class 1, each from its own side, so that a small one keeps its
/// digits.
pub(crate) fn sigmoids(score: f64) -> [f64; 2] {
    [1.0 / (1.0 + score.exp()), 1.0 / (1.0 + (-score).exp())]
}

/// Makes the scores of a row's classes their probabilities.
pub(crate) fn softmax(row: &mut [f64]) {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|score| *score = (*score - top).exp());
    let total: f64 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= total);
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection whose output bits all depend on all input bits.
#[inline(always)]
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Value `index` of the random stream `key`.
#[inline(always)]
pub(crate) fn random(key: u64, index: u64) -> u64 {
    mix(key.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// As [`random`], from 0 up to but not 1.
#[inline(always)]
pub(crate) fn uniform(key: u64, index: u64) -> f64 {
    (random(key, index) >> 11) as f64 / (1u64 << 53) as f64
}

/// A number below `n` from 64 random bits.
#[expect(clippy::cast_possible_truncation, reason = "the high half of a product with n is below n")]
pub(crate) fn below(bits: u64, n: usize) -> usize {
    ((u128::from(bits) * n as u128) >> 64) as usize
}

/// A row number as u32. Every algorithm which stores row numbers refuses more rows than that first.
#[expect(clippy::cast_possible_truncation, reason = "callers limit rows, nodes and columns below 2³²")]
pub(crate) fn index_u32(index: usize) -> u32 {
    debug_assert!(u32::try_from(index).is_ok());
    index as u32
}

/// A value already known to lie in 0..=255.
#[expect(clippy::cast_possible_truncation, reason = "callers keep bins below 256")]
pub(crate) fn index_u8(index: usize) -> u8 {
    debug_assert!(u8::try_from(index).is_ok());
    index as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exp_is_exact_to_a_few_ulps(x in -700.0f64..0.0) {
            let expected = x.exp();
            prop_assert!((exp_nonpositive(x) - expected).abs() <= 1e-15 * expected);
        }

        #[test]
        fn dot_and_sum_agree_with_the_plain_loop(values in prop::collection::vec(-1e3f64..1e3, 0..100)) {
            let plain: f64 = values.iter().map(|x| x * x).sum();
            prop_assert!((dot(&values, &values) - plain).abs() <= 1e-12 * plain.max(1.0));
            let plain: f64 = values.iter().sum();
            prop_assert!((sum(&values) - plain).abs() <= 1e-9);
        }
    }

    #[test]
    fn exp_ends_where_the_exponent_does() {
        assert_eq!(exp_nonpositive(0.0), 1.0);
        assert!(exp_nonpositive(-1e300) < 1e-300);
        assert!(exp_nonpositive(f64::NEG_INFINITY) < 1e-300);
    }
}
