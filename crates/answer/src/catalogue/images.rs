//! Pictures of items: by a URL, or a file of the folder `images` of the store; where there is none, one is drawn.
//!
//! A name comes from the data and is trusted with nothing: it must be a plain path below the folder, end as a picture does, begin as
//! one does, and, on a disk, lie below the folder once every link is followed.

use std::fs;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{Array, StringArray};
use millstream_learn::{Id, Ids};
use millstream_store::{SharedStore, StoreError, StoreUrl};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// A poster has a hundredth of it.
const BYTES_MOST: u64 = 16 << 20;
const NAME_BYTES_MOST: usize = 512;
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Bytes, and what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum ImageFault {
    /// Of an item: it has the drawn one.
    #[error("there is no such picture")]
    Missing,
    #[error("the picture's name `{name}` {problem}")]
    Name { name: String, problem: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The folder of the pictures.
pub struct Images {
    store: SharedStore,
    folder: String,
    /// The folder on this machine's disk, where the store is one.
    disk: Option<PathBuf>,
}

impl Images {
    pub fn new(store: &SharedStore, url: &StoreUrl, folder: &str) -> Self {
        let disk = match url {
            StoreUrl::Local(root) => Some(root.join(folder)),
            StoreUrl::S3 { .. } => None,
        };
        Self { store: store.clone(), folder: folder.to_owned(), disk }
    }

    pub fn read(&self, name: &str) -> Result<Picture, ImageFault> {
        let fault = |problem| ImageFault::Name { name: name.chars().take(80).collect(), problem };
        let parts: Vec<&str> = name.split('/').collect();
        if name.len() > NAME_BYTES_MOST || name.contains(['\\', ':', '%']) || name.contains(char::is_control) {
            return Err(fault("is no plain name"));
        }
        if parts.iter().any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(fault("climbs out of its folder, or begins with a dot"));
        }
        if let Some(folder) = &self.disk {
            lies_below(folder, name, fault)?;
        }
        let file = match self.store.open(&format!("{}/{name}", self.folder)) {
            Err(StoreError::Missing { .. }) => return Err(ImageFault::Missing),
            opened => opened?,
        };
        let unreadable = |_| fault("cannot be read");
        if file.length_bytes().map_err(unreadable)? > BYTES_MOST {
            return Err(fault("is of more than 16 MiB"));
        }
        let mut bytes = Vec::new();
        let reader = file.reader().map_err(unreadable)?;
        std::io::Read::read_to_end(&mut std::io::Read::take(reader, BYTES_MOST), &mut bytes).map_err(unreadable)?;
        let content_type = content_type(&bytes).ok_or_else(|| fault("is no JPEG, PNG, GIF, WebP or AVIF"))?;
        Ok(Picture { content_type, bytes })
    }
}

/// Follows every link: what is served lies below the folder, whatever leads to it.
fn lies_below(folder: &Path, name: &str, fault: impl Fn(&'static str) -> ImageFault) -> Result<(), ImageFault> {
    let (Ok(root), Ok(found)) = (fs::canonicalize(folder), fs::canonicalize(folder.join(name))) else {
        return Err(ImageFault::Missing);
    };
    if !found.starts_with(&root) {
        return Err(fault("is a link out of its folder"));
    }
    if found.is_file() { Ok(()) } else { Err(ImageFault::Missing) }
}

/// By what the file begins with: its name proves nothing.
fn content_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f', ..] => Some("image/avif"),
        _ => None,
    }
}

/// A picture elsewhere.
pub fn is_url(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    plain && (lower.starts_with("http://") || lower.starts_with("https://"))
}

/// What items say of their pictures: URLs as they are, for the rest the path that serves the file, or the drawn one.
pub(super) fn shown(ids: &Ids, images: &StringArray) -> StringArray {
    let one = |(row, id): (usize, Id)| match images.is_valid(row).then(|| images.value(row)) {
        Some(url) if is_url(url) => url.to_owned(),
        _ => format!("/v1/catalogue/{}/image", utf8_percent_encode(&id.to_string(), PLAIN)),
    };
    StringArray::from_iter_values(ids.iter().enumerate().map(one))
}

