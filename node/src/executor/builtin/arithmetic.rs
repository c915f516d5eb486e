//! Sine, logarithm and power out of the four operations, so that every machine gives the same
//! bits; libm's last digit differs between platforms and versions.
//!
//! Good to about 1e-12 in the ranges used here, which is far below one step of a byte.

/// Terms after which nothing changes any more in the ranges below.
const TERMS: u32 = 24;
const LN_2: f64 = std::f64::consts::LN_2;

/// Sine of an angle in turns: 0.25 gives 1.
pub(super) fn sine(turns: f64) -> f64 {
    let mut turn = turns - turns.floor();
    let mut sign = 1.0;
    if turn >= 0.5 {
        turn -= 0.5;
        sign = -1.0;
    }
    if turn > 0.25 {
        turn = 0.5 - turn;
    }
    let x = turn * std::f64::consts::TAU;
    let (mut sum, mut term) = (x, x);
    for n in 1..TERMS {
        let n = f64::from(n);
        term *= -x * x / (2.0 * n * (2.0 * n + 1.0));
        sum += term;
    }
    sign * sum
}

/// Cosine of an angle in turns.
pub(super) fn cosine(turns: f64) -> f64 {
    sine(turns + 0.25)
}

/// `base` to the `exponent`, for a base from 0 to 1 and a positive exponent.
pub(super) fn power(base: f64, exponent: f64) -> f64 {
    match base {
        _ if base <= 0.0 => 0.0,
        _ if base >= 1.0 => 1.0,
        _ => exponential(exponent * logarithm(base)),
    }
}

/// Natural logarithm of a positive number up to 1.
fn logarithm(value: f64) -> f64 {
    let (mut mantissa, mut halvings) = (value, 0.0);
    while mantissa < 0.75 {
        mantissa *= 2.0;
        halvings += 1.0;
    }
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut sum, mut power) = (0.0, ratio);
    for n in 0..TERMS {
        sum += power / f64::from(2 * n + 1);
        power *= ratio * ratio;
    }
    2.0 * sum - halvings * LN_2
}

/// e to a power of zero or less.
fn exponential(value: f64) -> f64 {
    let halvings = (-value / LN_2).floor();
    let rest = value + halvings * LN_2;
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..TERMS {
        term *= rest / f64::from(n);
        sum += term;
    }
    for _ in 0..(halvings.min(1100.0) as u32) {
        sum /= 2.0;
    }
    sum
}

/// A byte from a number, rounded, cut off at both ends.
pub(super) fn byte(value: f64) -> u8 {
    (value + 0.5).clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_libm() {
        for step in -400..400 {
            let turns = f64::from(step) / 137.0;
            let expected = (turns * std::f64::consts::TAU).sin();
            assert!((sine(turns) - expected).abs() < 1e-11, "{turns}");
        }
        for step in 0..=255 {
            let base = f64::from(step) / 255.0;
            for exponent in [0.1, 0.45, 1.0, 2.2, 10.0] {
                let difference = (power(base, exponent) - base.powf(exponent)).abs();
                assert!(difference < 1e-11, "{base} {exponent} {difference}");
            }
        }
    }
}
