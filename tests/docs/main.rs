//! Claims about the documentation: every figure is shown and described, links lead somewhere, what is
//! quoted from commands is what they print, and what is said to cost so much does.

mod cost;
mod figures;
mod links;
mod quoted;

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The chapters and the README, by path from the root of the package.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = vec![PathBuf::from("README.md")];
    for folder in ["docs", "tests/golden/v2", "tests/data"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
            let name = entry.expect("readable").file_name();
            if Path::new(&name).extension().is_some_and(|e| e == "md") {
                paths.push(Path::new(folder).join(name));
            }
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).expect("a page in UTF-8");
            (path, text)
        })
        .collect()
}
