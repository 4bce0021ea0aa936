//! The types of stored tensors, and their values.

use half::f16;

/// Elements of a block of a quantised type.
const BLOCK: usize = 32;

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    /// Blocks of 32: a scale d (f16) and 32 signed bytes q, `x = d q`.
    Q8_0,
    /// Blocks of 32: a scale d (f16) and 32 halves of bytes q, `x = d (q - 8)`.
    Q4_0,
    /// Blocks of 32: a scale d and a minimum m (f16) and 32 halves of bytes q, `x = d q + m`.
    Q4_1,
}

impl Kind {
    /// The type of a number in a file.
    pub(super) fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::F32),
            1 => Some(Self::F16),
            2 => Some(Self::Q4_0),
            3 => Some(Self::Q4_1),
            8 => Some(Self::Q8_0),
            _ => None,
        }
    }

    /// The name in llama.cpp.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
        }
    }

    /// Elements and bytes of what is stored together.
    pub(super) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 => (1, 2),
            Self::Q8_0 => (BLOCK, 2 + BLOCK),
            Self::Q4_0 => (BLOCK, 2 + BLOCK / 2),
            Self::Q4_1 => (BLOCK, 4 + BLOCK / 2),
        }
    }

    /// The values of whole blocks.
    pub(super) fn values(self, bytes: &[u8]) -> Vec<f32> {
        let (elements, size) = self.block();
        let mut values = Vec::with_capacity(bytes.len() / size * elements);
        for block in bytes.chunks_exact(size) {
            match self {
                Self::F32 => values.extend(block.as_chunks().0.iter().copied().map(f32::from_le_bytes)),
                Self::F16 => values.extend(block.as_chunks().0.iter().copied().map(half)),
                Self::Q8_0 => {
                    let ([scale, ..], _) = block.as_chunks() else { continue };
                    let scale = half(*scale);
                    values.extend(block[2..].iter().map(|&q| scale * f32::from(q.cast_signed())));
                }
                Self::Q4_0 => {
                    let ([scale, ..], _) = block.as_chunks() else { continue };
                    let scale = half(*scale);
                    values.extend(halves(&block[2..]).map(|q| scale * (f32::from(q) - 8.0)));
                }
                Self::Q4_1 => {
                    let ([scale, minimum, ..], _) = block.as_chunks() else { continue };
                    let (scale, minimum) = (half(*scale), half(*minimum));
                    values.extend(halves(&block[4..]).map(|q| scale * f32::from(q) + minimum));
                }
            }
        }
        values
    }
}

fn half(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// The lower halves of all bytes, then the upper ones.
fn halves(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 0x0f).chain(bytes.iter().map(|byte| byte >> 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// f16: 0.5 is 0x3800, -1.5 is 0xbe00.
    const HALF: [u8; 2] = [0x00, 0x38];
    const MINUS: [u8; 2] = [0x00, 0xbe];

    #[test]
    fn plain_types_are_little_endian() {
        assert_eq!(Kind::F32.values(&[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]), [1.0, -2.0]);
        assert_eq!(Kind::F16.values(&[HALF, MINUS].concat()), [0.5, -1.5]);
    }

    #[test]
    fn q8_0_is_a_scale_and_signed_bytes() {
        let mut block = HALF.to_vec();
        block.extend((0..32).map(|i| if i == 1 { 0x80 } else { i as u8 }));
        let values = Kind::Q8_0.values(&block);
        // 0.5 times 0, -128, 2, ..., 31.
        assert_eq!((values.len(), &values[..3], values[31]), (32, &[0.0, -64.0, 1.0][..], 15.5));
    }

    #[test]
    fn q4_0_is_a_scale_and_halves_less_eight() {
        let mut block = MINUS.to_vec();
        block.extend([0x80, 0x1f, 0xf9]);
        block.extend([0x88; 13]);
        let values = Kind::Q4_0.values(&block);
        // Lower halves 0, 15, 9, 8...: -1.5 times -8, 7, 1, 0; upper halves 8, 1, 15, 8...: times 0, -7,
        // 7, 0.
        assert_eq!(&values[..4], &[12.0, -10.5, -1.5, 0.0]);
        assert_eq!((values.len(), &values[16..20]), (32, &[0.0, 10.5, -10.5, 0.0][..]));
    }

    #[test]
    fn q4_1_is_a_scale_a_minimum_and_halves() {
        let mut block = [HALF, MINUS].concat();
        block.extend([0x80, 0x1f]);
        block.extend([0; 14]);
        let values = Kind::Q4_1.values(&block);
        // Lower halves 0 and 15: -1.5 and 0.5 * 15 - 1.5; upper halves 8 and 1.
        assert_eq!(&values[..3], &[-1.5, 6.0, -1.5]);
        assert_eq!((values.len(), &values[16..19]), (32, &[2.5, -1.0, -1.5][..]));
    }
}
