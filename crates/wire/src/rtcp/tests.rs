use proptest::prelude::*;

use super::*;

const CNAME: SdesItem<'static> = SdesItem::Cname(b"alice@192.0.2.1");

fn block(seed: u32) -> ReportBlock {
    ReportBlock {
        ssrc: seed,
        fraction_lost: seed as u8,
        cumulative_lost: (seed << 8) as i32 >> 8,
        extended_highest_sequence: seed.rotate_left(3),
        jitter: seed.rotate_left(7),
        last_sr: seed.rotate_left(11),
        delay_since_last_sr: seed.rotate_left(13),
    }
}

#[test]
fn a_sender_report_has_the_layout_of_section_6_4_1() {
    let info = SenderInfo {
        ntp_timestamp: 0x0102030405060708,
        rtp_timestamp: 0x090a0b0c,
        packet_count: 2,
        octet_count: 320,
    };
    let report = ReportBlock { ssrc: 9, fraction_lost: 64, cumulative_lost: -2, ..ReportBlock::default() };
    let mut out = Vec::new();
    CompoundWriter::new(&mut out)
        .sender_report(7, &info, &[report])
        .source_description(&[(7, &[SdesItem::Cname(b"a@b")])])
        .finish()
        .unwrap();
    #[rustfmt::skip]
    let expected = [
        0x81, 200, 0, 12, 0, 0, 0, 7,
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 2, 0, 0, 1, 64,
        0, 0, 0, 9, 64, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0x81, 202, 0, 3, 0, 0, 0, 7, 1, 3, b'a', b'@', b'b', 0, 0, 0,
    ];
    assert_eq!(out, expected);
    let compound = Compound::parse(&out).unwrap();
    assert_eq!(compound.sender(), 7);
    let Some(RtcpPacket::SenderReport { reports, .. }) = compound.iter().next() else { panic!("no SR") };
    assert_eq!(reports.iter().collect::<Vec<_>>(), [report]);
}

#[test]
fn a_loss_beyond_24_bits_is_clamped_instead_of_wrapped() {
    for (lost, told) in [(i32::MAX, ReportBlock::LOST_MAX), (i32::MIN, ReportBlock::LOST_MIN)] {
        let mut out = Vec::new();
        let report = ReportBlock { cumulative_lost: lost, ..ReportBlock::default() };
        CompoundWriter::new(&mut out)
            .receiver_report(1, &[report])
            .source_description(&[(1, &[CNAME])])
            .finish()
            .unwrap();
        let Some(RtcpPacket::ReceiverReport { reports, .. }) = Compound::parse(&out).unwrap().iter().next()
        else {
            panic!("no RR")
        };
        assert_eq!(reports.iter().next().unwrap().cumulative_lost, told);
    }
}

#[test]
fn each_source_description_item_comes_back() {
    let items = [
        CNAME,
        SdesItem::Name(b"Alice"),
        SdesItem::Email(b"alice@example.com"),
        SdesItem::Phone(b"+1"),
        SdesItem::Loc(b"here"),
        SdesItem::Tool(b"dialtone"),
        SdesItem::Note(b""),
        SdesItem::Priv { prefix: b"org", value: b"v" },
        SdesItem::Other { kind: 99, value: b"?" },
    ];
    let mut out = Vec::new();
    CompoundWriter::new(&mut out)
        .receiver_report(1, &[])
        .source_description(&[(1, &items), (2, &[]), (3, &items[1..2])])
        .finish()
        .unwrap();
    let Some(RtcpPacket::SourceDescription(chunks)) = Compound::parse(&out).unwrap().iter().nth(1) else {
        panic!("no SDES")
    };
    let read: Vec<_> =
        chunks.iter().map(|chunk| (chunk.ssrc, chunk.items.iter().collect::<Vec<_>>())).collect();
    assert_eq!(read, [(1, items.to_vec()), (2, vec![]), (3, items[1..2].to_vec())]);
}

#[test]
fn compound_rules_are_kept_when_writing() {
    let mut out = vec![0xaa];
    let refused = [
        CompoundWriter::new(&mut out).source_description(&[(1, &[CNAME])]).finish(),
        CompoundWriter::new(&mut out).receiver_report(1, &[]).finish(),
        CompoundWriter::new(&mut out).receiver_report(1, &[ReportBlock::default(); 32]).finish(),
        CompoundWriter::new(&mut out)
            .receiver_report(1, &[])
            .source_description(&[(1, &[SdesItem::Cname(&[b'x'; 256])])])
            .finish(),
        CompoundWriter::new(&mut out).receiver_report(1, &[]).app(0, 1, *b"name", &[1]).finish(),
        CompoundWriter::new(&mut out)
            .receiver_report(1, &[])
            .source_description(&[(1, &[CNAME])])
            .finish_padded(3),
    ];
    let expected = [
        RtcpError::FirstPacket(TYPE_SDES),
        RtcpError::NoCname,
        RtcpError::Count(32),
        RtcpError::TextLength(256),
        RtcpError::Length(13),
        RtcpError::Padding(3),
    ];
    assert_eq!(refused, expected.map(Err));
    assert_eq!(out, [0xaa], "nothing may stay behind after an error");
}

