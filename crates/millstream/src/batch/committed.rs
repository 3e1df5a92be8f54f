//! Reads what is decided and committed. The store is the truth; the pipeline's view of it comes from here.

use super::cut::{self, DecideError};
use super::manifest::{Batch, Cut, Manifest, manifest_key};
use crate::store::{Store, read_optional};

/// All cuts, in order; the first absent one ends the list.
pub fn cuts(store: &dyn Store) -> Result<Vec<Cut>, DecideError> {
    let mut cuts = Vec::new();
    while let Some(cut) = cut::read(store, u32::try_from(cuts.len()).unwrap_or(u32::MAX) + 1)? {
        cuts.push(cut);
    }
    Ok(cuts)
}

#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// Complete batches, from 1, without a gap.
    pub batches: Vec<Batch>,
    /// Per partition: the newest batch with a manifest (0: none) and the end offset there.
    pub checkpoint: Vec<(u32, i64)>,
    /// Rejects of every manifest, also of batches that are not complete yet.
    pub rejects: u64,
}

/// Reads every manifest. `base_offsets`: where each partition begins.
pub fn committed(store: &dyn Store, base_offsets: &[i64]) -> Result<Committed, DecideError> {
    let mut found =
        Committed { checkpoint: base_offsets.iter().map(|base| (0, *base)).collect(), ..Committed::default() };
    for cut in cuts(store)? {
        let parts = parts_of(store, &cut)?;
        for manifest in &parts {
            if let Some(checkpoint) = found.checkpoint.get_mut(manifest.partition as usize) {
                *checkpoint = (cut.batch, manifest.end_offset);
            }
            found.rejects += manifest.rejects;
        }
        let next = found.batches.len() + 1 == cut.batch as usize;
        if next && parts.len() == base_offsets.len() {
            found.batches.push(Batch { cut, parts });
        }
    }
    Ok(found)
}

/// A batch, once every partition's manifest is there.
pub(super) fn read_complete(store: &dyn Store, batch: u32) -> Result<Option<Batch>, DecideError> {
    let Some(cut) = cut::read(store, batch)? else { return Ok(None) };
    let parts = parts_of(store, &cut)?;
    Ok((parts.len() == cut.ends.len()).then_some(Batch { cut, parts }))
}

/// The manifests of a cut that exist so far, partition 0 first.
fn parts_of(store: &dyn Store, cut: &Cut) -> Result<Vec<Manifest>, DecideError> {
    let partitions = (0..).take(cut.ends.len());
    partitions.filter_map(|partition| read_manifest(store, cut.batch, partition).transpose()).collect()
}

pub(super) fn read_manifest(store: &dyn Store, batch: u32, partition: u32) -> Result<Option<Manifest>, DecideError> {
    let key = manifest_key(batch, partition);
    read_optional(store, &key)?.map(|bytes| parse_manifest(store, &key, &bytes)).transpose()
}

pub(super) fn parse_manifest(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<Manifest, DecideError> {
    let unreadable = |reason| DecideError::Unreadable { place: store.place(key), reason };
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if manifest.format != crate::schema::FORMAT {
        return Err(unreadable(format!("format {}", manifest.format)));
    }
    Ok(manifest)
}
