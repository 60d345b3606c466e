//! RTCP: a compound packet is read part by part, copied, and read again as the same parts.

#![no_main]

use dialtone_wire::rtcp::{Compound, CompoundWriter, RtcpPacket};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(compound) = Compound::parse(data) else { return };
    let mut copy = Vec::new();
    let mut writer = CompoundWriter::new(&mut copy);
    let mut parts = 0;
    for packet in &compound {
        parts += 1;
        look_at(&packet);
        writer.copy(&packet);
    }
    assert!(parts > 0, "a compound packet that was accepted has parts");
    // The writer asks for more than the reader does (a CNAME): it may refuse, it may not write something else.
    if writer.finish_padded(compound.padding()).is_ok() {
        let again = Compound::parse(&copy).expect("what was written parses");
        assert!(again.iter().eq(compound.iter()));
        assert_eq!(again.padding(), compound.padding());
        assert_eq!(again.sender(), compound.sender());
    }
});

/// Walks through all that a packet holds.
fn look_at(packet: &RtcpPacket<'_>) {
    let _ = packet.packet_type();
    match packet {
        RtcpPacket::SenderReport { reports, .. } | RtcpPacket::ReceiverReport { reports, .. } => {
            assert_eq!(reports.iter().count(), reports.len());
        }
        RtcpPacket::SourceDescription(chunks) => {
            assert_eq!(chunks.iter().count(), chunks.len());
            for chunk in chunks.iter() {
                let _ = chunk.cname();
            }
        }
        RtcpPacket::Bye { sources, .. } => assert!(sources.iter().count() < 32),
        RtcpPacket::App { data, .. } => assert!(data.len().is_multiple_of(4)),
        _ => {}
    }
}
