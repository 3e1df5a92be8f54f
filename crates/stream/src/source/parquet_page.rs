//! The header of a Parquet page, which decides what the library unpacks. The library takes a field by its number, whatever its type;
//! of two with one number the last; and the lengths of levels whatever the page's kind. What could be read in two ways is damaged.

use std::io::Read;

use millstream_store::StoredFile;
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

use super::parquet_limits::general;
use super::thrift::{Kind, Thrift, Torn};

/// A page's header is some 50 bytes, and more with the least and the greatest of long texts.
const HEADER_BYTES: [u64; 3] = [256, 64 << 10, 4 << 20];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    /// Data of the first version.
    First,
    Dictionary,
    /// Data of the second version: its levels are not packed.
    Second,
}

/// What the header of a page claims.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageClaim {
    pub kind: PageKind,
    pub bytes: u64,
    pub values: u64,
    pub encoding: i64,
    /// Before what is packed, in a page of the second version.
    pub levels_bytes: u64,
    pub is_packed: bool,
    /// A value of it takes so many bytes: at most, or as their mean where all together are no more than the page.
    pub each: u64,
}

impl PageClaim {
    pub fn is_data(&self) -> bool {
        match self.kind {
            PageKind::First | PageKind::Second => true,
            PageKind::Dictionary => false,
        }
    }
}

/// The claims, the length of the header, and that of what follows it in the file.
pub(super) fn page_header(file: &StoredFile, at: u64, left: u64) -> Result<(PageClaim, u64, u64), ParquetError> {
    for most in HEADER_BYTES {
        let mut bytes = Vec::new();
        file.get_read(at)?.take(most.min(left)).read_to_end(&mut bytes)?;
        let mut thrift = Thrift::new(&bytes);
        match thrift_header(&mut thrift) {
            Ok((page, packed)) => return Ok((page, thrift.at() as u64, packed)),
            Err(Torn::Short) if most < left => {}
            Err(Torn::Short | Torn::Damaged) => return Err(general("it is damaged".to_owned())),
        }
    }
    Err(general(format!("it takes more than {} bytes", HEADER_BYTES[2])))
}

/// The claims, and the bytes that follow the header.
fn thrift_header(thrift: &mut Thrift) -> Result<(PageClaim, u64), Torn> {
    let (mut page, mut unpacked, mut packed) = (None, None, None);
    let mut claims = Vec::new();
    let mut once = Once::default();
    thrift.read_struct(|thrift, id, kind| {
        once.see(id)?;
        match (id, kind) {
            (1, Kind::Integer) => page = Some(thrift.integer()?),
            (2, Kind::Integer) => unpacked = Some(count(thrift)?),
            (3, Kind::Integer) => packed = Some(count(thrift)?),
            // The checksum.
            (4, Kind::Integer) => return Ok(false),
            (5, Kind::Struct) => claims.push(thrift_page(thrift, PageKind::First)?),
            (7, Kind::Struct) => claims.push(thrift_page(thrift, PageKind::Dictionary)?),
            (8, Kind::Struct) => claims.push(thrift_page(thrift, PageKind::Second)?),
            // Field 6 is that of an index page, which no writer makes.
            (1..=8, _) => return Err(Torn::Damaged),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let kind = match page {
        Some(0) => PageKind::First,
        Some(2) => PageKind::Dictionary,
        Some(3) => PageKind::Second,
        _ => return Err(Torn::Damaged),
    };
    match (claims.as_slice(), unpacked, packed) {
        ([claim], Some(bytes), Some(packed)) if claim.kind == kind && claim.levels_bytes <= bytes => {
            Ok((PageClaim { bytes, ..*claim }, packed))
        }
        _ => Err(Torn::Damaged),
    }
}

/// The part of a header that is for one kind of page.
fn thrift_page(thrift: &mut Thrift, page: PageKind) -> Result<PageClaim, Torn> {
    use PageKind::{Dictionary, First, Second};
    let is_packed = true;
    let mut claim = PageClaim { kind: page, bytes: 0, values: 0, encoding: 0, levels_bytes: 0, is_packed, each: 0 };
    let mut once = Once::default();
    thrift.read_struct(|thrift, id, kind| {
        once.see(id)?;
        match (page, id, kind) {
            (_, 1, Kind::Integer) => claim.values = count(thrift)?,
            (First | Dictionary, 2, Kind::Integer) | (Second, 4, Kind::Integer) => claim.encoding = thrift.integer()?,
            (Second, 5 | 6, Kind::Integer) => claim.levels_bytes += count(thrift)?,
            (Second, 7, Kind::True) => {}
            (Second, 7, Kind::False) => claim.is_packed = false,
            // How levels are written, how many rows and nulls.
            (First, 3 | 4, Kind::Integer) | (Second, 2 | 3, Kind::Integer) => return Ok(false),
            (First, 1..=4, _) | (Dictionary, 1..=2, _) | (Second, 1..=7, _) => return Err(Torn::Damaged),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(claim)
}

fn count(thrift: &mut Thrift) -> Result<u64, Torn> {
    u64::try_from(thrift.integer()?).map_err(|_| Torn::Damaged)
}

/// The numbers of the fields of a struct, of which none may stand twice.
#[derive(Default)]
struct Once(Vec<i64>);

impl Once {
    fn see(&mut self, id: i64) -> Result<(), Torn> {
        // The format has eight; the others are passed over by the library too.
        if (1..=8).contains(&id) {
            if self.0.contains(&id) {
                return Err(Torn::Damaged);
            }
            self.0.push(id);
        }
        Ok(())
    }
}
