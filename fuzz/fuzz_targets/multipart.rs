//! Bodies of several parts: the first line is the Content-Type, the rest the body. What is read is written with another
//! boundary, and read as the same parts.

#![no_main]

use dialtone_wire::headers::{ContentType, TypedHeader};
use dialtone_wire::multipart::{self, PARTS_MAX, Part};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(kind) = ContentType::parse(&data[..end]) else { return };
    let Ok(boundary) = multipart::boundary(&kind) else { return };
    let Ok(parts) = multipart::parts(&data[end + 1..], boundary) else { return };
    assert!(parts.len() <= PARTS_MAX);
    let free = multipart::free_boundary(parts.iter().map(|part| part.content));
    let mut written = Vec::new();
    for part in &parts {
        let _ = part.kind();
        multipart::write_part(&mut written, &free, part.lines(), part.content);
    }
    multipart::write_end(&mut written, &free);
    let again = multipart::parts(&written, &free).expect("what was written is read");
    assert_eq!(seen(&again), seen(&parts));
});

/// The header lines and the content of each part.
fn seen<'a>(parts: &[Part<'a>]) -> Vec<(Vec<(&'a [u8], &'a [u8])>, &'a [u8])> {
    parts.iter().map(|part| (part.lines().collect(), part.content)).collect()
}
