//! The items that files name, each followed to the file that defines it.

use crate::words::{after_closing, words};
use std::collections::BTreeMap;
use std::path::Path;

/// The crates of this repository by the names that others import them by.
const CRATES: [(&str, &str); 2] = [("hungry_hippos", "src"), ("hungry_hippos_fuzz", "fuzz/src")];

/// A path that a file names.
#[derive(Clone, Debug)]
struct Named {
    /// The module it stands in.
    module: String,
    path: Vec<String>,
    /// What a `use` calls it; nothing for a path in an expression.
    as_name: Option<String>,
    is_public: bool,
}

/// The paths of a `use` tree from word `i`, and the index after it.
fn use_tree(
    words: &[String],
    mut i: usize,
    before: &[String],
    found: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = before.to_vec();
    loop {
        match words.get(i).map_or(";", String::as_str) {
            "::" => i += 1,
            "{" => {
                let end = after_closing(words, i);
                i += 1;
                while i + 1 < end {
                    i = use_tree(words, i, &path, found);
                    i += usize::from(words[i] == ",");
                }
                return end;
            }
            end @ ("," | "}" | ")" | ";" | "as") => {
                // `a::{self}` is `a`, and `a::*` concerns `a`.
                if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                    path.pop();
                }
                let renamed = (end == "as").then(|| words[i + 1].clone());
                let name = renamed.or_else(|| path.last().cloned());
                found.push((path, name.unwrap_or_default()));
                return if end == "as" { i + 2 } else { i };
            }
            "*" => i += 1,
            word => {
                path.push(word.into());
                i += 1;
            }
        }
    }
}

/// The words of the source files of the repository, by path.
#[derive(Clone)]
pub(crate) struct Tree {
    sources: BTreeMap<String, Vec<String>>,
}

/// A tree read: its modules, and the paths that every file names.
pub(crate) struct Names<'a> {
    tree: &'a Tree,
    /// Files by module: the folder of the crate's root, then the modules with `::` before each.
    files: BTreeMap<String, String>,
    named: BTreeMap<String, Vec<Named>>,
}

/// An item that a path leads to.
pub(crate) struct Item {
    module: String,
    /// None for a module itself.
    pub(crate) name: Option<String>,
    /// Modules whose imports the path was followed through.
    pub(crate) through: Vec<String>,
}

/// A file that names an item of another.
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) item: Item,
}

impl Tree {
    pub(crate) fn read() -> Self {
        let mut tree = Self {
            sources: BTreeMap::new(),
        };
        // The published package has no fuzz/.
        for folder in ["src", "fuzz"] {
            tree.add(Path::new(env!("CARGO_MANIFEST_DIR")), folder);
        }
        assert!(
            tree.sources.contains_key("src/lib.rs"),
            "the library's root"
        );
        tree
    }

    fn add(&mut self, root: &Path, folder: &str) {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            return;
        };
        for entry in entries.map(|entry| entry.expect("an entry")) {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() && !path.ends_with("/target") {
                self.add(root, &path);
            } else if path.ends_with(".rs") {
                let text = std::fs::read_to_string(entry.path()).expect("UTF-8");
                self.append(&path, &text);
            }
        }
    }

    /// The tree with more text in one file, or with one file more.
    pub(crate) fn with(&self, path: &str, text: &str) -> Self {
        let mut tree = self.clone();
        tree.append(path, text);
        tree
    }

    fn append(&mut self, path: &str, text: &str) {
        let source = self.sources.entry(path.into()).or_default();
        source.extend(words(text));
    }

    pub(crate) fn words(&self, path: &str) -> &[String] {
        self.sources.get(path).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// The module that a file is.
    pub(crate) fn module(&self, path: &str) -> String {
        let (mut root, _) = path.rsplit_once('/').expect("in a folder");
        let is_root = |folder: &str| {
            let file = |name: &str| self.sources.contains_key(&format!("{folder}/{name}.rs"));
            file("lib") || file("main")
        };
        while !is_root(root) {
            match root.rsplit_once('/') {
                Some((parent, _)) => root = parent,
                // A program of one file.
                None => return path.trim_end_matches(".rs").into(),
            }
        }
        let inside = path[root.len()..].trim_end_matches(".rs");
        let inside = inside.strip_suffix("/mod").unwrap_or(inside);
        match inside {
            "/lib" | "/main" => root.into(),
            _ => format!("{root}{}", inside.replace('/', "::")),
        }
    }

    pub(crate) fn names(&self) -> Names<'_> {
        let mut names = Names {
            tree: self,
            files: BTreeMap::new(),
            named: BTreeMap::new(),
        };
        for path in self.sources.keys() {
            names.files.insert(self.module(path), path.clone());
        }
        for (module, path) in &names.files {
            let named = paths(module, self.words(path));
            names.named.insert(module.clone(), named);
        }
        names
    }
}

