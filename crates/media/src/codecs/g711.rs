//! G.711: µ-law (14 bits) and A-law (13 bits), each sample a code of eight bits.
//!
//! Samples are 16 bits with the codec's bits on top, as in the ITU-T Software Tool Library. Negative samples are
//! folded by ones' complement, so that the intervals are mirrored around -½ and each code has an input.

/// The offset that makes the µ-law segments powers of two, in 14-bit units.
const ULAW_BIAS: u16 = 33;
/// The largest biased µ-law magnitude, 13 bits.
const ULAW_MAX: u16 = 0x1fff;

const ULAW_DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = ulaw_expand(code as u8);
        code += 1;
    }
    table
};

const ALAW_DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = alaw_expand(code as u8);
        code += 1;
    }
    table
};

/// The µ-law code of a sample.
pub const fn ulaw_encode(sample: i16) -> u8 {
    let magnitude = (fold(sample) >> 2) + ULAW_BIAS;
    let magnitude = if magnitude > ULAW_MAX { ULAW_MAX } else { magnitude };
    // The biased magnitude is 1mmmm followed by segment + 1 further bits.
    let segment = 10 - magnitude.leading_zeros() as u16;
    let mantissa = (magnitude >> (segment + 1)) & 0x0f;
    let code = (segment << 4 | mantissa) as u8;
    // All bits but the sign are sent inverted; the sign bit is 1 for positive samples.
    !code & 0x7f | sign_bit(sample)
}

/// The sample of a µ-law code.
pub const fn ulaw_decode(code: u8) -> i16 {
    ULAW_DECODE[code as usize]
}

/// The A-law code of a sample.
pub const fn alaw_encode(sample: i16) -> u8 {
    let magnitude = fold(sample) >> 4;
    // Segment 0 and 1 have the same step; above, the magnitude is 1mmmm followed by segment - 1 further bits.
    let segment = 12u32.saturating_sub(magnitude.leading_zeros());
    let shift = segment.saturating_sub(1);
    let mantissa = (magnitude >> shift) & 0x0f;
    let code = (segment as u16) << 4 | mantissa;
    // Even bits are sent inverted.
    (code as u8 | sign_bit(sample)) ^ 0x55
}

/// The sample of an A-law code.
pub const fn alaw_decode(code: u8) -> i16 {
    ALAW_DECODE[code as usize]
}

const fn fold(sample: i16) -> u16 {
    (if sample < 0 { !sample } else { sample }) as u16
}

const fn sign_bit(sample: i16) -> u8 {
    if sample < 0 { 0 } else { 0x80 }
}

const fn ulaw_expand(code: u8) -> i16 {
    let inverted = !code;
    let segment = (inverted >> 4) & 7;
    let mantissa = (inverted & 0x0f) as i16;
    // The middle of the interval, then the bias off; two zero bits below the 14.
    let magnitude = (((mantissa << 1 | 0x21) << segment) - ULAW_BIAS as i16) << 2;
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

const fn alaw_expand(code: u8) -> i16 {
    let plain = code ^ 0x55;
    let segment = (plain >> 4) & 7;
    let mantissa = (plain & 0x0f) as i16;
    let magnitude = match segment {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (segment - 1),
    };
    if plain & 0x80 == 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> Vec<i16> {
        let words: Vec<i16> =
            bytes.chunks_exact(2).map(|word| i16::from_le_bytes([word[0], word[1]])).collect();
        assert_eq!(words.len(), 65536);
        words
    }

    macro_rules! vector {
        ($name:literal) => {
            words(include_bytes!(concat!("../../../../tests/vectors/g711/", $name)))
        };
    }

    fn check(encode: fn(i16) -> u8, decode: fn(u8) -> i16, codes: &[i16], decoded: &[i16], both: &[i16]) {
        let source = vector!("sweep.src");
        for (index, sample) in source.iter().enumerate() {
            let code = codes[index] as u8;
            assert_eq!(encode(*sample), code, "code of {sample}");
            assert_eq!(decode(code), decoded[index], "decoding of {code:#04x}");
            assert_eq!(decode(encode(*sample)), both[index], "both ways of {sample}");
        }
    }

    #[test]
    fn ulaw_is_bit_exact_for_all_inputs_of_the_itu_vectors() {
        let (codes, decoded) = (vector!("sweep-r.u"), vector!("sweep-r.reu"));
        check(ulaw_encode, ulaw_decode, &codes, &decoded, &vector!("sweep-r.u-u"));
    }

    #[test]
    fn alaw_is_bit_exact_for_all_inputs_of_the_itu_vectors() {
        let (codes, decoded) = (vector!("sweep-r.a"), vector!("sweep-r.rea"));
        check(alaw_encode, alaw_decode, &codes, &decoded, &vector!("sweep-r.a-a"));
    }
}
