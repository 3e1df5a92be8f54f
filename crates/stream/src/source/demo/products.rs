//! A listing of products with the dirt of a real one: prices as `₹1,39,900`, discounts as `64%`, counts as `24,269`, a bar
//! where a rating should be, blank counts, and products that are listed twice with other buyers.
//!
//! Three kinds of products are planted: cheap and bought by many, of middle price and well liked, dear and known to few.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Distribution;

use super::normal;
use super::words::{count, field, lakhs, nth, pick, pick_some, thousands};

const HEADER: &str = "product_id,product_name,category,discounted_price,actual_price,discount_percentage,rating,rating_count,\
                      about_product,user_id,user_name,review_id,review_title,review_content,img_link,product_link";
/// One row in so many shows a product again.
const ROWS_PER_REPEAT: u64 = 13;
/// The first rows are products of their own, among them those whose fields are odd.
const ROWS_WITHOUT_REPEAT: u64 = 20;
const DEAREST_ROW: u64 = 4;
const BAR_ROW: u64 = 8;
const BLANK_ROWS: [u64; 2] = [11, 17];
const FIRST_PLAIN_ROW: u64 = 18;

/// What is sold under one path of categories.
struct Shelf {
    path: &'static str,
    /// Nouns, without the brand.
    things: &'static str,
    /// What sets one apart from another.
    traits: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cheap,
    Middle,
    Dear,
}