#[test]
fn refuses_what_the_validity_checks_of_appendix_a_2_refuse() {
    let check = |bytes: &[u8]| Compound::parse(bytes).map(|_| ()).unwrap_err();
    assert_eq!(check(&[]), RtcpError::TooShort { expected: 4, got: 0 });
    assert_eq!(check(&[0x40, 201, 0, 1, 0, 0, 0, 1]), RtcpError::Version(1));
    assert_eq!(check(&[0x80, 203, 0, 0]), RtcpError::FirstPacket(203));
    assert_eq!(check(&[0x80, 201, 0, 2, 0, 0, 0, 1]), RtcpError::TooShort { expected: 12, got: 8 });
    assert_eq!(check(&[0x80, 201, 0, 1, 0, 0, 0, 1, 0]), RtcpError::TooShort { expected: 4, got: 1 });
    let early = [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0x80, 201, 0, 1, 0, 0, 0, 1];
    assert_eq!(check(&early), RtcpError::EarlyPadding);
    assert_eq!(check(&[0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 16]), RtcpError::Padding(16));
    assert_eq!(check(&[0x81, 201, 0, 1, 0, 0, 0, 1]), RtcpError::TooShort { expected: 24, got: 0 });
    // A second version in the middle, a chunk without its end, a reason longer than the packet.
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let after = |second: &[u8]| check(&[&rr, second].concat());
    assert_eq!(after(&[0xc0, 201, 0, 0]), RtcpError::Version(3));
    assert_eq!(
        after(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b']),
        RtcpError::TooShort { expected: 9, got: 8 }
    );
    assert_eq!(
        after(&[0x81, 203, 0, 2, 0, 0, 0, 1, 9, b'a', b'b', b'c']),
        RtcpError::TooShort { expected: 9, got: 3 }
    );
}

#[test]
fn unknown_packet_types_are_kept() {
    let bytes = [0x80, 201, 0, 1, 0, 0, 0, 1, 0x85, 207, 0, 1, 1, 2, 3, 4];
    let compound = Compound::parse(&bytes).unwrap();
    let last = compound.iter().nth(1).unwrap();
    assert_eq!(last, RtcpPacket::Unknown { count: 5, packet_type: 207, body: &[1, 2, 3, 4] });
    assert_eq!(last.packet_type(), 207);
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

proptest! {
    #[test]
    fn copying_every_packet_of_a_compound_gives_the_same_octets(
        seeds in proptest::collection::vec(any::<u32>(), 0..=31),
        sender in proptest::option::of(any::<(u64, u32, u32, u32)>()),
        texts in proptest::collection::vec(text(), 1..6),
        gone in proptest::collection::vec(any::<u32>(), 0..=31),
        reason in proptest::option::of(text()),
        app in (0u8..32, any::<u32>(), any::<[u8; 4]>(), 0usize..5),
        padding in 0u8..10,
    ) {
        let blocks: Vec<_> = seeds.iter().map(|seed| block(*seed)).collect();
        let mut items = vec![CNAME];
        items.extend(texts.iter().zip(2u8..).map(|(text, kind)| SdesItem::Other { kind: kind + 8, value: text }));
        items.push(SdesItem::Priv { prefix: &texts[0], value: b"value" });
        let mut out = Vec::new();
        let mut writer = CompoundWriter::new(&mut out);
        match sender {
            Some((ntp_timestamp, rtp_timestamp, packet_count, octet_count)) => {
                let info = SenderInfo { ntp_timestamp, rtp_timestamp, packet_count, octet_count };
                writer.sender_report(1, &info, &blocks)
            }
            None => writer.receiver_report(1, &blocks),
        };
        let len = writer
            .source_description(&[(1, &items), (2, &items[1..])])
            .app(app.0, app.1, app.2, &[7; 20][..app.3 * 4])
            .bye(&gone, reason.as_deref())
            .finish_padded(padding * 4)
            .unwrap();
        prop_assert_eq!(len, out.len());
        let compound = Compound::parse(&out).unwrap();
        prop_assert_eq!(compound.padding(), padding * 4);
        let Some(RtcpPacket::Bye { sources, reason: read }) = compound.iter().last() else { panic!("no BYE") };
        prop_assert_eq!(sources.iter().collect::<Vec<_>>(), gone);
        prop_assert_eq!(read, reason.as_deref());
        let mut copy = Vec::new();
        let mut writer = CompoundWriter::new(&mut copy);
        for packet in &compound {
            writer.copy(&packet);
        }
        writer.finish_padded(padding * 4).unwrap();
        prop_assert_eq!(copy, out);
    }

    #[test]
    fn arbitrary_octets_never_panic(
        types in proptest::collection::vec((0x80u8..0xbf, 198u8..208, 0u8..12), 1..5),
        noise in proptest::collection::vec(any::<u8>(), 200),
    ) {
        let mut bytes = Vec::new();
        for (first, packet_type, words) in types {
            bytes.extend([first, packet_type, 0, words]);
            bytes.extend_from_slice(&noise[..usize::from(words) * 4]);
        }
        if let Ok(compound) = Compound::parse(&bytes) {
            let mut out = Vec::new();
            let mut writer = CompoundWriter::new(&mut out);
            for packet in &compound {
                writer.copy(&packet);
            }
            let _ = writer.finish();
        }
        let _ = Compound::parse(&noise);
    }
}
