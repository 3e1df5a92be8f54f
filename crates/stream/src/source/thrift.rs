//! As much of Thrift's compact protocol as it takes to see what a Parquet file claims before the library believes it: numbers
//! of a struct and its lists; the rest is passed over. Every loop takes at least a byte a turn.

/// Structs and lists within each other: Parquet's own have seven.
const DEPTH_MOST: usize = 32;

/// Why bytes are no struct.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Torn {
    /// There may be more of it.
    Short,
    Damaged,
}

pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

/// What a field is, as the protocol numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    True,
    False,
    Byte,
    Integer,
    Double,
    Binary,
    List,
    Map,
    Struct,
    Uuid,
}

impl Kind {
    fn of(code: u8) -> Result<Self, Torn> {
        Ok(match code {
            1 => Self::True,
            2 => Self::False,
            3 => Self::Byte,
            4..=6 => Self::Integer,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            _ => return Err(Torn::Damaged),
        })
    }
}

impl<'a> Thrift<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Calls `field` with each field of a struct; what it answers false to is passed over.
    pub fn read_struct(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, Kind) -> Result<bool, Torn>,
    ) -> Result<(), Torn> {
        self.enter()?;
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                break;
            }
            id = match head >> 4 {
                0 => self.integer()?,
                more => id.checked_add(i64::from(more)).ok_or(Torn::Damaged)?,
            };
            // The library cuts off what is more.
            i16::try_from(id).map_err(|_| Torn::Damaged)?;
            let kind = Kind::of(head & 0x0f)?;
            if !field(self, id, kind)? {
                self.skip(kind)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The length of a list, and what it is of.
    pub fn list(&mut self) -> Result<(u64, Kind), Torn> {
        let head = self.byte()?;
        if head == 0 {
            // Some writers say of no element what it is.
            return Ok((0, Kind::Byte));
        }
        let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Ok((length, Kind::of(head & 0x0f)?))
    }

    /// All that are read have 32 bits; of more the library cuts off what is more.
    pub fn integer(&mut self) -> Result<i64, Torn> {
        let number = self.varint()?;
        let number = (number >> 1).cast_signed() ^ -((number & 1).cast_signed());
        i32::try_from(number).map(i64::from).map_err(|_| Torn::Damaged)
    }

    fn skip(&mut self, kind: Kind) -> Result<(), Torn> {
        match kind {
            Kind::True | Kind::False => Ok(()),
            Kind::Byte => self.pass(1),
            Kind::Integer => self.varint().map(drop),
            Kind::Double => self.pass(8),
            Kind::Uuid => self.pass(16),
            Kind::Binary => {
                let length = self.varint()?;
                self.pass(length)
            }
            Kind::List => {
                self.enter()?;
                let (length, kind) = self.list()?;
                for _ in 0..length {
                    self.skip_element(kind)?;
                }
                self.depth -= 1;
                Ok(())
            }
            Kind::Map => {
                self.enter()?;
                let length = self.varint()?;
                let kinds = if length == 0 { 0 } else { self.byte()? };
                for _ in 0..length {
                    self.skip_element(Kind::of(kinds >> 4)?)?;
                    self.skip_element(Kind::of(kinds & 0x0f)?)?;
                }
                self.depth -= 1;
                Ok(())
            }
            Kind::Struct => self.read_struct(|_, _, _| Ok(false)),
        }
    }

    /// In a list true and false take a byte, which the library does not pass over: what follows it reads otherwise.
    fn skip_element(&mut self, kind: Kind) -> Result<(), Torn> {
        match kind {
            Kind::True | Kind::False => Err(Torn::Damaged),
            other => self.skip(other),
        }
    }

    fn enter(&mut self) -> Result<(), Torn> {
        self.depth += 1;
        if self.depth > DEPTH_MOST { Err(Torn::Damaged) } else { Ok(()) }
    }

    fn byte(&mut self) -> Result<u8, Torn> {
        let byte = *self.bytes.get(self.at).ok_or(Torn::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, length: u64) -> Result<(), Torn> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length)).ok_or(Torn::Damaged)?;
        if end > self.bytes.len() {
            return Err(Torn::Short);
        }
        self.at = end;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Torn> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Torn::Damaged)
    }
}
