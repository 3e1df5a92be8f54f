//! Candles: a random walk with a volatility of its own.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::Distribution;

use super::normal;

/// 2017-01-01T00:00:00Z.
const FIRST_MINUTE: i64 = 1_483_228_800;
/// 2024-01-01T00:00:00Z: no row is later, for times ahead of the clock are rejects; more rows begin earlier.
const LAST_MINUTE: i64 = 1_704_067_200;
/// Trades inside a minute that shape its candle.
const STEPS_PER_MINUTE: u32 = 8;

/// Writes 1-minute candles `Timestamp,Open,High,Low,Close,Volume`: a random walk whose log-volatility is an AR(1) process
/// (Taylor 1986), with lognormal volume that rises with the volatility. High ≥ max(Open, Close), Low ≤ min(Open, Close).
/// The same seed gives the same bytes.
pub fn write_bitcoin(path: &Path, rows: u64, seed: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (walk, shock, noise) = (normal(1.0)?, normal(0.05)?, normal(0.6)?);
    let (mut price, mut log_volatility) = (20_000.0_f64, 0.0_f64);
    writeln!(out, "Timestamp,Open,High,Low,Close,Volume")?;
    let minutes = i64::try_from(rows).map_err(io::Error::other)?;
    let first = FIRST_MINUTE.min(LAST_MINUTE - 60 * minutes);
    for minute in 0..minutes {
        log_volatility = 0.98 * log_volatility + shock.sample(&mut rng);
        let step = 0.000_25 * log_volatility.exp();
        let open = price;
        let (mut high, mut low) = (open, open);
        for _ in 0..STEPS_PER_MINUTE {
            price *= 1.0 + step * walk.sample(&mut rng);
            high = high.max(price);
            low = low.min(price);
        }
        // The price is drawn back to where it began, so that millions of minutes stay in a believable range.
        price *= 1.0 - 1e-6 * (price / 20_000.0).ln();
        let close = price.clamp(low, high);
        let volume = (3.0 + log_volatility + noise.sample(&mut rng)).exp();
        let timestamp = first + 60 * minute;
        writeln!(out, "{timestamp},{open:.1},{high:.1},{low:.1},{close:.1},{volume:.3}")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_are_whole_and_repeatable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write_bitcoin(&path, 2000, 7).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        write_bitcoin(&path, 2000, 7).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        let mut closes = Vec::new();
        for line in first.lines().skip(1) {
            let v: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
            assert!(v[2] >= v[1].max(v[4]) && v[3] <= v[1].min(v[4]) && v[5] > 0.0, "{line}");
            closes.push(v[4]);
        }
        assert_eq!(closes.len(), 2000);
    }
}
