//! The Internet checksum (RFC 1071), in the machine's byte order: its section 2
//! (B) says why that is the same.

use std::net::IpAddr;

/// Adds bytes to a sum. An odd last byte counts as if a zero followed, so only
/// the last of several pieces may be odd.
pub(super) fn add(sum: u64, bytes: &[u8]) -> u64 {
    // Lanes that the compiler can keep in vector registers. 32-bit words may be
    // added as well as 16-bit ones: folding brings them together.
    let mut lanes = [0_u64; 8];
    let mut chunks = bytes.chunks_exact(32);
    for chunk in &mut chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut sum = sum + lanes.iter().map(|lane| u64::from(fold(*lane))).sum::<u64>();
    let mut words = chunks.remainder().chunks_exact(2);
    for word in &mut words {
        sum += u64::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

/// A sum in 16 bits.
pub(super) const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of a pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1).
pub(super) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            add(add(0, &source.octets()), &destination.octets())
        }
        (source, destination) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            add(add(0, &octets(source)), &octets(destination))
        }
    };
    let length = u32::try_from(length).unwrap_or(0).to_be_bytes();
    add(addresses, &length) + u64::from(u16::from(protocol).to_be())
}

/// Writes the checksum of a sum at `at`.
pub(super) fn write(bytes: &mut [u8], at: usize, sum: u64) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&(!fold(sum)).to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071, 4.1, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for word in bytes.chunks(2) {
            sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn any_length_and_any_cut_give_the_plain_sum() {
        let bytes: Vec<u8> = (0..1500_u32).map(|i| (i * 37 % 251) as u8).collect();
        for length in (0..100).chain([1023, 1024, 1499, 1500]) {
            let bytes = &bytes[..length];
            let expected = plain(bytes);
            for cut in [0, length / 4 * 2] {
                let (first, second) = bytes.split_at(cut);
                let sum = fold(add(add(0, first), second));
                assert_eq!(u16::from_be(sum), expected, "{length} bytes cut at {cut}");
            }
        }
    }

    #[test]
    fn the_largest_packet_of_ones_does_not_overflow() {
        assert_eq!(fold(add(0, &[0xff; 65_536])), 0xffff);
    }
}
