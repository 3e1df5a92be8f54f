//! Sales of houses with the columns of a public register of prices paid, quoted commas included. The price follows the
//! county, the town, the kind of house, whether it is new and freehold, and the year: so a model has something to find.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Distribution;

use super::normal;
use super::words::{count, field, nth};

const HEADER: &str = "Price,Date,Property Type,Old/New,Duration,Town/City,District,County,PPD category,Record status";
const FIRST_YEAR: u64 = 1995;
const YEARS: u64 = 29;
/// What no column tells, as a share of the price.
const NOISE: f64 = 0.15;

/// County; what it adds to the logarithm of a price; its towns, the dearest first.
const COUNTIES: &[(&str, f64, &str)] = &[
    ("GREATER ALDERTON", 0.7, "ALDERTON|WEST ALDERTON|HIGHMARSH"),
    ("NORTH SALTERSHIRE", -0.35, "SALTERBY|COLDWICK|ROOKSEA"),
    ("CITY OF THORNMOUTH", 0.1, "THORNMOUTH"),
    ("EAST BRAMSHIRE", 0.3, "BRAMFORD|LITTLE BRAM|OVERCOMBE"),
    ("WELLOWSHIRE", 0.0, "WELLOW|DUNSBRIDGE|FENNY LYDE|MARLCOTE"),
    ("ISLE OF SKERRY", -0.15, "SKERRY HAVEN|PORT ENNOR"),
];
/// D, S, T, F, O: detached, semi-detached, terraced, flat, other; with what each adds, and how often it is sold.
const TYPES: [(&str, f64, f64); 5] =
    [("D", 0.5, 0.23), ("S", 0.1, 0.27), ("T", -0.15, 0.28), ("F", -0.3, 0.19), ("O", 0.2, 0.03)];

/// Writes `rows` lines in the order of their dates; the same seed gives the same bytes.
pub fn write_houses(path: &Path, rows: u64, seed: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    writeln!(out, "{HEADER}")?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let noise = normal(NOISE)?;
    for row in 0..rows {
        // Twelve months of 28 days each: every such date is one.
        let days = YEARS * 12 * 28;
        #[allow(clippy::cast_possible_truncation)] // Below the number of days.
        let day = (u128::from(row) * u128::from(days) / u128::from(rows)) as u64;
        let year = FIRST_YEAR + day / (12 * 28);
        let date = format!("{year}-{:02}-{:02} 00:00", day / 28 % 12 + 1, day % 28 + 1);
        let (county, county_effect, towns) = COUNTIES[rng.random_range(0..COUNTIES.len())];
        let town_index = rng.random_range(0..count(towns));
        let town = nth(towns, town_index);
        // A comma stands in the name of every second district.
        let district = match town_index % 2 {
            0 => format!("{town}, BOROUGH OF"),
            _ => format!("{county} RURAL"),
        };
        let (kind, kind_effect) = kind(rng.random());
        let new = rng.random_range(0..10) == 0;
        let freehold = if kind == "F" { rng.random_range(0..20) == 0 } else { rng.random_range(0..10) > 0 };
        let additional = rng.random_range(0..12) == 0;
        let log_price = 11.2 + county_effect - 0.12 * town_index as f64
            + kind_effect
            + if new { 0.12 } else { 0.0 }
            + if freehold { 0.08 } else { 0.0 }
            - if additional { 0.05 } else { 0.0 }
            + 0.045 * (year - FIRST_YEAR) as f64
            + noise.sample(&mut rng);
        let price = (log_price.exp() / 250.0).round() * 250.0;
        let fields = [
            format!("{price:.0}"),
            date,
            kind.to_owned(),
            if new { "Y" } else { "N" }.to_owned(),
            if freehold { "F" } else { "L" }.to_owned(),
            town.to_owned(),
            district,
            county.to_owned(),
            if additional { "B" } else { "A" }.to_owned(),
            // Nearly all records are additions; a few are changes.
            if rng.random_range(0..50) == 0 { "C" } else { "A" }.to_owned(),
        ];
        let fields: Vec<String> = fields.iter().map(|text| field(text, ',')).collect();
        writeln!(out, "{}", fields.join(","))?;
    }
    out.flush()
}

/// The type of house for a draw from 0 to 1.
fn kind(mut draw: f64) -> (&'static str, f64) {
    for (kind, effect, share) in TYPES {
        if draw < share {
            return (kind, effect);
        }
        draw -= share;
    }
    (TYPES[0].0, TYPES[0].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sales_are_repeatable_dated_in_order_and_priced_by_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write_houses(&path, 4000, 7).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        write_houses(&path, 4000, 7).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(text.lines().count(), 4001);
        assert!(text.contains("\"ALDERTON, BOROUGH OF\""), "a district holds a comma");
        let mut before = String::new();
        let mut sums = [(0.0, 0.0); 2];
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            assert!(fields[1] >= before.as_str() && fields[1] < "2024-01-01", "{line}");
            before = fields[1].to_owned();
            let price: f64 = fields[0].parse().unwrap();
            if let Some(of) = ["D", "F"].iter().position(|kind| *kind == fields[2]) {
                sums[of].0 += price;
                sums[of].1 += 1.0;
            }
        }
        let [detached, flats] = sums.map(|(sum, count)| sum / count);
        assert!(detached > 1.5 * flats, "{detached} and {flats}");
    }
}
