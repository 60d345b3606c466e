//! Links between the pages of the repository lead somewhere.

use std::path::{Component, Path, PathBuf};

use crate::files::{TextFile, report, root, text_files};

#[test]
fn every_relative_link_of_a_page_leads_to_a_file_and_a_heading_of_it() {
    let pages: Vec<TextFile> = text_files().into_iter().filter(|file| file.path.ends_with(".md")).collect();
    let mut findings = Vec::new();
    for page in &pages {
        for (line, target) in links(&page.text) {
            if let Err(fault) = follow(&page.path, target, &pages) {
                findings.push(format!("{}:{line}: the link `{target}` {fault}: mend it", page.path));
            }
        }
    }
    report(&findings);
}

#[test]
fn every_page_of_the_manual_is_in_its_index() {
    let folder = root().join("docs/manual");
    let index = std::fs::read_to_string(folder.join("README.md")).expect("the manual has an index");
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the manual is a folder") {
        let name = entry.expect("the manual can be read").file_name().to_string_lossy().into_owned();
        if name != "README.md" && !links(&index).any(|(_, target)| target == name) {
            findings.push(format!("docs/manual/{name} is not in docs/manual/README.md: add a line for it"));
        }
    }
    report(&findings);
}

#[test]
fn links_are_found_and_followed() {
    let text = "see [a](b.md), [c](https://x) and\n```\n[no](no.md)\n```\n`[no](no.md)` [d](e/f.md#g)\n    [no](x)\n";
    assert_eq!(links(text).collect::<Vec<_>>(), [(1, "b.md"), (1, "https://x"), (5, "e/f.md#g")]);
    let pages = [TextFile { path: "README.md".to_owned(), text: "## What `this` costs, now\n".to_owned() }];
    assert_eq!(follow("README.md", "#what-this-costs-now", &pages), Ok(()));
    assert_eq!(follow("docs/deck.md", "../README.md#what-this-costs-now", &pages), Ok(()));
    assert_eq!(follow("docs/deck.md", "../README.md#what", &pages), Err("names no heading of that page"));
    assert_eq!(follow("README.md", "docs/nothing.md", &pages), Err("leads to no file"));
    assert_eq!(follow("README.md", "../elsewhere.md", &pages), Err("leads out of the repository"));
    assert_eq!(follow("README.md", "https://example.org/", &pages), Ok(()));
}

/// The targets of the links `[text](target)` outside of code, each with its line.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().flat_map(move |(index, line)| {
        code ^= line.trim_start().starts_with("```");
        // What stands in backquotes is every second part.
        let prose = line.split('`').step_by(2).filter(move |_| !code && !line.starts_with("    "));
        // A link whose text is in backquotes begins in a later part: its `](` is still there.
        prose.flat_map(move |part| {
            part.split("](").skip(1).filter_map(move |rest| Some((index + 1, rest.split_once(')')?.0)))
        })
    })
}

/// Whether `target`, written on `page`, leads to something within the repository.
fn follow(page: &str, target: &str, pages: &[TextFile]) -> Result<(), &'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { page.to_owned() } else { resolve(page, path)? };
    let found = pages.iter().find(|file| file.path == path);
    if found.is_none() && !root().join(&path).exists() {
        return Err("leads to no file");
    }
    match found {
        Some(file) if !heading.is_empty() && !headings(&file.text).any(|known| known == heading) => {
            Err("names no heading of that page")
        }
        _ => Ok(()),
    }
}

/// The path from the root of what `path` means on `page`.
fn resolve(page: &str, path: &str) -> Result<String, &'static str> {
    let mut found = PathBuf::from(page);
    found.pop();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if found.pop() => {}
            Component::Normal(name) => found.push(name),
            _ => return Err("leads out of the repository"),
        }
    }
    Ok(found.to_string_lossy().into_owned())
}

/// The headings of a page as the ends of links name them: small letters, blanks as hyphens, no other signs.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}
