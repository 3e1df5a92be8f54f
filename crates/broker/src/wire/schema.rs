//! The requests that this broker serves: versions, and the shape of each on the wire.
//!
//! The shapes repeat the Kafka protocol guide as far as a guard needs it: where lengths and counts stand. They are
//! walked by [`super::guard`] before the codec sees a byte. One table answers ApiVersions, the version check and the
//! guard, so that nothing is advertised that is not served.

use kafka_protocol::messages::ApiKey;

/// What a field is on the wire.
#[derive(Debug)]
pub(crate) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string: i16 length, or a compact one in flexible versions; null allowed.
    Text,
    /// Bytes: i32 length, or a compact one in flexible versions; null allowed.
    Blob,
    /// An array of structs: i32 count, or a compact one; null allowed. In flexible versions each struct ends with
    /// tagged fields.
    Structs(&'static [Field]),
    /// An array of fixed-size values.
    Values(usize),
    /// An array of strings.
    Texts,
}

/// A field and the versions that have it, both ends included.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) from: i16,
    pub(crate) to: i16,
    pub(crate) kind: Kind,
}

/// One request: its key, the versions served, its fields in order.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min: i16,
    pub(crate) max: i16,
    pub(crate) fields: &'static [Field],
}

const LAST: i16 = i16::MAX;
const I8: Kind = Kind::Fixed(1);
const I16: Kind = Kind::Fixed(2);
const I32: Kind = Kind::Fixed(4);
const I64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
const TEXT: Kind = Kind::Text;

const fn all(kind: Kind) -> Field {
    span(0, LAST, kind)
}

const fn since(from: i16, kind: Kind) -> Field {
    span(from, LAST, kind)
}

const fn until(to: i16, kind: Kind) -> Field {
    span(0, to, kind)
}

const fn span(from: i16, to: i16, kind: Kind) -> Field {
    Field { from, to, kind }
}

const fn structs(fields: &'static [Field]) -> Kind {
    Kind::Structs(fields)
}

const fn api(key: ApiKey, min: i16, max: i16, fields: &'static [Field]) -> Api {
    Api { key, min, max, fields }
}

const NAME_AND_INDEXES: &[Field] = &[all(TEXT), all(Kind::Values(4))];
const PRODUCE: &[Field] =
    &[all(TEXT), all(I16), all(I32), all(structs(&[all(TEXT), all(structs(&[all(I32), all(Kind::Blob)]))]))];
const FETCH: &[Field] = &[
    until(14, I32),
    all(I32),
    all(I32),
    all(I32),
    all(I8),
    since(7, I32),
    since(7, I32),
    all(structs(&[
        until(12, TEXT),
        since(13, UUID),
        all(structs(&[all(I32), since(9, I32), all(I64), since(12, I32), since(5, I64), all(I32)])),
    ])),
    since(7, structs(&[until(12, TEXT), since(13, UUID), all(Kind::Values(4))])),
    since(11, TEXT),
];
const LIST_OFFSETS: &[Field] =
    &[all(I32), since(2, I8), all(structs(&[all(TEXT), all(structs(&[all(I32), since(4, I32), all(I64)]))]))];
const METADATA: &[Field] = &[all(structs(&[since(10, UUID), all(TEXT)])), since(4, I8), span(8, 10, I8), since(8, I8)];
const OFFSET_COMMIT: &[Field] = &[
    all(TEXT),
    all(I32),
    all(TEXT),
    since(7, TEXT),
    until(4, I64),
    all(structs(&[all(TEXT), all(structs(&[all(I32), all(I64), since(6, I32), all(TEXT)]))])),
];
const OFFSET_FETCH: &[Field] = &[
    until(7, TEXT),
    until(7, structs(NAME_AND_INDEXES)),
    since(8, structs(&[all(TEXT), since(9, TEXT), since(9, I32), all(structs(NAME_AND_INDEXES))])),
    since(7, I8),
];
const JOIN_GROUP: &[Field] = &[
    all(TEXT),
    all(I32),
    since(1, I32),
    all(TEXT),
    since(5, TEXT),
    all(TEXT),
    all(structs(&[all(TEXT), all(Kind::Blob)])),
    since(8, TEXT),
];
const SYNC_GROUP: &[Field] = &[
    all(TEXT),
    all(I32),
    all(TEXT),
    since(3, TEXT),
    since(5, TEXT),
    since(5, TEXT),
    all(structs(&[all(TEXT), all(Kind::Blob)])),
];
const LEAVE_GROUP: &[Field] = &[all(TEXT), until(2, TEXT), since(3, structs(&[all(TEXT), all(TEXT), since(5, TEXT)]))];
const CREATE_TOPICS: &[Field] = &[
    all(structs(&[
        all(TEXT),
        all(I32),
        all(I16),
        all(structs(&[all(I32), all(Kind::Values(4))])),
        all(structs(&[all(TEXT), all(TEXT)])),
    ])),
    all(I32),
    all(I8),
];
const DELETE_TOPICS: &[Field] = &[since(6, structs(&[all(TEXT), all(UUID)])), until(5, Kind::Texts), all(I32)];
const LEADER_EPOCH: &[Field] =
    &[since(3, I32), all(structs(&[all(TEXT), all(structs(&[all(I32), all(I32), all(I32)]))]))];
