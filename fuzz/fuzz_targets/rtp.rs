//! RTP: what parses is written as it came, padding octets aside.

#![no_main]

use dialtone_wire::rtp::{RtpPacket, is_rtcp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = is_rtcp(data);
    let Ok(packet) = RtpPacket::parse(data) else { return };
    let mut written = Vec::new();
    packet.write(&mut written).expect("a packet that was parsed can be written");
    assert_eq!(written.len(), data.len());
    let text_end = data.len() - usize::from(packet.padding);
    assert_eq!(written[..text_end], data[..text_end]);
    assert_eq!(RtpPacket::parse(&written), Ok(packet));
});
