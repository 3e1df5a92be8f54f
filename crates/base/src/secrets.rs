//! The pipeline file as it may be shown: with `"…"` for whatever could let anyone in. In doubt it hides: what is shown is for reading, and
//! nobody runs it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

const HIDDEN: &str = "…";

/// What the names of secrets have in them, without what parts their words.
const WORDS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "accesskey",
    "apikey",
    "privatekey",
    "accountkey",
    "encryptionkey",
    "pwd",
    "authorization",
    "bearer",
];
/// Comments within comments that are looked into.
const DEPTH_MOST: usize = 4;

/// Whether the value of a key, by its whole name (`stream.sasl.password`), is nobody's to see.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words = without_separators(&key);
    key.split('.').any(|part| part == "sasl")
        || key.contains("ssl.key")
        || WORDS.iter().any(|word| words.contains(word))
}

/// `access.key`, `access_key` and `access-key` are `accesskey`.
fn without_separators(text: &str) -> String {
    text.replace(['.', '_', '-'], "")
}

/// Whether a text under a name that says nothing holds a secret.
pub fn holds_secret(text: &str) -> bool {
    text_shown(text) != text
}

/// Whether a text that is no TOML may be about one.
fn mentions_secret(text: &str) -> bool {
    is_secret(text) || assigns_secret(text) || text.to_ascii_lowercase().contains("sasl")
}

/// The same text, as it may be shown.
pub fn without_secrets(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let shown = shown(text, "", DEPTH_MOST).unwrap_or_else(|| HIDDEN.to_owned());
    without_userinfo(&shown)
}

/// What stands in a text instead of something else.
type Cut = (Range<usize>, String);

/// `None`: it is no TOML. `below`: the table that it stands in.
fn shown(text: &str, below: &str, depth: usize) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    let mut cuts = Vec::new();
    table_cuts(root.get_ref(), below, text, &mut cuts);
    cuts.sort_by_key(|(range, _)| range.start);
    let comments = comment_cuts(text, below, &cuts, depth);
    cuts.extend(comments);
    cuts.sort_by_key(|(range, _)| range.start);
    let (mut found, mut end) = (String::with_capacity(text.len()), 0);
    for (range, instead) in cuts {
        // What lies within a hidden value is hidden with it.
        if range.start >= end {
            found.push_str(&text[end..range.start]);
            found.push_str(&instead);
            end = range.end;
        }
    }
    found.push_str(&text[end..]);
    Some(found)
}

fn table_cuts(table: &DeTable, path: &str, text: &str, cuts: &mut Vec<Cut>) {
    for (key, value) in table {
        let key = key.get_ref();
        let path = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        value_cuts(value, &path, text, cuts);
    }
}

fn value_cuts(value: &Spanned<DeValue>, path: &str, text: &str, cuts: &mut Vec<Cut>) {
    let is_inline = |value: &Spanned<DeValue>| text[value.span()].starts_with('{');
    match value.get_ref() {
        DeValue::Table(table) if !(is_secret(path) && is_inline(value)) => table_cuts(table, path, text, cuts),
        DeValue::Array(values)
            if !is_secret(path)
                || (!values.is_empty()
                    && values.iter().all(|value| value.get_ref().is_table() && !is_inline(value))) =>
        {
            values.iter().for_each(|value| value_cuts(value, path, text, cuts));
        }
        _ if is_secret(path) => cuts.push((value.span(), format!("\"{HIDDEN}\""))),
        DeValue::String(found) => {
            let shown = text_shown(found);
            if shown != found.as_ref() {
                cuts.push((value.span(), toml::Value::String(shown).to_string()));
            }
        }
        _ => {}
    }
}

/// A text under a name that says nothing.
fn text_shown(text: &str) -> String {
    let is_key = text.contains("PRIVATE KEY-----") || ["AKIA", "ASIA"].iter().any(|start| text.starts_with(start));
    if is_key || assigns_secret(text) { HIDDEN.to_owned() } else { without_userinfo(text) }
}

/// `password=hunter2`, `"secretKey": "…"`, `?X-Amz-Signature=…`, wherever it stands in a text.
fn assigns_secret(text: &str) -> bool {
    let text = without_separators(&text.to_ascii_lowercase());
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | '\\');
    let assigns = |(at, word): (usize, &str)| {
        let rest = text[at + word.len()..].trim_start_matches(is_of_name).trim_start();
        rest.starts_with(['=', ':']) && !rest[1..].trim().is_empty()
    };
    // Of a signed URL the signature lets anyone in.
    WORDS.iter().chain(&["signature", "?sig", "&sig"]).any(|word| text.match_indices(word).any(assigns))
}