const SHELVES: &[Shelf] = &[
    Shelf {
        path: "Computers&Accessories|Accessories&Peripherals|Cables&Accessories|Cables|USBCables",
        things: "USB-C Charging Cable|Braided Data Cable|Flat Charging Cable|Right-Angle USB Cable",
        traits: "woven sleeve|3 A fast charging|tangle-free|480 Mbit/s transfer|bends ten thousand times|1.5 metres long",
        kind: Kind::Cheap,
    },
    Shelf {
        path: "Computers&Accessories|Accessories&Peripherals|Keyboards,Mice&InputDevices|Mice",
        things: "Wireless Mouse|Silent Mouse|Ergonomic Mouse",
        traits: "quiet buttons|a year on one battery|2.4 GHz receiver|for the left hand too|glides on glass",
        kind: Kind::Cheap,
    },
    Shelf {
        path: "Computers&Accessories|NetworkingDevices|Routers",
        things: "Dual-Band Router|Mesh Router|Travel Router",
        traits: "four antennas|reaches through two walls|parental timer|gigabit ports|set up by phone",
        kind: Kind::Middle,
    },
    Shelf {
        path: "Computers&Accessories|Laptops|TraditionalLaptops",
        things: "14-inch Laptop|Workstation Laptop",
        traits: "16 GB of memory|matte screen|ten hours unplugged|metal lid|lit keys",
        kind: Kind::Dear,
    },
    Shelf {
        path: "Electronics|Headphones,Earbuds&Accessories|Headphones|In-Ear",
        things: "Wired Earphones|Bluetooth Neckband|True Wireless Earbuds",
        traits: "deep bass|inline microphone|thirty hours with the case|sweat-proof|soft tips in three sizes",
        kind: Kind::Cheap,
    },
    Shelf {
        path: "Electronics|WearableTechnology|SmartWatches",
        things: "Smart Watch|Fitness Band|Calling Watch",
        traits: "counts steps and sleep|bright round dial|a week on one charge|pulse at the wrist|swim-proof",
        kind: Kind::Middle,
    },
    Shelf {
        path: "Electronics|HomeTheater,TV&Video|Televisions|SmartTelevisions",
        things: "43-inch Smart Television|55-inch 4K Television|65-inch OLED Television",
        traits: "thin frame|three HDMI ports|wide viewing angle|voice remote|quiet speakers replaced by loud ones",
        kind: Kind::Dear,
    },
    Shelf {
        path: "Electronics|Cameras&Photography|Accessories|Tripods&Monopods",
        things: "Phone Tripod|Ring Light Stand|Travel Monopod",
        traits: "folds to a hand's length|ball head|aluminium legs|remote shutter|rubber feet",
        kind: Kind::Cheap,
    },
    Shelf {
        path: "Home&Kitchen|Kitchen&HomeAppliances|SmallKitchenAppliances|Kettles&HotWaterDispensers|ElectricKettles",
        things: "Electric Kettle|Glass Kettle|Travel Kettle",
        traits: "boils a litre in four minutes|switches itself off|cool outside|steel inside|wide mouth",
        kind: Kind::Middle,
    },
    Shelf {
        path: "Home&Kitchen|Heating,Cooling&AirQuality|RoomHeaters|FanHeaters",
        things: "Fan Heater|Quartz Heater|Ceramic Heater",
        traits: "two heat settings|tips over safely|quiet fan|warms a small room|carrying handle",
        kind: Kind::Middle,
    },
    Shelf {
        path: "Home&Kitchen|Kitchen&HomeAppliances|LargeAppliances|WashingMachines",
        things: "Front-Load Washing Machine|Top-Load Washing Machine",
        traits: "quick wash in 15 minutes|steam|child lock|takes 8 kg|quiet motor",
        kind: Kind::Dear,
    },
    Shelf {
        path: "OfficeProducts|OfficePaperProducts|Paper|Stationery|Pens,Pencils&WritingSupplies|Pens",
        things: "Gel Pens, Pack of 10|Fine Liners, Set of 6|Ball Pens, Box of 20",
        traits: "dry at once|0.5 mm tip|waterproof ink|soft grip|six colours",
        kind: Kind::Cheap,
    },
    Shelf {
        path: "MusicalInstruments|Microphones|Condenser",
        things: "Condenser Microphone|Desk Microphone",
        traits: "heart-shaped pattern|no driver needed|pop filter|mute at a touch|shock mount",
        kind: Kind::Middle,
    },
    Shelf {
        path: "Toys&Games|Arts&Crafts",
        things: "Drawing Set|Origami Paper, 200 Sheets",
        traits: "washable|made for small hands|bright colours|in a tin|with a booklet of ideas",
        kind: Kind::Cheap,
    },
];
const BRANDS: &str = "Almora|Brightwell|Corvanta|Duskline|Elvarra|Fernhill|Galdora|Halcyn|Ivoro|Jaspero|Kestrin|Lumira";
const SERIES: &str = "Aero|Bold|Core|Dash|Edge|Flow|Glide|Halo|Ion|Jade|Kite|Luxe|Mono|Nova|Onyx|Pulse";
const COLOURS: &str = "Black|White|Grey|Blue|Red|Green";
const NAMES: &str = "Asha|Bimal|Chitra|Dev|Esha|Farid|Gita|Hari|Indu|Jai|Kiran|Lata|Mohan|Nila|Om|Priya|Ravi|Sita";
const PRAISE: &str =
    "Does what it says|Worth the price|Better than my old one|Good for daily use|Came on time|Well made";
const DOUBTS: &str = "Stopped after a month|The box was dented|Smaller than it looks|Could be cheaper|Fine, not great";

/// Writes `rows` lines; the same seed gives the same bytes. Of a product that comes again the identifier, name, category and
/// prices stay, the count of ratings has grown, and the buyers are others.
pub fn write_products(path: &Path, rows: u64, seed: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    writeln!(out, "{HEADER}")?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for row in 0..rows {
        let repeats = row >= ROWS_WITHOUT_REPEAT && rng.random_range(0..ROWS_PER_REPEAT) == 0;
        let product = match repeats {
            true => {
                let of = rng.random_range(FIRST_PLAIN_ROW..row);
                // A row that was a repeat itself stands for the product that it would have been.
                let again = product(of, seed)?;
                Product { count: again.count.map(|count| count + count / 50 + 1), ..again }
            }
            false => product(row, seed)?,
        };
        write_row(&mut out, &product, &mut rng)?;
    }
    out.flush()
}

