//! `[source]` as the pipeline file has it.

use std::path::PathBuf;

use millstream_base::{Faults, Keys, Section, Takes, did_you_mean, duration};
use toml::{Table, Value};

use super::{Charset, Compression, CsvFormat, Pace, Source, SourceFormat, SourcePlace, format_by_name};

pub const SOURCE: Keys = Keys {
    known: &[
        ("path", Takes::Text),
        ("format", Takes::Choice(&["csv", "jsonl", "parquet"])),
        ("delay", Takes::Text),
        ("rate", Takes::Number),
        ("speed", Takes::Number),
        ("key", Takes::Text),
        ("order_by", Takes::Text),
        ("seed", Takes::Whole(0, i64::MAX)),
        ("separator", Takes::Text),
        ("quote", Takes::Text),
        ("escape", Takes::Text),
        ("header", HEADER),
        ("skip", SKIP),
        ("comment", Takes::Text),
        ("encoding", Takes::Text),
    ],
    later: &[],
};

/// Of a csv file, wherever one is named: whether it has a header, or how many lines of one.
pub const HEADER: Takes = Takes::OneOf(&[Takes::Flag, Takes::Whole(0, 100)]);
pub const SKIP: Takes = Takes::Whole(0, u32::MAX as i64);
/// What only csv has.
pub const CSV_KEYS: [&str; 6] = ["separator", "quote", "escape", "header", "skip", "comment"];

const DEFAULT_SEED: u64 = 1;
/// File name endings of formats and packings that are not read.
const OTHER_FORMATS: [&str; 8] = [".bz2", ".xz", ".zip", ".lz4", ".snappy", ".xlsx", ".xls", ".avro"];

/// Of a file that has the table; one that has none listens only.
pub fn source(root: &Table, faults: &mut Faults) -> Option<Source> {
    let section = Section::of_root(root, "source", &SOURCE, faults);
    let place = place(&section, faults);
    let (format, compression) = format(&section, "path", faults);
    let pace = pace(&section, faults);
    let charset = charset(&section, format, faults);
    let csv = csv_format(&section, "path", format, faults);
    let seed = seed(&section, DEFAULT_SEED, faults);
    let key = section.filled_text("key", faults).map(str::to_owned);
    let order_by = section.filled_text("order_by", faults).map(str::to_owned);
    let place = place?;
    if place == SourcePlace::Stdin && order_by.is_some() {
        section.fault("order_by", "needs a source that ends and can be read twice; write it to a file first", faults);
    }
    if format == SourceFormat::Parquet && (place == SourcePlace::Stdin || compression != Compression::None) {
        let message = "a Parquet file is read from its end: it must be a plain file or an s3:// URL";
        section.fault("path", message, faults);
    }
    Some(Source { place, format, compression, pace, csv, charset, key, order_by, seed })
}

/// The format and packing of the file that `key` names.
pub fn format(section: &Section, key: &str, faults: &mut Faults) -> (SourceFormat, Compression) {
    // What is wrong with the path itself is said by `place_at`.
    let (by_name, compression) = format_by_name(section.value(key).and_then(Value::as_str).unwrap_or_default());
    let choices = [("csv", SourceFormat::Csv), ("jsonl", SourceFormat::Jsonl), ("parquet", SourceFormat::Parquet)];
    (section.choice("format", &choices, faults).unwrap_or(by_name), compression)
}

fn place(section: &Section, faults: &mut Faults) -> Option<SourcePlace> {
    let remedy = "name the file to replay, such as path = \"data/rows.csv\"; to listen to a topic that others write, \
                  remove [source]";
    let path = section.required_text("path", remedy, faults)?;
    place_at(section, "path", path, faults)
}

