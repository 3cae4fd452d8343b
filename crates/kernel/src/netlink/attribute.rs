/// Set in the type of an attribute that holds attributes.
const NESTED: u16 = 0x8000;
const BYTE_ORDER: u16 = 0x4000;

/// Writes attributes one after the other, padded to 4 bytes.
#[derive(Debug)]
pub struct Attributes<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Attributes<'a> {
    /// Appends to a message.
    #[must_use]
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// How many bytes the message has.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.out.len()
    }

    /// Raw bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).expect("an attribute is below 64 kB");
        self.out.extend_from_slice(&length.to_ne_bytes());
        self.out.extend_from_slice(&kind.to_ne_bytes());
        self.out.extend_from_slice(value);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        self
    }

    /// A 32-bit number in network order, as all of nf_tables has them.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A 64-bit number in network order.
    pub fn long(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Text with the zero at its end.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Attributes within an attribute. They must stay below 64 kB together.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 2]);
        self.out.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(&mut Attributes { out: self.out });
        let length = u16::try_from(self.out.len() - start).expect("a nest is below 64 kB");
        self.out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// An attribute that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, without the flags.
    pub kind: u16,
    /// Whether it says that it holds attributes. Older kernels do not say so.
    pub nested: bool,
    /// Its bytes.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// A 32-bit number in network order; 0 where it is shorter.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.value
            .first_chunk()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// A 64-bit number in network order; 0 where it is shorter.
    #[must_use]
    pub fn long(&self) -> u64 {
        self.value
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// Text up to its zero; empty where it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &'a str {
        let end = self
            .value
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end]).unwrap_or_default()
    }

    /// The attributes within.
    pub fn nest(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        attributes(self.value)
    }

    /// The first attribute of this type within.
    #[must_use]
    pub fn find(&self, kind: u16) -> Option<Attribute<'a>> {
        self.nest().find(|attribute| attribute.kind == kind)
    }
}

/// Reads attributes up to the first that cannot be one.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let header: &[u8; 4] = bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Attribute {
            kind: kind & !(NESTED | BYTE_ORDER),
            nested: kind & NESTED != 0,
            value,
        })
    })
}