/// Drawn for an item without a picture: the initials of its title, on a colour of its own.
pub fn placeholder(title: &str) -> Picture {
    let hue =
        blake3::hash(title.as_bytes()).as_bytes().iter().take(2).fold(0_u32, |hue, byte| hue * 256 + u32::from(*byte));
    let hue = hue % 360;
    let initials = escaped(&initials(title));
    let drawn = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 200 300\" role=\"img\" aria-label=\"{}\">\
         <rect width=\"200\" height=\"300\" fill=\"hsl({hue} 35% 32%)\"/>\
         <text x=\"100\" y=\"150\" fill=\"hsl({hue} 60% 92%)\" font-family=\"sans-serif\" font-size=\"84\" \
         text-anchor=\"middle\" dominant-baseline=\"central\">{initials}</text></svg>\n",
        escaped(&title.chars().filter(|c| !c.is_control()).take(200).collect::<String>()),
    );
    Picture { content_type: "image/svg+xml", bytes: drawn.into_bytes() }
}

/// Of the first two words; `?` for a title without letters and digits.
fn initials(title: &str) -> String {
    let words = title.split(|c: char| c.is_whitespace() || c == '-' || c == '/');
    let letters: String = words
        .filter_map(|word| word.chars().find(|c| c.is_alphanumeric()))
        .take(2)
        .flat_map(char::to_uppercase)
        .take(4)
        .collect();
    if letters.is_empty() { "?".to_owned() } else { letters }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use millstream_store::LocalStore;

    const PNG: &[u8] = &[0x89, b'P', b'N', b'G', 13, 10, 26, 10, 0];

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let store: SharedStore = Arc::new(LocalStore::open(&root).unwrap());
        for (path, bytes) in [
            ("store/posters/a.png", PNG),
            ("store/posters/deep/b.png", PNG),
            ("store/posters/text.png", b"secret"),
            ("store/posters/.hidden.png", PNG),
            ("store/posters-2/c.png", PNG),
            ("store/secret.png", PNG),
            ("outside.png", PNG),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        for (link, to) in [("file.png", "outside.png"), ("up", ""), ("sibling.png", "store/posters-2/c.png")] {
            std::os::unix::fs::symlink(folder.path().join(to), root.join("posters").join(link)).unwrap();
        }
        std::os::unix::fs::symlink("a.png", root.join("posters/inside.png")).unwrap();
        let images = Images::new(&store, &StoreUrl::Local(root.clone()), "posters");
        for name in ["a.png", "deep/b.png", "inside.png"] {
            assert_eq!(
                images.read(name).unwrap(),
                Picture { content_type: "image/png", bytes: PNG.to_vec() },
                "{name}"
            );
        }
        let absolute = root.join("secret.png").display().to_string();
        for name in [
            "../secret.png",
            "deep/../../secret.png",
            "..",
            ".",
            "",
            "/etc/passwd",
            absolute.as_str(),
            "%2e%2e/secret.png",
            "..%2fsecret.png",
            "..\\secret.png",
            "file.png",
            "up/outside.png",
            "up",
            "sibling.png",
            "text.png",
            ".hidden.png",
            "deep//b.png",
            "a.png\0",
            "C:\\a.png",
            "./a.png",
        ] {
            assert!(images.read(name).is_err(), "{name:?} was read");
        }
        assert!(matches!(images.read("absent.png"), Err(ImageFault::Missing)));
        assert!(matches!(images.read("deep"), Err(ImageFault::Missing)), "a folder is no picture");
    }

    #[test]
    fn a_placeholder_has_the_titles_initials_and_nothing_of_its_markup() {
        let drawn = |title: &str| String::from_utf8(placeholder(title).bytes).unwrap();
        assert!(drawn("The Third Man").contains(">TT</text>"));
        assert!(drawn("élan vital").contains(">ÉV</text>"));
        assert!(drawn("!!!").contains(">?</text>"));
        let hostile = drawn("<script>alert(1)</script> & \"x\"");
        assert!(!hostile.contains("<script") && hostile.contains("&lt;script&gt;"), "{hostile}");
        assert_eq!(drawn("Up"), drawn("Up"), "the same title has the same picture");
    }
}
