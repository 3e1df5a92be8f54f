//! Protocol Buffers as bytes: the fields of a message as they come, borrowed, and messages written. Knows no message.
//!
//! Nothing is allocated for what is read: a decoder that builds structs makes hundreds of bytes of each two that claim a nested message, before
//! anybody can count them. Who reads a message counts what it keeps.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    /// A text, bytes, a message, or numbers one after the other.
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufFault {
    #[error("it ends within a field")]
    Cut,
    #[error("it has a number of more than 64 bits")]
    Overlong,
    #[error("it has a field of the number {number}")]
    FieldNumber { number: u64 },
    #[error("its field {number} is of the wire type {wire_type}, which proto3 has not")]
    WireType { number: u32, wire_type: u64 },
}

/// The fields of a message, in the order in which they were written; the last one is a fault where the bytes are no message.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a [u8]);

pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), ProtobufFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Wire<'a>), ProtobufFault> {
        let key = take_varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..=NUMBER_MOST).contains(number));
        let number = number.ok_or(ProtobufFault::FieldNumber { number: key >> 3 })?;
        let wire = match key & 7 {
            0 => Wire::Varint(take_varint(&mut self.0)?),
            1 => Wire::Fixed64(self.take_array()?),
            2 => {
                let length = usize::try_from(take_varint(&mut self.0)?).map_err(|_| ProtobufFault::Cut)?;
                let (taken, rest) = self.0.split_at_checked(length).ok_or(ProtobufFault::Cut)?;
                self.0 = rest;
                Wire::Bytes(taken)
            }
            5 => Wire::Fixed32(self.take_array()?),
            wire_type => return Err(ProtobufFault::WireType { number, wire_type }),
        };
        Ok((number, wire))
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufFault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ProtobufFault::Cut)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// Of a field.
const NUMBER_MOST: u32 = (1 << 29) - 1;
const VARINT_BYTES_MOST: usize = 10;

/// Takes a number off the front.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, ProtobufFault> {
    let (all, mut value) = (*bytes, 0_u64);
    for (index, byte) in all.iter().take(VARINT_BYTES_MOST).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if index + 1 == VARINT_BYTES_MOST && *byte > 1 {
            return Err(ProtobufFault::Overlong);
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &all[index + 1..];
            return Ok(value);
        }
    }
    Err(ProtobufFault::Cut)
}

/// A message on its way out. As proto3 has it, a value that is zero or empty is not written where it is the only one of its field.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, 0);
            push_varint(&mut self.0, value);
        }
    }

    pub fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// One of several, which is written when it is empty, too; or numbers one after the other.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        push_varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn message(&mut self, field: u32, message: Self) {
        self.bytes(field, &message.0);
    }

    fn key(&mut self, field: u32, wire_type: u64) {
        push_varint(&mut self.0, u64::from(field) << 3 | wire_type);
    }
}

pub fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Wire<'_>)>, ProtobufFault> {
        fields(bytes).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(numbers: Vec<u64>, text in ".{0,40}", field in 1..=NUMBER_MOST) {
            let mut inner = Message::default();
            numbers.iter().for_each(|number| inner.number(1, *number));
            let mut message = Message::default();
            message.text(2, &text);
            message.message(field, inner);
            let bytes = message.into_bytes();
            let found = read(&bytes).unwrap();
            let Some((last, Wire::Bytes(inner))) = found.last() else { panic!("{found:?}") };
            prop_assert_eq!(*last, field);
            let expected: Vec<_> = numbers.iter().filter(|number| **number != 0).map(|number| (1, Wire::Varint(*number))).collect();
            prop_assert_eq!(read(inner).unwrap(), expected);
            prop_assert_eq!(found.len(), 1 + usize::from(!text.is_empty()));
        }

        #[test]
        fn any_bytes_are_fields_or_a_fault(bytes: Vec<u8>) {
            let found = fields(&bytes).filter_map(Result::ok).map(|(_, wire)| match wire { Wire::Bytes(bytes) => 2 + bytes.len(), _ => 2 });
            prop_assert!(found.sum::<usize>() <= bytes.len());
        }
    }

    /// By the examples of the encoding's own documentation, and at its edges.
    #[test]
    fn fields_are_read_as_the_encoding_has_them() {
        assert_eq!(read(&[0x08, 0x96, 0x01]), Ok(vec![(1, Wire::Varint(150))]));
        assert_eq!(read(b"\x12\x07testing"), Ok(vec![(2, Wire::Bytes(b"testing"))]));
        let minus_two = [[0x08, 0xfe].as_slice(), &[0xff; 8], &[0x01]].concat();
        assert_eq!(read(&minus_two), Ok(vec![(1, Wire::Varint(u64::MAX - 1))]));
        assert_eq!(read(&[0x0d, 1, 2, 3, 4]), Ok(vec![(1, Wire::Fixed32([1, 2, 3, 4]))]));
        assert_eq!(read(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(vec![(1, Wire::Fixed64([1, 2, 3, 4, 5, 6, 7, 8]))]));
        for cut in
            [&[0x08][..], &[0x08, 0x80], &[0x12, 2, b'a'], &[0x09, 0], &[0x0d, 0], &[0x80], &[0x12, 0xff, 0xff, 0x7f]]
        {
            assert_eq!(read(cut), Err(ProtobufFault::Cut), "{cut:?}");
        }
        let overlong = [[0x08].as_slice(), &[0xff; 9], &[0x02]].concat();
        assert_eq!(read(&overlong), Err(ProtobufFault::Overlong));
        assert_eq!(read(&[0x00, 0x00]), Err(ProtobufFault::FieldNumber { number: 0 }));
        assert_eq!(read(&[0x0b]), Err(ProtobufFault::WireType { number: 1, wire_type: 3 }));
        assert_eq!(fields(&[0x0b, 0x08, 0x01]).count(), 1, "nothing is read after a fault");
    }
}
