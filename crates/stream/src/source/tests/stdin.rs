//! Standard input: a sample, then the same rows again and all the others.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::source::{Dataset, Profile, Source, SourcePlace};

/// A stream that a test writes into.
struct Wire(Receiver<Vec<u8>>, Vec<u8>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.1.is_empty() {
            match self.0.recv() {
                Ok(bytes) => self.1 = bytes,
                Err(_) => return Ok(0),
            }
        }
        let count = self.1.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

const SILENCE: Duration = Duration::from_millis(150);

fn source(name: &str) -> Source {
    Source::of_name(SourcePlace::Stdin, name)
}

fn piped(source: &Source) -> (Sender<Vec<u8>>, Dataset) {
    let (sender, receiver) = channel();
    (sender, Dataset::new(source).with_stdin(Box::new(Wire(receiver, Vec::new())), SILENCE))
}

fn types(profile: &Profile) -> String {
    let types = profile.schema.columns.iter().map(|column| format!("{}:{}", column.name, column.kind.name()));
    types.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_stream_that_ends_is_all_of_the_sample() {
    for (name, text, values) in [
        ("a.csv", "a,b\n1,x\n2,y", ["1,x", "2,y"]),
        ("a.jsonl", "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\"}", ["1,x", "2,y"]),
    ] {
        let (sender, dataset) = piped(&source(name));
        sender.send(text.as_bytes().to_vec()).unwrap();
        drop(sender);
        let profile = dataset.profile(&SchemaRules::default()).unwrap();
        assert_eq!(types(&profile), "a:float64 b:utf8");
        assert_eq!((profile.rows, profile.fingerprint), (None, None));
        assert_eq!(dataset.fingerprint().unwrap(), None);
        assert_eq!(texts(&rows(&dataset, Encoding::Csv).unwrap()), values);
        let again = said(dataset.reader(Encoding::Csv).map(drop).unwrap_err());
        assert!(again.contains("can be read only once"), "{again}");
    }
}

#[test]
fn silence_ends_a_sample_once_there_is_a_row_and_a_broken_row_waits() {
    let (sender, dataset) = piped(&source("a.csv"));
    let (tell, known) = channel();
    let begun = Instant::now();
    let writer = std::thread::spawn(move || {
        sender.send(b"a,b\n1".to_vec()).unwrap();
        // Longer than the silence, and no row is whole yet.
        std::thread::sleep(SILENCE * 3);
        sender.send(b",\"x\n\"\n2,\"y".to_vec()).unwrap();
        known.recv_timeout(Duration::from_secs(60)).unwrap();
        sender.send(b"\"\n3,z\n".to_vec()).unwrap();
    });
    let profile = dataset.profile(&SchemaRules::default()).unwrap();
    tell.send(()).unwrap();
    assert!(begun.elapsed() >= SILENCE * 3);
    // `"y` is the beginning of a field: it says nothing yet.
    assert_eq!(types(&profile), "a:float64 b:utf8");
    assert_eq!(texts(&rows(&dataset, Encoding::Csv).unwrap()), ["1,\"x\n\"", "2,y", "3,z"]);
    writer.join().unwrap();
}

#[test]
fn a_sample_of_a_long_stream_is_bounded() {
    let (sender, dataset) = piped(&source("a.jsonl"));
    std::thread::spawn(move || {
        for i in 0..30_000 {
            // Beyond the sample a number becomes text, and a key comes that was not there.
            let line = if i < 15_000 { format!("{{\"a\":{i}}}\n") } else { format!("{{\"a\":\"t{i}\",\"late\":1}}\n") };
            let _ = sender.send(line.into_bytes());
        }
    });
    let profile = dataset.profile(&SchemaRules::default()).unwrap();
    assert_eq!(types(&profile), "a:float64");
    let found = texts(&rows(&dataset, Encoding::Json).unwrap());
    assert_eq!(found.len(), 30_000);
    assert_eq!((found[0].as_str(), found[29_999].as_str()), ("{\"a\":0}", "{\"a\":\"t29999\",\"late\":1}"));
}

#[test]
fn a_packed_stream_is_unpacked_and_a_broken_one_fails_in_its_place() {
    let text = (0..20_000).fold("a\n".to_owned(), |text, i| text + &format!("{i}\n"));
    let packed = gzip(text.as_bytes());
    let (sender, dataset) = piped(&source("a.csv"));
    sender.send(packed[..packed.len() - 9].to_vec()).unwrap();
    drop(sender);
    assert_eq!(types(&dataset.profile(&SchemaRules::default()).unwrap()), "a:float64");
    let error = said(rows(&dataset, Encoding::Json).unwrap_err());
    assert!(error.starts_with("standard input: reading failed at row "), "{error}");
    assert!(error.contains("the gzip data is cut short"), "{error}");
}

#[test]
fn without_a_profile_the_rows_begin_at_the_beginning() {
    let (sender, dataset) = piped(&source("a.csv"));
    sender.send(b"a\n1\n2\n".to_vec()).unwrap();
    drop(sender);
    assert_eq!(texts(&rows(&dataset, Encoding::Csv).unwrap()), ["1", "2"]);
}

#[test]
fn an_empty_stream_says_so() {
    let (sender, dataset) = piped(&source("a.csv"));
    drop(sender);
    let error = said(dataset.profile(&SchemaRules::default()).unwrap_err());
    assert!(error.starts_with("standard input: the file is empty"), "{error}");
}