struct Product {
    index: u64,
    name: String,
    category: &'static str,
    about: String,
    price: u64,
    actual_price: u64,
    /// A bar where it is `None`.
    rating: Option<f64>,
    count: Option<u64>,
}

/// Of the row's number alone, so that it can come again without being kept.
fn product(index: u64, seed: u64) -> io::Result<Product> {
    // Each has a stream of its own.
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7072);
    rng.set_stream(index);
    let of_shelf = |kind: Option<Kind>| SHELVES.iter().filter(move |shelf| kind.is_none_or(|kind| kind == shelf.kind));
    // What is cheap is listed most.
    let kind = [Kind::Cheap, Kind::Cheap, Kind::Cheap, Kind::Middle, Kind::Middle, Kind::Dear][rng.random_range(0..6)];
    let kind = if index == DEAREST_ROW { Kind::Dear } else { kind };
    let at = rng.random_range(0..of_shelf(Some(kind)).count());
    let shelf = of_shelf(Some(kind)).nth(at).unwrap_or(&SHELVES[0]);
    // Natural logarithms of rupees and of counts, and stars.
    let (log_price, log_count, stars) = match kind {
        Kind::Cheap => (5.7, 9.0, 3.9),
        Kind::Middle => (7.6, 7.2, 4.3),
        Kind::Dear => (10.3, 4.6, 4.0),
    };
    let (spread, noise, jitter) = (normal(0.35)?, normal(0.8)?, normal(0.15)?);
    let price = positive((log_price + spread.sample(&mut rng)).exp());
    let list_price = price * 100 / rng.random_range(15..=100);
    let count = positive((log_count + noise.sample(&mut rng)).exp());
    let rating = (10.0 * (stars + jitter.sample(&mut rng))).round().clamp(20.0, 50.0) / 10.0;
    let things = pick(&mut rng, shelf.things);
    let traits = pick_some(&mut rng, shelf.traits, 3);
    let (brand, series, colour) = (pick(&mut rng, BRANDS), pick(&mut rng, SERIES), pick(&mut rng, COLOURS));
    let name = format!("{brand} {series} {} {things} ({}, {colour})", 100 + index, traits[0]);
    let about = traits.iter().map(|text| sentence(text)).collect::<Vec<_>>().join("|");
    let (price, actual_price) = match index {
        DEAREST_ROW => (77_990, 139_900),
        _ => (price, list_price.max(price)),
    };
    Ok(Product {
        index,
        name,
        category: shelf.path,
        about,
        price,
        actual_price,
        rating: (index != BAR_ROW).then_some(rating),
        count: (!BLANK_ROWS.contains(&index)).then_some(count),
    })
}

fn write_row(out: &mut impl Write, product: &Product, rng: &mut ChaCha8Rng) -> io::Result<()> {
    let id = code("B0", product.index + 1, 8);
    let buyers = rng.random_range(1..=5_usize);
    let codes = |prefix: &str, rng: &mut ChaCha8Rng| {
        let codes: Vec<String> = (0..buyers).map(|_| code(prefix, rng.random(), 12)).collect();
        codes.join(",")
    };
    let (users, reviews) = (codes("A", rng), codes("R", rng));
    let names: Vec<&str> = (0..buyers).map(|_| nth(NAMES, rng.random_range(0..count(NAMES)))).collect();
    let liked = product.rating.is_some_and(|rating| rating > 4.0);
    let titles: Vec<&str> = (0..buyers).map(|_| pick(rng, if liked { PRAISE } else { DOUBTS })).collect();
    let discount = 100 - (100 * product.price + product.actual_price / 2) / product.actual_price.max(1);
    let fields = [
        id.clone(),
        product.name.clone(),
        product.category.to_owned(),
        format!("₹{}", lakhs(product.price)),
        format!("₹{}", lakhs(product.actual_price)),
        format!("{discount}%"),
        product.rating.map_or_else(|| "|".to_owned(), |rating| rating.to_string()),
        product.count.map_or_else(String::new, thousands),
        product.about.clone(),
        users,
        names.join(","),
        reviews,
        titles.join(","),
        titles.iter().map(|title| format!("{title}.")).collect::<Vec<_>>().join(","),
        // No pictures are generated: pages draw a placeholder.
        String::new(),
        format!("https://shop.example/dp/{id}"),
    ];
    let fields: Vec<String> = fields.iter().map(|text| field(text, ',')).collect();
    writeln!(out, "{}", fields.join(","))
}

