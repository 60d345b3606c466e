use proptest::prelude::*;

use super::*;

/// The parts as `header|content` with `~` for CRLF, or the fault; `~` in the body is CRLF too.
fn check(body: &str, expected: &str) {
    let body = body.replace('~', "\r\n");
    let seen = match parts(body.as_bytes(), "b") {
        Ok(parts) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", "~");
            let parts = parts.iter().map(|part| format!("{}|{}", text(part.header), text(part.content)));
            parts.collect::<Vec<_>>().join(" & ")
        }
        Err(fault) => format!("{fault:?}"),
    };
    assert_eq!(seen, expected, "{body:?}");
}

#[test]
fn parts_are_what_stands_between_the_boundaries() {
    check("--b~~one~--b--", "|one");
    check("--b~~one~--b--~", "|one");
    check("nobody's~--b~A: x~~one~two~~--b \t~~--b--  ~nobody's~--b~", "A: x~|one~two~ & |");
    check("--b~A: x~ y~B:z~~one~--b--", "A: x~ y~B:z~|one");
    check("--b~A: x~--b--", "A: x|");
    check("--b~~x --b~-b--b~--b--", "|x --b~-b--b");
    check("--b~~--x~--b--", "|--x");
}

#[test]
fn what_is_no_body_of_parts_says_why() {
    for (body, fault) in [
        ("", "NoPart"),
        ("one", "NoPart"),
        ("--b--", "NoPart"),
        (" --b~~one~--b--", "NoPart"),
        ("--b~~one", "NotClosed"),
        ("--b~~one~--b", "Delimiter"),
        ("--b~~one~--b~~two", "NotClosed"),
        ("--bc~~one~--b--", "Delimiter"),
        ("--b~~one~--b-~", "Delimiter"),
        ("--b~~one~--b--x", "Delimiter"),
        ("--b~~one\n--b--", "Delimiter"),
        ("--b~~one\r--b--", "Delimiter"),
        ("--b\n\none~--b--", "Delimiter"),
        ("--b~--b--", "Delimiter"),
        ("--b~no colon~~one~--b--", "Header(1)"),
        ("--b~~~--b~ A: folded first~~one~--b--", "Header(2)"),
        ("--b~: x~~one~--b--", "Header(1)"),
        ("--b~A: x~a: y~~one~--b--", "Header(1)"),
        ("--b~A: x\nContent-Type: application/sdp\n\nv=0~~one~--b--", "Header(1)"),
        ("--b~A: x\rB: y~~one~--b--", "Header(1)"),
        ("--b~~~--b~A: \0~~one~--b--", "Header(2)"),
    ] {
        check(body, fault);
    }
    let many = |count: usize| format!("{}--b--", "--b~~x~".repeat(count));
    assert_eq!(
        parts(many(PARTS_MAX).replace('~', "\r\n").as_bytes(), "b").map(|parts| parts.len()),
        Ok(PARTS_MAX)
    );
    check(&many(PARTS_MAX + 1), "TooMany");
    let lines = |count: usize| (0..count).map(|line| format!("H{line}: x~")).collect::<String>();
    check(&format!("--b~{}~x~--b--", lines(LINES_MAX + 1)), "Header(1)");
}

#[test]
fn a_boundary_is_one_parameter_of_legal_characters() {
    let of = |text: &str| {
        let kind = ContentType::parse(text.as_bytes()).expect("a type");
        boundary(&kind).map(str::to_owned)
    };
    assert_eq!(of("multipart/mixed;boundary=b1"), Ok("b1".into()));
    assert_eq!(
        of("multipart/mixed; x=y; BOUNDARY=\"gc0pJq0M:08 jU534c0p\""),
        Ok("gc0pJq0M:08 jU534c0p".into())
    );
    let long = "b".repeat(71);
    for kind in [
        "",
        ";boundary",
        ";boundary=\"\"",
        ";boundary=\"a \"",
        ";boundary=\"a\\\"\"",
        ";boundary=a;boundary=b",
    ] {
        assert_eq!(of(&format!("multipart/mixed{kind}")), Err(MultipartFault::Boundary), "{kind}");
    }
    assert_eq!(of(&format!("multipart/mixed;boundary={long}")), Err(MultipartFault::Boundary));
    assert_eq!(of(&format!("multipart/mixed;boundary={}", &long[1..])), Ok(long[1..].into()));
}

