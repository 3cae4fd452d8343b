//! The encoding below: numbers, and bytes with their length.

use super::ProtobufError;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl<'b> Content<'b> {
    pub(super) fn bytes(self) -> Result<&'b [u8], ProtobufError> {
        match self {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Number(_) => Err(ProtobufError::new("a number where text should be")),
        }
    }

    pub(super) fn number(self) -> Result<u64, ProtobufError> {
        match self {
            Content::Number(number) => Ok(number),
            Content::Bytes(_) => Err(ProtobufError::new("text where a number should be")),
        }
    }
}

/// The fields of a message in order. Ends after the first error.
pub(super) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn new(message: &'b [u8]) -> Reader<'b> {
        Reader(message)
    }

    fn field(&mut self) -> Result<(u32, Content<'b>), ProtobufError> {
        const VARINT: u64 = 0;
        const FIXED_64: u64 = 1;
        const LENGTH_DELIMITED: u64 = 2;
        const FIXED_32: u64 = 5;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .map_err(|_| ProtobufError::new("a field's number is too large"))?;
        let content = match tag & 7 {
            VARINT => Content::Number(self.varint()?),
            LENGTH_DELIMITED => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Content::Bytes(self.take(length)?)
            }
            // No type of Kubernetes has these; a newer one may.
            FIXED_64 => Content::Bytes(self.take(8)?),
            FIXED_32 => Content::Bytes(self.take(4)?),
            other => return Err(ProtobufError::new(format!("unknown wire type {other}"))),
        };
        Ok((number, content))
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ProtobufError::new("a number has more than 64 bits"))
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], ProtobufError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| ProtobufError::new("the message breaks off"))?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'b> Iterator for Reader<'b> {
    type Item = Result<(u32, Content<'b>), ProtobufError>;

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

/// Numbers written one after the other.
pub(super) fn packed(bytes: &[u8]) -> impl Iterator<Item = Result<u64, ProtobufError>> + '_ {
    let mut reader = Reader(bytes);
    std::iter::from_fn(move || {
        let number = (!reader.0.is_empty()).then(|| reader.varint())?;
        if number.is_err() {
            reader.0 = &[];
        }
        Some(number)
    })
}