/// At least 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Positive, and saturates.
fn positive(number: f64) -> u64 {
    number.round().max(1.0) as u64
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map_or_else(String::new, |letter| letter.to_uppercase().to_string());
    format!("{first}{}", letters.as_str())
}

/// `prefix` and `digits` letters and digits, of one number only while they suffice.
fn code(prefix: &str, number: u64, digits: u32) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    // An odd factor mixes the numbers, and keeps them apart modulo any power of two.
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let digit = |place: u32| char::from(DIGITS[((mixed >> (5 * place)) & 31) as usize]);
    prefix.chars().chain((0..digits).map(digit)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn rows(rows: u64, seed: u64) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write_products(&path, rows, seed).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        write_products(&path, rows, seed).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        text.lines().map(split).collect()
    }

    /// The fields of a line of which none holds a quote.
    fn split(line: &str) -> Vec<String> {
        let mut fields = vec![String::new()];
        let mut quoted = false;
        for letter in line.chars() {
            match letter {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                _ => fields.last_mut().unwrap().push(letter),
            }
        }
        fields
    }

    #[test]
    fn the_listing_has_the_columns_and_the_dirt_of_a_real_one() {
        let rows = rows(600, 7);
        assert_eq!(rows.len(), 601);
        assert!(rows.iter().all(|row| row.len() == 16), "{:?}", rows.iter().find(|row| row.len() != 16));
        let rows = &rows[1..];
        assert_eq!(rows[4][4], "₹1,39,900");
        assert_eq!(rows.iter().filter(|row| row[6] == "|").count(), 1);
        assert_eq!(rows.iter().filter(|row| row[7].is_empty()).count(), 2);
        let mut seen: BTreeMap<&str, &[String]> = BTreeMap::new();
        let mut repeats = 0;
        for row in rows {
            assert!(row[3].starts_with('₹') && row[5].ends_with('%') && row[2].contains('|'), "{row:?}");
            if let Some(first) = seen.insert(&row[0], row) {
                repeats += 1;
                assert_eq!(first[..6], row[..6]);
                assert_ne!(first[9], row[9], "the buyers are others");
            }
        }
        assert!((20..90).contains(&repeats), "{repeats}");
        let names: BTreeSet<&String> = rows.iter().map(|row| &row[1]).collect();
        assert_eq!(names.len(), seen.len(), "every product has a name of its own");
    }

    #[test]
    fn prices_ratings_and_counts_go_together() {
        let rows = rows(2000, 3);
        let number = |text: &str| text.replace(['₹', ','], "").parse::<f64>().unwrap();
        let mut counts: BTreeMap<bool, Vec<f64>> = BTreeMap::new();
        for row in rows[1..].iter().filter(|row| !row[7].is_empty()) {
            let price = number(&row[3]);
            assert!(price <= number(&row[4]), "{row:?}");
            counts.entry(price > 5000.0).or_default().push(number(&row[7]));
        }
        let mean = |dear: bool| counts[&dear].iter().sum::<f64>() / counts[&dear].len() as f64;
        assert!(mean(false) > 10.0 * mean(true), "{} and {}", mean(false), mean(true));
    }
}