/// Whether a module is another or inside it.
pub(crate) fn is_within(module: &str, other: &str) -> bool {
    let inside = module.strip_prefix(other);
    inside.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn parent(module: &str) -> &str {
    module
        .rsplit_once("::")
        .map_or(module, |(parent, _)| parent)
}

/// The paths that the words of a module's file name.
fn paths(file: &str, words: &[String]) -> Vec<Named> {
    let mut named = Vec::new();
    // Modules within the file, with the depth of braces they end at.
    let mut inside: Vec<(String, usize)> = Vec::new();
    let (mut depth, mut i) = (0, 0);
    // What a macro imports it imports where it is called.
    let mut macro_end = 0;
    let word = |i: usize| words.get(i).map_or("", String::as_str);
    while i < words.len() {
        let module = inside.last().map_or(file, |(module, _)| module).to_string();
        match word(i) {
            "mod" if word(i + 2) == "{" => {
                inside.push((format!("{module}::{}", word(i + 1)), depth));
                i += 2;
                continue;
            }
            "macro_rules" => macro_end = after_closing(words, i + 3),
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inside.last().is_some_and(|&(_, end)| end == depth) {
                    inside.pop();
                }
            }
            // `internals!(..)` is `pub use ..;`, and `use<..>` belongs to a type.
            keyword @ ("use" | "internals")
                if match keyword {
                    "use" => word(i + 1) != "<",
                    _ => word(i + 1) == "!" && word(i + 2) == "(",
                } =>
            {
                let mut found = Vec::new();
                let before = i.checked_sub(1).map_or("", word);
                let is_public = keyword == "internals" || matches!(before, "pub" | ")");
                let in_macro = i < macro_end;
                let tree = if keyword == "use" { i + 1 } else { i + 3 };
                i = use_tree(words, tree, &[], &mut found);
                found.retain(|_| !in_macro);
                named.extend(found.into_iter().map(|(path, name)| Named {
                    module: module.clone(),
                    path,
                    as_name: Some(name),
                    is_public,
                }));
                continue;
            }
            "::" => {}
            first if word(i + 1) == "::" && i.checked_sub(1).is_none_or(|k| word(k) != "::") => {
                let mut path = vec![first.to_string()];
                while word(i + 1) == "::"
                    && word(i + 2).starts_with(|c: char| c.is_alphabetic() || c == '_')
                {
                    path.push(word(i + 2).into());
                    i += 2;
                }
                named.push(Named {
                    module,
                    path,
                    as_name: None,
                    is_public: false,
                });
            }
            _ => {}
        }
        i += 1;
    }
    named
}

impl Names<'_> {
    /// The file that a module, or the file around it, is.
    pub(crate) fn file(&self, module: &str) -> &str {
        let mut module = module;
        loop {
            match self.files.get(module) {
                Some(file) => return file,
                None => module = parent(module),
            }
        }
    }

    /// What a module imports under a name.
    fn bound(&self, module: &str, name: &str) -> Option<&Named> {
        let mut named = self.named.get(module)?.iter();
        named.find(|n| n.module == module && n.as_name.as_deref() == Some(name))
    }

    /// The item that a path leads to from a module; nothing outside the repository.
    fn find(&self, from: &str, path: &[String], left: usize) -> Option<Item> {
        let left = left.checked_sub(1)?;
        let root = from.split("::").next().unwrap_or(from);
        let first = path.first()?;
        let child = format!("{from}::{first}");
        let mut through = Vec::new();
        let mut module = match &**first {
            "crate" => root.to_string(),
            "self" => from.to_string(),
            "super" => parent(from).to_string(),
            _ if self.files.contains_key(&child) => child,
            name => match CRATES.iter().find(|(known, _)| *known == name) {
                Some((_, folder)) => folder.to_string(),
                None => {
                    // The name of an import, followed once more from where it stands.
                    let named = self.bound(from, name)?;
                    if path.len() == 1 || named.path.first() == Some(first) {
                        return None;
                    }
                    self.find(&named.module, &named.path, left)
                        .filter(|item| item.name.is_none())?
                        .module
                }
            },
        };
        for (i, segment) in path.iter().enumerate().skip(1) {
            let child = format!("{module}::{segment}");
            if segment == "super" {
                module = parent(&module).to_string();
            } else if self.files.contains_key(&child) {
                module = child;
            } else if let Some(named) = self.bound(&module, segment)
                && let Some(mut item) = self.find(&named.module, &named.path, left)
            {
                through.push(module);
                through.append(&mut item.through);
                match item.name {
                    None if i + 1 < path.len() => module = item.module,
                    name => {
                        return Some(Item {
                            module: item.module,
                            name,
                            through,
                        });
                    }
                }
            } else {
                return Some(Item {
                    module,
                    name: Some(segment.clone()),
                    through,
                });
            }
        }
        Some(Item {
            module,
            name: None,
            through,
        })
    }

    /// Every item of another file that a file names. A module that re-exports what its own children
    /// define does not depend on them for it; and a name that a file does not hold, as in the text that
    /// a macro makes, is no import.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        for (module, from) in &self.files {
            for named in &self.named[module] {
                let Some(item) = self.find(&named.module, &named.path, 16) else {
                    continue;
                };
                let to = self.file(&item.module);
                let is_facade = named.is_public && is_within(&item.module, module);
                let is_held = |name: &String| self.tree.words(to).contains(name);
                if to != from && !is_facade && item.name.as_ref().is_none_or(is_held) {
                    imports.push(Import {
                        from: from.clone(),
                        to: to.into(),
                        item,
                    });
                }
            }
        }
        imports
    }
}