const DESCRIBE_CONFIGS: &[Field] = &[all(structs(&[all(I8), all(TEXT), all(Kind::Texts)])), all(I8), since(3, I8)];

const CREATE_PARTITIONS: &[Field] =
    &[all(structs(&[all(TEXT), all(I32), all(structs(&[all(Kind::Values(4))]))])), all(I32), all(I8)];
const DELETE_RECORDS: &[Field] = &[all(structs(&[all(TEXT), all(structs(&[all(I32), all(I64)]))])), all(I32)];
const ALTER_CONFIGS: &[Field] = &[all(structs(&[all(I8), all(TEXT), all(structs(&[all(TEXT), all(TEXT)]))])), all(I8)];
const ALTER_SOME_CONFIGS: &[Field] =
    &[all(structs(&[all(I8), all(TEXT), all(structs(&[all(TEXT), all(I8), all(TEXT)]))])), all(I8)];
const OFFSET_DELETE: &[Field] = &[all(TEXT), all(structs(&[all(TEXT), all(structs(&[all(I32)]))]))];

/// Everything that is served. Versions end where topic ids replace names in writing (Produce 13), where a second
/// transaction protocol begins (Produce 12, InitProducerId 5), where replicas speak (Fetch 18), or where the codec
/// ends.
pub(crate) const APIS: &[Api] = &[
    api(ApiKey::Produce, 3, 11, PRODUCE),
    api(ApiKey::Fetch, 4, 17, FETCH),
    api(ApiKey::ListOffsets, 1, 9, LIST_OFFSETS),
    api(ApiKey::Metadata, 0, 13, METADATA),
    api(ApiKey::OffsetCommit, 2, 8, OFFSET_COMMIT),
    api(ApiKey::OffsetFetch, 1, 8, OFFSET_FETCH),
    api(ApiKey::FindCoordinator, 0, 4, &[until(3, TEXT), since(1, I8), since(4, Kind::Texts)]),
    api(ApiKey::JoinGroup, 0, 9, JOIN_GROUP),
    api(ApiKey::Heartbeat, 0, 4, &[all(TEXT), all(I32), all(TEXT), since(3, TEXT)]),
    api(ApiKey::LeaveGroup, 0, 5, LEAVE_GROUP),
    api(ApiKey::SyncGroup, 0, 5, SYNC_GROUP),
    api(ApiKey::DescribeGroups, 0, 5, &[all(Kind::Texts), since(3, I8)]),
    api(ApiKey::ListGroups, 0, 5, &[since(4, Kind::Texts), since(5, Kind::Texts)]),
    api(ApiKey::ApiVersions, 0, 4, &[since(3, TEXT), since(3, TEXT)]),
    api(ApiKey::CreateTopics, 2, 7, CREATE_TOPICS),
    api(ApiKey::DeleteTopics, 1, 6, DELETE_TOPICS),
    api(ApiKey::InitProducerId, 0, 4, &[all(TEXT), all(I32), since(3, I64), since(3, I16)]),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4, LEADER_EPOCH),
    api(ApiKey::DescribeConfigs, 1, 4, DESCRIBE_CONFIGS),
    api(ApiKey::DescribeCluster, 0, 1, &[all(I8), since(1, I8)]),
    api(ApiKey::DeleteGroups, 0, 2, &[all(Kind::Texts)]),
    api(ApiKey::DeleteRecords, 0, 2, DELETE_RECORDS),
    api(ApiKey::AlterConfigs, 0, 2, ALTER_CONFIGS),
    api(ApiKey::IncrementalAlterConfigs, 0, 1, ALTER_SOME_CONFIGS),
    api(ApiKey::DescribeLogDirs, 1, 3, &[all(structs(NAME_AND_INDEXES))]),
    api(ApiKey::CreatePartitions, 0, 3, CREATE_PARTITIONS),
    api(ApiKey::OffsetDelete, 0, 0, OFFSET_DELETE),
];

/// The request of a key, if it is served.
pub(crate) fn api_of(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}
