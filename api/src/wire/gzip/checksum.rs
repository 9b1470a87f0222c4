//! Checksums of what is put together from parts (CRC-32, as RFC 1952 has it).
//!
//! A text is a polynomial over two elements, its checksum the remainder by a fixed one. To append `n` bytes multiplies
//! what was there by x to the 8n-th; so that power, worked out once for a part, is all that it takes to append the part
//! to any number of texts.

/// The polynomial, without its highest power; like all of them here, lowest power in the highest bit.
const DIVISOR: u32 = 0xedb8_8320;
/// x to the 0th, and to the 8th: a byte.
const ONE: u32 = 1 << 31;
const BYTE: u32 = 1 << 23;

/// What appending a part does to the checksum before it: multiplies it by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shift(pub(super) u32);

impl Shift {
    /// Returns what appending so many bytes does.
    pub(super) fn over(bytes: u32) -> Self {
        let (mut power, mut square, mut left) = (ONE, BYTE, bytes);
        while left > 0 {
            if left & 1 == 1 {
                power = product(power, square);
            }
            square = product(square, square);
            left >>= 1;
        }
        Self(power)
    }

    /// Returns the checksum of a text and a part after it.
    pub(super) fn append(self, text: u32, part: u32) -> u32 {
        product(self.0, text) ^ part
    }
}

/// Multiplies two remainders. Without branches: it is done for each frame of each stream.
fn product(one: u32, mut other: u32) -> u32 {
    let mut product = 0;
    for power in 0..32 {
        let has = 0_u32.wrapping_sub(one >> (31 - power) & 1);
        product ^= other & has;
        other = (other >> 1) ^ (DIVISOR & 0_u32.wrapping_sub(other & 1));
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::crc;
    use super::*;

    proptest! {
        #[test]
        fn the_checksum_of_two_parts_is_that_of_the_whole(
            one in prop::collection::vec(any::<u8>(), 0..2_000),
            other in prop::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let shift = Shift::over(u32::try_from(other.len()).unwrap());
            prop_assert_eq!(shift.append(crc(&one), crc(&other)), crc(&[one, other].concat()));
        }
    }

    #[test]
    fn nothing_appended_changes_nothing() {
        assert_eq!(Shift::over(0).append(0xdead_beef, 0), 0xdead_beef);
    }
}