/// A file that is read whole at every start, beside the stream's own source; `key` holds its path.
pub fn read_anew(section: &Section, key: &str, path: &str, faults: &mut Faults) -> Option<Source> {
    let place = place_at(section, key, path, faults);
    let (format, compression) = format(section, key, faults);
    let csv = csv_format(section, key, format, faults);
    let charset = charset(section, format, faults);
    let place = place?;
    let message = match (&place, format, compression) {
        (SourcePlace::Stdin, ..) => "is read anew at every start, which standard input cannot be; write it to a file",
        (_, SourceFormat::Parquet, Compression::Gzip | Compression::Zstd) => {
            "a Parquet file is read from its end: it must be a plain file or an s3:// URL"
        }
        _ => {
            let pace = Pace::FullSpeed;
            return Some(Source { place, format, compression, pace, csv, charset, key: None, order_by: None, seed: 1 });
        }
    };
    section.fault(key, message, faults);
    None
}

/// What the text of `key` names.
pub fn place_at(section: &Section, key: &str, path: &str, faults: &mut Faults) -> Option<SourcePlace> {
    let lower = path.to_lowercase();
    if let Some(ending) = OTHER_FORMATS.iter().find(|ending| lower.ends_with(*ending)) {
        let unpacked = path.get(..path.len() - ending.len()).unwrap_or(path);
        let how = match *ending {
            ".zip" => format!("unpack it first: unzip -p {path} > {unpacked}.csv"),
            ".bz2" => format!("unpack it first: bunzip2 {path}"),
            ".xz" => format!("unpack it first: unxz {path}"),
            _ => "turn it into csv, jsonl or Parquet, plain, .gz or .zst".to_owned(),
        };
        let message = format!("`{ending}` files are not read; {how}");
        section.fault(key, message, faults);
        return None;
    }
    match lower.split_once("://") {
        None if lower == "-" => Some(SourcePlace::Stdin),
        None => Some(SourcePlace::File(PathBuf::from(path))),
        Some(("s3", rest)) if rest.contains(['*', '?', '[']) => {
            section.fault(
                key,
                "patterns are of files, not of s3:// URLs; name one object, or copy them to a folder",
                faults,
            );
            None
        }
        Some(("s3", rest))
            if rest.split_once('/').is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty()) =>
        {
            Some(SourcePlace::S3(path.to_owned()))
        }
        Some(("s3", _)) => {
            section.fault(key, "expected s3://bucket/key", faults);
            None
        }
        Some((scheme, _)) => {
            let message =
                format!("there is no source `{scheme}://`; name a file, an s3:// URL, or \"-\" for standard input");
            section.fault(key, message, faults);
            None
        }
    }
}

fn pace(section: &Section, faults: &mut Faults) -> Pace {
    let given: Vec<&str> = ["delay", "rate", "speed"].into_iter().filter(|key| section.has(key)).collect();
    if given.len() > 1 {
        faults.add("source", None, format!("has {}; keep one of them", given.join(" and ")));
    }
    let delay = section.text("delay", faults).map(delay);
    if let Some(Err(message)) = &delay {
        section.fault("delay", format!("{message}; a range is \"0ms..5ms\""), faults);
    }
    let rate = section.number("rate", faults);
    if rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        section.fault("rate", "must be above 0 rows per second; for full speed, remove it", faults);
    }
    let speed = section.number("speed", faults);
    if speed.is_some_and(|speed| !(speed.is_finite() && speed > 0.0)) {
        section.fault("speed", "must be above 0; 1 is as fast as it happened, 60 a minute in a second", faults);
    }
    match (delay, rate, speed) {
        (_, Some(rate), _) => Pace::Rate(rate),
        (_, None, Some(speed)) => Pace::Speed(speed),
        (Some(Ok(pace)), None, None) => pace,
        (Some(Err(_)) | None, None, None) => Pace::FullSpeed,
    }
}

