//! How likely a statistic is as large as it is, or larger.

use std::f64::consts::PI;

/// Of Kolmogorov's distribution: 2 Σₖ (−1)ᵏ⁻¹ exp(−2k²x²), and for small x, where that converges slowly, the same as a theta function of
/// 1/x (Marsaglia, Tsang and Wang 2003).
pub(super) fn kolmogorov_tail(x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let tail = if x < 1.0 {
        let term = |k: f64| (-(2.0 * k - 1.0).powi(2) * PI * PI / (8.0 * x * x)).exp();
        1.0 - (2.0 * PI).sqrt() / x * (1..=8).map(|k| term(f64::from(k))).sum::<f64>()
    } else {
        let term = |k: i32| f64::from(k % 2 * 2 - 1) * (-2.0 * f64::from(k * k) * x * x).exp();
        2.0 * (1..=8).map(term).sum::<f64>()
    };
    tail.clamp(0.0, 1.0)
}

/// Of the chi-squared distribution: the regularised upper incomplete gamma function Q(freedom/2, x/2).
pub(super) fn chi_squared_tail(x: f64, freedom: usize) -> f64 {
    let (a, x) = (freedom as f64 / 2.0, x / 2.0);
    if x <= 0.0 {
        return 1.0;
    }
    // xᵃ e⁻ˣ / Γ(a)
    let front = (a * x.ln() - x - ln_gamma_of_halves(freedom)).exp();
    let tail = if x < a + 1.0 { 1.0 - front * lower_series(a, x) } else { front * upper_fraction(a, x) };
    tail.clamp(0.0, 1.0)
}

const STEPS_MOST: u32 = 10_000;

/// Σₙ xⁿ / (a (a+1) … (a+n)).
fn lower_series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    for n in 1..STEPS_MOST {
        term *= x / (a + f64::from(n));
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    sum
}

/// Γ(a, x) eˣ x⁻ᵃ as a continued fraction, from its front (Lentz 1976).
fn upper_fraction(a: f64, x: f64) -> f64 {
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (f64::MAX, 1.0 / b);
    let mut fraction = d;
    for i in 1..STEPS_MOST {
        let i = f64::from(i);
        let numerator = i * (a - i);
        b += 2.0;
        let kept_from_zero = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
        d = 1.0 / kept_from_zero(numerator * d + b);
        c = kept_from_zero(b + numerator / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    fraction
}

/// ln Γ(freedom/2), from Γ(1/2) = √π or Γ(1) = 1 upwards.
fn ln_gamma_of_halves(freedom: usize) -> f64 {
    let (start, begun) = if freedom % 2 == 1 { (0.5, PI.sqrt().ln()) } else { (1.0, 0.0) };
    let steps = (freedom.saturating_sub(1)) / 2;
    (0..steps).fold(begun, |sum, step| sum + (start + step as f64).ln())
}

/// The x whose tail is `tail`, between 0 and 1.
pub(super) fn chi_squared_quantile(tail: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while chi_squared_tail(high, freedom) > tail {
        (low, high) = (high, high * 2.0);
    }
    // To the last bit.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        (low, high) = if chi_squared_tail(middle, freedom) > tail { (middle, high) } else { (low, middle) };
    }
    high
}