/// `https://…@host` for `https://user:password@host`.
fn without_userinfo(text: &str) -> String {
    let (mut found, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        found.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`'));
        let place = &after[..end.unwrap_or(after.len())];
        let authority = &place[..place.find(['/', '?', '#']).unwrap_or(place.len())];
        // A password may have a slash in it: then what seems to be the port is none.
        let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
        let is_host = port.chars().all(|c| c.is_ascii_digit() || c == ']' || c == ':');
        let user = authority.rfind('@').or_else(|| if is_host { None } else { place.rfind('@') });
        if user.is_some() {
            found.push_str(HIDDEN);
        }
        rest = &after[user.unwrap_or(0)..];
    }
    found.push_str(rest);
    found
}

/// Where comments are, and where a line begins a table.
enum Piece {
    Comment(Range<usize>),
    Header(Range<usize>),
    /// Anything else: the comments after it are about something else.
    Other,
}

/// Of a text that is TOML.
fn pieces(text: &str) -> Vec<Piece> {
    let bytes = text.as_bytes();
    let line_end = |from: usize| text[from..].find('\n').map_or(text.len(), |end| from + end);
    let (mut pieces, mut at, mut line_begins) = (Vec::new(), 0, true);
    while let Some(byte) = bytes.get(at) {
        let begins = std::mem::take(&mut line_begins);
        match byte {
            b'\n' => (at, line_begins) = (at + 1, true),
            b' ' | b'\t' | b'\r' => (at, line_begins) = (at + 1, begins),
            b'#' => {
                pieces.push(Piece::Comment(at..line_end(at)));
                at = line_end(at);
            }
            quote @ (b'"' | b'\'') => {
                pieces.push(Piece::Other);
                at = string_end(bytes, at, *quote);
            }
            _ => {
                let piece = if begins && *byte == b'[' { Piece::Header(at..line_end(at)) } else { Piece::Other };
                if begins || !matches!(pieces.last(), Some(Piece::Other)) {
                    pieces.push(piece);
                }
                at += 1;
            }
        }
    }
    pieces
}

/// Behind the text that begins at `at`.
fn string_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let closing: &[u8] = if bytes[at..].starts_with(&[quote; 3]) { &[quote; 3] } else { &[quote] };
    let mut at = at + closing.len();
    while at < bytes.len() {
        if bytes[at] == b'\\' && quote == b'"' {
            at += 2;
        } else if bytes[at..].starts_with(closing) {
            at += closing.len();
            // Of several lines it may end with quotes of its own.
            while closing.len() == 3 && bytes.get(at) == Some(&quote) {
                at += 1;
            }
            return at;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// `values`: the cuts of the values, in order.
fn comment_cuts(text: &str, below: &str, values: &[Cut], depth: usize) -> Vec<Cut> {
    let (mut cuts, mut table, mut hides) = (Vec::new(), below.to_owned(), false);
    for piece in pieces(text) {
        let range = match piece {
            Piece::Comment(range) => range,
            Piece::Header(range) => {
                (table, hides) = (header(&text[range]), false);
                continue;
            }
            Piece::Other => {
                hides = false;
                continue;
            }
        };
        let comment = &text[range.clone()];
        let body = comment.trim_start_matches(|c: char| c == '#' || c.is_whitespace()).trim_end();
        let start = range.start + comment.trim_end().len() - body.len();
        if body.is_empty() {
            continue;
        }
        // What is said of a hidden value on its line.
        let before = values.partition_point(|(value, _)| value.end <= range.start);
        let of_hidden = before.checked_sub(1).is_some_and(|last| !text[values[last].0.end..range.start].contains('\n'));
        let as_toml = if hides || of_hidden || depth == 0 { None } else { shown(body, &table, depth - 1) };
        let instead = match as_toml {
            Some(shown) => {
                if body.starts_with('[') {
                    table = header(body);
                }
                shown
            }
            None if hides || of_hidden || depth == 0 || is_secret(&table) || mentions_secret(body) => {
                // The lines below may belong to it.
                hides = true;
                HIDDEN.to_owned()
            }
            None => continue,
        };
        if instead != body {
            cuts.push((start..start + body.len(), instead));
        }
    }
    cuts
}

/// `[ "stream" . sasl ] # …` → `stream.sasl`.
fn header(line: &str) -> String {
    let name = line.trim_start_matches('[').split(']').next().unwrap_or_default();
    name.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A secret in each of these places.
    const S: &str = "hunter2";

    fn hides(text: &str) -> String {
        let shown = without_secrets(text);
        assert!(!shown.contains(S) && shown.contains(HIDDEN), "{text}\nis shown as\n{shown}");
        shown
    }

    fn keeps(text: &str) {
        assert_eq!(without_secrets(text), text);
    }

    #[test]
    fn every_spelling_of_a_secret_is_hidden() {
        let shown =
            hides("[stream]\n\"sasl.password\" = \"hunter2\"  # the old one was hunter2\ntopic = \"t\" # mine\n");
        assert_eq!(shown, "[stream]\n\"sasl.password\" = \"…\"  # …\ntopic = \"t\" # mine\n");
        assert_eq!(hides("a.password = 'hunter2'\nb = 1\n"), "a.password = \"…\"\nb = 1\n");
        for text in [
            "stream.sasl.password = \"hunter2\"",
            "stream.\"sasl.username\" = 'hunter2'",
            "stream . 'sasl' . \"pass\\u0077ord\" = \"hunter2\"",
            "stream = { topic = \"t\", \"sasl.password\" = \"hunter2\" }",
            "stream = { sasl = { username = \"hunter2\", x = [\"hunter2\"] } }",
            "stream = {\n  sasl.username = \"hunter2\", # hunter2\n  topic = \"t\",\n}",
            "[stream.sasl]\nusername = \"hunter2\"\n# password = hunter2\n",
            "[stream.sasl]\nmechanisms = [\n  \"hunter2\", # hunter2\n]",
            "[[stream.sasl]]\nusername = \"hunter2\"\n[[stream.sasl]]\nusername = \"hunter2\"\n",
            "[stream]\n\"ssl.key.pem\" = \"\"\"\nhunter2\nhunter2 # \\\" \"\"\"\"\"\nlisten = 1",
            "[stream]\n\"ssl.key.location\" = '''hunter2'''",
            "AWS_SECRET_ACCESS_KEY = \"hunter2\"\nname = \"x\"",
            "store.access_key_id = \"hunter2\"",
            "\"spark.hadoop.fs.azure.account.key.mine.net\" = \"hunter2\"",
            "\"fs.gs.auth.service.account.private.key\" = \"hunter2\"",
            "\"fs.s3a.encryption.key\" = \"hunter2\"",
            "x = \"-Dfs.access.key=hunter2\"",
            "store.token = 2\nserve.tokens = [\"hunter2\"]\n",
            "store.url = \"https://me:hunter2@host/path\"",
            "source.path = \"https://hunter2@host/path\"",
            "source.path = \"https://me:h/hunter2@host/path\"",
            "source.path = \"https\\u003a//me:hunter2\\u0040host/path\"",
            "source.path = \"s3://b/k?X-Amz-Signature=hunter2&a=b\"",
            "x = \"username=\\\"me\\\" password=\\\"hunter2\\\";\"",
            "source.path = \"https://host/file?sp=r&sig=hunter2\"",
            "x = \"Authorization: Bearer hunter2\"",
            "x = \"Server=h;Pwd=hunter2\"",
            "x = '{\"secretKey\": \"hunter2\"}'",
            "x = '''\n-----BEGIN PRIVATE KEY-----\nhunter2\n'''",
            "\"https://me:hunter2@host\" = 1",
            "\u{feff}password = \"hunter2\"",
        ] {
            hides(text);
        }
    }

    #[test]
    fn what_comments_say_of_secrets_is_hidden() {
        for text in [
            "# \"sasl.password\" = \"hunter2\"\n",
            "a = 1 # password = \"hunter2\"\n",
            "## \t sasl.password = 'hunter2' # hunter2\n",
            "# stream = { sasl = { username = \"hunter2\" } }\n",
            "# the password is hunter2\n",
            "# pwd: hunter2\n",
            "# Authorization: Bearer hunter2\n",
            "# https://host/file?sv=1&sig=hunter2\n",
            "# password = \"\"\"\n# hunter2\n#\n# hunter2\"\"\"\n",
            "# sasl = {\n#   username = \"hunter2\"\n# }\n",
            "[stream.sasl]\n# username = \"hunter2\"\n",
            "# [stream.sasl]\n# username = \"hunter2\"\n",
            "[ stream . \"sasl\" ] # mine\n# mechanisms = \"hunter2\"\n",
            "# see https://me:hunter2@host/page\n",
            "# path = \"https://me:hunter2@host\"\n",
            "a = \"#\" # b = 1 # token = \"hunter2\"",
            "a = '#'\nb = \"\"\"\n# c\n\"\"\" # token = hunter2",
            "a = 1 # b = 1 # b = 1 # b = 1 # b = 1 # b = 1 # token = \"hunter2\"",
        ] {
            hides(text);
        }
        let shown = hides("# topic = \"t\" # mine\n# password = \"hunter2\"\n# rate = 5\n");
        assert_eq!(shown, "# topic = \"t\" # mine\n# password = \"…\"\n# rate = 5\n");
    }

    #[test]
    fn all_else_stays_as_it_was_written() {
        keeps("name = \"p\"\n\n[source]\r\npath = 'rows.csv' # of https://host/@scope/file and me@example.com\n");
        keeps("source.key = \"product_id\"\nserve.keys = 'keys.txt'\nx = \"\"\"# no comment\"\"\"\n");
        keeps("[[route]]\npath = \"/a/{b}\"\nargs = { user = \"user\" }\n[[route]]\npath = 'http://[::1]:80/@a'\n");
        keeps("# [stream]\n# listen = \"127.0.0.1:9092\"\n#\n# as people say: a = b\n\ta = [ # one\n  1, # two\n]\n");
        assert_eq!(without_secrets("this is no TOML: hunter2"), HIDDEN);
    }

    #[test]
    fn a_line_of_many_comments_costs_no_more_than_its_length() {
        let text = "a = 1 #".repeat(20_000);
        assert!(without_secrets(&text).len() <= text.len());
    }
}
