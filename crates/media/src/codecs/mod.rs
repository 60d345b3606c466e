//! Codecs and their place in the RTP/AVP profile (RFC 3551).

pub mod g711;

/// An audio codec. Adding one means a variant here and a module beside [`g711`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// G.711 µ-law, RFC 3551 §4.5.14.
    Pcmu,
    /// G.711 A-law, RFC 3551 §4.5.14.
    Pcma,
}

impl Codec {
    /// All codecs, in the order of preference.
    pub const ALL: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

    /// The payload type of the static table (RFC 3551 §6, table 4), if the codec has one.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Codec::Pcmu => Some(0),
            Codec::Pcma => Some(8),
        }
    }

    /// The codec of a static payload type.
    pub fn from_static_payload_type(payload_type: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.static_payload_type() == Some(payload_type))
    }

    /// The codec of an `a=rtpmap` encoding name (any case) and clock rate.
    pub fn from_encoding(name: &str, clock_rate: u32) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| {
            codec.encoding_name().eq_ignore_ascii_case(name) && codec.clock_rate() == clock_rate
        })
    }

    /// The encoding name of `a=rtpmap`.
    pub const fn encoding_name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// The clock rate of RTP timestamps, in hertz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => 8000,
        }
    }

    /// Samples in a packet of `ptime_ms` milliseconds.
    pub const fn samples_per_packet(self, ptime_ms: u32) -> usize {
        (self.clock_rate() as usize).saturating_mul(ptime_ms as usize) / 1000
    }

    /// Appends the encoding of `samples` to `payload`.
    pub fn encode(self, samples: &[i16], payload: &mut Vec<u8>) {
        match self {
            Codec::Pcmu => payload.extend(samples.iter().map(|sample| g711::ulaw_encode(*sample))),
            Codec::Pcma => payload.extend(samples.iter().map(|sample| g711::alaw_encode(*sample))),
        }
    }

    /// Decodes `payload` into `samples`; returns how many were written. What doesn't fit is left out.
    pub fn decode(self, payload: &[u8], samples: &mut [i16]) -> usize {
        let decode = match self {
            Codec::Pcmu => g711::ulaw_decode,
            Codec::Pcma => g711::alaw_decode,
        };
        let count = payload.len().min(samples.len());
        for (sample, code) in samples.iter_mut().zip(payload) {
            *sample = decode(*code);
        }
        count
    }

    /// Samples that `payload` decodes to.
    pub const fn samples_in(self, payload: &[u8]) -> usize {
        match self {
            Codec::Pcmu | Codec::Pcma => payload.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_static_table_of_rfc_3551_holds() {
        assert_eq!(Codec::from_static_payload_type(0), Some(Codec::Pcmu));
        assert_eq!(Codec::from_static_payload_type(8), Some(Codec::Pcma));
        assert_eq!(Codec::from_static_payload_type(1), None);
        assert_eq!(Codec::from_encoding("pcma", 8000), Some(Codec::Pcma));
        assert_eq!(Codec::from_encoding("PCMA", 16000), None);
        assert_eq!(Codec::Pcmu.samples_per_packet(20), 160);
    }
}