#[test]
fn a_part_says_what_it_is() {
    let body = b"--b\r\ncontent-TYPE:  application/sdp \r\nContent-Disposition:\r\n session\r\n\r\nv=0\r\n--b\r\n\r\nx\r\n\
                 --b\r\nContent-Type: x\r\n\r\n\r\n--b--";
    let parts = parts(body, "b").expect("three parts");
    assert!(parts[0].kind().expect("a type").is("application", "sdp"));
    assert_eq!(parts[0].value("Content-Disposition"), Some(&b"session"[..]));
    assert!(parts[1].kind().expect("a type").is("text", "plain"));
    assert!(parts[2].kind().is_err());
}

#[test]
fn a_free_boundary_is_in_no_content() {
    let contents = ["--part0000", "x part0001 y", "part00020"];
    assert_eq!(free_boundary(contents.iter().map(|content| content.as_bytes())), "part0003");
    assert_eq!(free_boundary(std::iter::empty()), "part0000");
    // Ten thousand that are taken, and one that only looks like the next.
    let many: String = (0..10_000).map(|number| format!("part{number:04} ")).collect();
    assert_eq!(free_boundary([many.as_bytes(), b"part100000"].into_iter()), "part10001");
    assert_eq!(free_boundary([&b"part99999999999999999999999 part 000 part"[..]].into_iter()), "part0000");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        written in proptest::collection::vec(
            (
                proptest::option::of("[a-z]{1,8}/[a-z]{1,8}(;x=y)?"),
                proptest::collection::vec(prop_oneof![Just(b'-'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..60),
            ),
            1..=PARTS_MAX,
        ),
    ) {
        let contents = written.iter().map(|(_, content)| &content[..]);
        let boundary = free_boundary(contents);
        let mut body = Vec::new();
        for (kind, content) in &written {
            let line = kind.as_ref().map(|kind| (&b"Content-Type"[..], kind.as_bytes()));
            write_part(&mut body, &boundary, line.into_iter(), content);
        }
        write_end(&mut body, &boundary);
        let read = parts(&body, &boundary).expect("parts");
        prop_assert_eq!(read.len(), written.len());
        for (part, (kind, content)) in read.iter().zip(&written) {
            prop_assert_eq!(part.content, &content[..]);
            prop_assert_eq!(part.value("content-type"), kind.as_ref().map(|kind| kind.as_bytes()));
        }
    }

    #[test]
    fn arbitrary_octets_never_panic_and_what_is_read_can_be_written_again(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(b"--b".to_vec()), Just(b"\r\n".to_vec()), Just(b"--".to_vec()), Just(b"A: x".to_vec()),
                Just(b" ".to_vec()), proptest::collection::vec(any::<u8>(), 0..4),
            ],
            0..40,
        ),
    ) {
        let body = pieces.concat();
        if let Ok(read) = parts(&body, "b") {
            let boundary = free_boundary(read.iter().map(|part| part.content));
            let mut again = Vec::new();
            for part in &read {
                write_part(&mut again, &boundary, part.lines(), part.content);
            }
            write_end(&mut again, &boundary);
            let again = parts(&again, &boundary).expect("parts");
            let seen = |parts: &[Part<'_>]| -> Vec<_> {
                parts.iter().map(|part| (part.lines().map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>(), part.content.to_vec())).collect()
            };
            prop_assert_eq!(seen(&again), seen(&read));
        }
    }
}
