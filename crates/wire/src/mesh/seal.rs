use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use thiserror::Error;

use crate::reader::Reader;

const MAGIC: [u8; 3] = [b'p', b'w', 1];

/// One life of a node's process. A later life must compare greater: when it
/// began, then random bits, so that no two lives share a sealing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u128);

impl Incarnation {
    /// A life that began so many milliseconds after the epoch.
    #[must_use]
    pub const fn new(began: u64, random: u64) -> Self {
        Self((began as u128) << 64 | random as u128)
    }

    pub(super) const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// The key that the nodes of a mesh share.
#[derive(Clone)]
pub struct Key(Prk);

impl Key {
    /// Derives it from a secret of any length: the `secretkey` of `MetalLB`'s
    /// Secret `memberlist`, as it is.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(Salt::new(HKDF_SHA256, b"podway mesh 1").extract(secret))
    }

    /// A key of its own for each life of each sender, so that a counter is
    /// nonce enough: no two datagrams are sealed with the same key and nonce.
    fn of_sender(&self, name: &str, incarnation: Incarnation) -> LessSafeKey {
        let parts: [&[u8]; 3] = [b"sender", &incarnation.to_bytes(), name.as_bytes()];
        let material = self
            .0
            .expand(&parts, &AES_256_GCM)
            .expect("a key of the cipher's length is not too long");
        LessSafeKey::new(UnboundKey::from(material))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// Not a datagram of this protocol and version.
    #[error("the datagram is not one of the mesh, or of another version")]
    Foreign,
    /// From a node that is no voter.
    #[error("the datagram says it is from {0}, which is not a node of the mesh")]
    UnknownSender(String),
    /// Sealed with another key, changed, or meant for somebody else.
    #[error("the datagram from {0} does not open: another secret on that node, or forged")]
    Sealed(String),
    /// Seen before, or overtaken by a later one.
    #[error("the datagram from {0} is older than one before it")]
    Old(String),
    /// It opened, and makes no sense.
    #[error("the datagram from {0} is malformed")]
    Malformed(String),
}

/// What everybody can read of a datagram.
pub(super) struct Header<'a> {
    pub sender: &'a str,
    pub incarnation: Incarnation,
    pub counter: u64,
    /// The header itself, and what is sealed.
    bytes: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Header<'a> {
    pub(super) fn decode(datagram: &'a [u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(datagram);
        let mut read = || {
            reader.array().filter(|magic| *magic == MAGIC)?;
            let length = reader.u8()?;
            let sender = str::from_utf8(reader.take(usize::from(length))?).ok()?;
            let incarnation = Incarnation::from_bytes(reader.array()?);
            let counter = reader.u64()?;
            Some((sender, incarnation, counter))
        };
        let (sender, incarnation, counter) = read().ok_or(OpenError::Foreign)?;
        let sealed = reader.rest();
        Ok(Self {
            sender,
            incarnation,
            counter,
            bytes: &datagram[..datagram.len() - sealed.len()],
            sealed,
        })
    }

    pub(super) fn open(&self, key: &Opener, receiver: &str) -> Result<Vec<u8>, OpenError> {
        let mut bytes = self.sealed.to_vec();
        let aad = Aad::from(bound(self.bytes, receiver));
        let opened = key.0.open_in_place(nonce(self.counter), aad, &mut bytes);
        match opened {
            Ok(plain) => Ok(plain.to_vec()),
            Err(_) => Err(OpenError::Sealed(self.sender.to_owned())),
        }
    }
}

/// Opens what one life of one node has sealed.
pub(super) struct Opener(LessSafeKey);

impl Opener {
    pub(super) fn new(key: &Key, header: &Header<'_>) -> Self {
        Self(key.of_sender(header.sender, header.incarnation))
    }
}

/// Seals what this node sends.
pub(super) struct Sealer {
    name: Arc<str>,
    incarnation: Incarnation,
    key: LessSafeKey,
    counter: u64,
}

impl Sealer {
    pub(super) fn new(key: &Key, name: Arc<str>, incarnation: Incarnation) -> Self {
        Self {
            key: key.of_sender(&name, incarnation),
            name,
            incarnation,
            counter: 0,
        }
    }

    pub(super) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The counter of the last datagram.
    pub(super) const fn counter(&self) -> u64 {
        self.counter
    }

    pub(super) fn seal(&mut self, receiver: &str, message: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let name = self.name.as_bytes();
        let mut header = MAGIC.to_vec();
        header.push(u8::try_from(name.len()).expect("Member::new refuses longer names"));
        header.extend(name);
        header.extend(self.incarnation.to_bytes());
        header.extend(self.counter.to_be_bytes());
        let mut sealed = message.to_vec();
        let aad = Aad::from(bound(&header, receiver));
        self.key
            .seal_in_place_append_tag(nonce(self.counter), aad, &mut sealed)
            .expect("a datagram is far shorter than the cipher's limit");
        header.extend(sealed);
        header
    }
}

/// What is authenticated beside the message: the header, and whom it is for, so
/// that nobody can pass it on to a third.
fn bound(header: &[u8], receiver: &str) -> Vec<u8> {
    [header, receiver.as_bytes()].concat()
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
