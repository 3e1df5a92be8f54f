//! Whether a page of a Parquet file unpacks to no more than it claims. The library unpacks gzip, Brotli and LZ4 frames to their end,
//! and compares with the claim after it has the bytes in memory: here they are only counted. Of the other codecs it unpacks no more
//! than is claimed.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;

/// What a decoder holds at one time.
const BUFFER_BYTES: usize = 64 << 10;

/// False: it goes on after `most` bytes. What is damaged before that the library says.
pub(super) fn unpacks_within(codec: Compression, packed: impl Read, most: u64) -> bool {
    match codec {
        Compression::GZIP(_) => ends_within(MultiGzDecoder::new(packed), most),
        Compression::BROTLI(_) => ends_within(brotli::Decompressor::new(packed, BUFFER_BYTES), most),
        // Of three ways to pack by this name only frames say nowhere how much they come to.
        Compression::LZ4 => ends_within(lz4_flex::frame::FrameDecoder::new(packed), most),
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::LZO
        | Compression::ZSTD(_)
        | Compression::LZ4_RAW => true,
    }
}

fn ends_within(unpacked: impl Read, most: u64) -> bool {
    let mut counted = Counted(0);
    // An error ends the library's reading at the same place.
    let _ = io::copy(&mut unpacked.take(most.saturating_add(1)), &mut counted);
    counted.0 <= most
}

/// Takes bytes and keeps their number.
struct Counted(u64);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use parquet::basic::{BrotliLevel, GzipLevel, ZstdLevel};

    use super::*;

    #[test]
    fn what_unpacks_to_more_than_it_claims_is_found_in_every_codec_that_says_nothing_of_its_length() {
        let zeros = vec![0; 1 << 20];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&zeros).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&zeros).unwrap();
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
        brotli.write_all(&zeros).unwrap();
        for (codec, packed) in [
            (Compression::GZIP(GzipLevel::default()), gzip.finish().unwrap()),
            (Compression::LZ4, lz4.finish().unwrap()),
            (Compression::BROTLI(BrotliLevel::default()), brotli.into_inner()),
        ] {
            assert!(packed.len() < 8 << 10, "{codec}: {}", packed.len());
            assert!(unpacks_within(codec, &*packed, 1 << 20), "{codec}");
            assert!(!unpacks_within(codec, &*packed, (1 << 20) - 1), "{codec}");
        }
        assert!(unpacks_within(Compression::ZSTD(ZstdLevel::default()), &[][..], 0));
    }
}
