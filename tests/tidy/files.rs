//! The files of the repository.

use std::path::{Path, PathBuf};

/// What was built or found, not written here; `.git` is a file in a work tree of its own.
const SKIPPED: &[&str] = &["target", ".git", "artifacts", "node_modules", "dialtone-data"];

/// A text file of the repository.
pub(crate) struct TextFile {
    /// Path from the root, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let tests =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it when it runs a test"));
    tests.parent().expect("the tests' package is a folder of the repository").to_path_buf()
}

/// All files whose content is UTF-8, in the order of their paths.
pub(crate) fn text_files() -> Vec<TextFile> {
    let root = root();
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "found only {} files under {}", found.len(), root.display());
    found
}

/// The Rust files among them.
pub(crate) fn rust_files() -> Vec<TextFile> {
    text_files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Fails with all findings at once.
pub(crate) fn report(findings: &[String]) {
    assert!(findings.is_empty(), "{} finding(s):\n  {}\n", findings.len(), findings.join("\n  "));
}

fn collect(folder: &Path, root: &Path, found: &mut Vec<TextFile>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("a folder of the repository can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_symlink() || SKIPPED.contains(&name) {
            continue;
        }
        if path.is_dir() {
            collect(&path, root, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("a file below the root").to_string_lossy().into_owned();
            found.push(TextFile { path, text });
        }
    }
}