/// `place`: the key that names the file.
pub fn csv_format(section: &Section, place: &str, format: SourceFormat, faults: &mut Faults) -> CsvFormat {
    let default = CsvFormat::of_name(section.value(place).and_then(Value::as_str).unwrap_or_default());
    let separator = match section.text("separator", faults) {
        None => default.separator,
        Some(text) if text.is_empty() || text.contains(['\n', '\r', '\0']) => {
            section.fault("separator", "must be one character or several, such as \";\", \"\\t\" or \"::\"", faults);
            default.separator
        }
        Some(text) => text.to_owned(),
    };
    let quote = if section.value("quote").and_then(Value::as_str) == Some("") {
        None
    } else {
        one_byte(section, "quote", ", or \"\" where quotes are text", faults).or(default.quote)
    };
    let escape = one_byte(section, "escape", ", such as \"\\\\\"", faults);
    let comment = one_byte(section, "comment", ", such as \"#\"", faults);
    if separator.bytes().any(|byte| quote == Some(byte)) {
        section.fault("separator", format!("must differ from {}", section.key("quote")), faults);
    }
    if escape.is_some() && quote.is_none() {
        section.fault("escape", "stands before a quote, and there is none; remove it", faults);
    }
    if escape.is_some() && escape == quote {
        section.fault("escape", "a quote that stands twice within quotes is one anyway; remove it", faults);
    }
    if format != SourceFormat::Csv {
        let message = format!("belongs to csv; remove it, or set {} = \"csv\"", section.key("format"));
        for key in CSV_KEYS.into_iter().filter(|key| section.has(key)) {
            section.fault(key, message.as_str(), faults);
        }
    }
    let skip = section.whole("skip", "", faults).and_then(|lines| u32::try_from(lines).ok()).unwrap_or(0);
    CsvFormat { separator, quote, escape, comment, skip, header: header(section, faults).unwrap_or(default.header) }
}

/// Lines of the header.
fn header(section: &Section, faults: &mut Faults) -> Option<u32> {
    match section.value("header")? {
        Value::Boolean(is_there) => Some(u32::from(*is_there)),
        Value::Integer(_) => section.whole("header", "", faults).and_then(|lines| u32::try_from(lines).ok()),
        other => section.wrong_type("header", other, "true, false or the number of its lines", faults),
    }
}

/// `encoding`, by a name of the WHATWG's list, which has all that are in use.
fn charset(section: &Section, format: SourceFormat, faults: &mut Faults) -> &'static Charset {
    let utf_8 = encoding_rs::UTF_8;
    let Some(name) = section.filled_text("encoding", faults) else { return utf_8 };
    if format == SourceFormat::Parquet {
        section.fault("encoding", "belongs to csv and jsonl; texts of Parquet are UTF-8; remove it", faults);
    }
    match Charset::for_label_no_replacement(name.as_bytes()) {
        Some(charset) => charset,
        None => {
            let known = [
                "utf-8",
                "utf-16",
                "windows-1252",
                "latin1",
                "windows-1250",
                "windows-1251",
                "iso-8859-2",
                "shift_jis",
                "gbk",
                "big5",
                "euc-kr",
                "koi8-r",
                "macintosh",
            ];
            let hint = did_you_mean(name, known);
            section.fault("encoding", format!("no such encoding{hint}; the names are those of https://encoding.spec.whatwg.org, such as \"windows-1252\""), faults);
            utf_8
        }
    }
}

fn one_byte(section: &Section, key: &str, hint: &str, faults: &mut Faults) -> Option<u8> {
    let text = section.text(key, faults)?;
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
        _ => {
            section.fault(key, format!("must be one ASCII character{hint}"), faults);
            None
        }
    }
}

/// A `seed` key.
pub fn seed(section: &Section, default: u64, faults: &mut Faults) -> u64 {
    let seed = section.whole("seed", "", faults);
    seed.and_then(|seed| u64::try_from(seed).ok()).unwrap_or(default)
}

/// `source.delay`: one duration, or `low..high`.
fn delay(text: &str) -> Result<Pace, String> {
    let Some((low, high)) = text.split_once("..") else {
        let fixed = duration(text)?;
        return Ok(if fixed.is_zero() { Pace::FullSpeed } else { Pace::Fixed(fixed) });
    };
    let (low, high) = (duration(low)?, duration(high)?);
    if low > high {
        return Err("the low end must not be above the high end; swap them".to_owned());
    }
    Ok(match (low, high) {
        _ if high.is_zero() => Pace::FullSpeed,
        _ if low == high => Pace::Fixed(low),
        _ => Pace::Uniform { low, high },
    })
}
