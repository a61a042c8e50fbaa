//! Claim: modules import only what stands before them in the order of the crate, and no file of `src/`
//! or `fuzz/` depends on itself through others.
//!
//! Read off the text: `use` declarations, and paths that begin with `crate`, `super`, `self`, a child
//! module or a crate of this repository, each followed through re-exports to the file that defines the
//! item. There are no tests in `src/`: the library is not built for tests, and they would not run.

mod names;
mod words;

use names::{Import, Tree, is_within};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Modules that every other may import; they import nothing but `error`, `internals` and
/// `into_vec`.
const LEAVES: [&str; 7] = [
    "error",
    "internals",
    "into_vec",
    "spelled",
    "table",
    "tensor",
    "threads",
];

/// The other modules of the library, each with those it may import. The command may import everything,
/// and nothing may import the command. A new module gets a row.
const ORDER: [(&str, &str); 17] = [
    // A leaf but for the type in `TYPES`.
    ("safetensors", "algebra"),
    ("algebra", ""),
    ("ssm", "algebra"),
    ("fourier", "algebra"),
    ("attention", "algebra fourier ssm"),
    ("flashconv", "algebra fourier ssm"),
    ("h3", "algebra attention flashconv fourier ssm"),
    ("mamba", "algebra flashconv h3 ssm"),
    ("model", "algebra attention h3 ssm"),
    ("training", "algebra h3 model ssm"),
    ("cost", "algebra attention flashconv fourier h3 ssm"),
    // No more of them than `TYPES`.
    ("fast", "algebra h3 model ssm training"),
    (
        "oracle",
        "algebra attention flashconv fourier h3 mamba model safetensors ssm training",
    ),
    // What the command computes: here the fast path meets the reference.
    ("lm", "algebra fast h3 model oracle safetensors ssm"),
    (
        "learning",
        "algebra fast h3 model oracle safetensors ssm training",
    ),
    (
        "verify",
        "algebra attention fast flashconv fourier h3 model oracle ssm",
    ),
    ("book", ""),
];

/// Where no more than some types may be imported: what the fast path shares with the reference are
/// parameters and layouts.
const TYPES: [(&str, &str, &str); 6] = [
    ("safetensors", "algebra", "FloatFormat"),
    // How a number rounds to 16 bits is the format's matter; NumPy's and PyTorch's bits test both houses.
    ("fast", "algebra", "FloatFormat Real"),
    (
        "fast",
        "h3",
        "Config HeadOrder LayerState Name Parameters RealType",
    ),
    (
        "fast",
        "model",
        "BlockName ModelConfig ModelName ModelParameters SsmMixer",
    ),
    // And what both optimizers are given, with the refusals of it.
    ("fast", "training", "ParameterGroup check_clip check_groups"),
    ("fast", "ssm", "Discretization Documents"),
];

/// Methods of those types that are the reference's decoding.
const DECODING: [&[&str]; 4] = [
    &[".", "lambda", "("],
    &[".", "discretize", "("],
    &["disc", ".", "apply", "("],
    &["disc", ".", "adjoint", "("],
];

/// The module of the library that a file is in, `bin` for the command.
fn top(file: &str) -> Option<&str> {
    let inside = file.strip_prefix("src/")?;
    let first = inside.split('/').next().unwrap_or(inside);
    Some(first.trim_end_matches(".rs"))
}

fn lists(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|listed| listed == word)
}

/// Everything that breaks a rule, in sentences.
fn violations(tree: &Tree) -> BTreeSet<String> {
    let names = tree.names();
    let imports = names.imports();
    let mut found = BTreeSet::new();
    for Import { from, to, item } in &imports {
        let module = tree.module(from);
        // Files of a folder import each other, not what the folder shows to others.
        let mut through = item.through.iter();
        if let Some(through) = through.find(|through| is_within(&module, through)) {
            let facade = names.file(through);
            found.insert(format!("{from} imports what {to} defines through {facade}"));
        }
        let (Some(a), Some(b)) = (top(from), top(to)) else {
            continue;
        };
        if a == b || matches!(a, "bin" | "lib") {
            continue;
        }
        let row = ORDER.iter().find(|(name, _)| *name == a);
        let allowed = match (LEAVES.contains(&a), row) {
            (true, _) => matches!(b, "error" | "internals" | "into_vec"),
            (false, Some((_, allowed))) => LEAVES.contains(&b) || lists(allowed, b),
            (false, None) => {
                found.insert(format!("{a} has no place in the order of this test"));
                continue;
            }
        };
        if !allowed {
            found.insert(format!("{from} imports {to}, but {a} may not import {b}"));
        }
        let types = TYPES.iter().find(|row| (row.0, row.1) == (a, b));
        let name = item.name.as_deref().unwrap_or("the module itself");
        if types.is_some_and(|(_, _, types)| !lists(types, name)) {
            found.insert(format!(
                "{from} imports {name} of {b}, no type that {a} may import"
            ));
        }
    }
    for file in tree.paths().filter(|file| top(file) == Some("fast")) {
        for call in DECODING {
            if tree
                .words(file)
                .windows(call.len())
                .any(|window| window == call)
            {
                found.insert(format!("{file} calls the reference's {}", call.concat()));
            }
        }
    }
    for file in tree.paths().filter(|file| file.starts_with("src/")) {
        let words = tree.words(file);
        let has = |what: &[&str]| words.windows(what.len()).any(|window| window == what);
        if has(&["[", "test", "]"]) || has(&["cfg", "(", "test", ")"]) {
            found.insert(format!("{file} holds a test, which nothing runs"));
        }
    }
    found.extend(circles(&imports));
    found
}

/// Files that depend on themselves, each group once.
fn circles(imports: &[Import]) -> BTreeSet<String> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Import { from, to, .. } in imports {
        next.entry(from).or_default().insert(to);
    }
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = next.get(from).into_iter().flatten().copied().collect();
        while let Some(file) = open.pop() {
            if seen.insert(file) {
                open.extend(next.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|&file| (file, reached(file))).collect();
    let together = |a: &str, b: &str| {
        let reaches = |a: &str, b: &str| all.get(a).is_some_and(|reached| reached.contains(b));
        reaches(a, b) && reaches(b, a)
    };
    let groups = all.keys().filter(|file| together(file, file)).map(|file| {
        let group = all.keys().filter(|other| together(file, other)).copied();
        format!("a circle: {}", group.collect::<Vec<_>>().join(", "))
    });
    groups.collect()
}

static TREE: LazyLock<Tree> = LazyLock::new(Tree::read);
static FOUND: LazyLock<BTreeSet<String>> = LazyLock::new(|| violations(&TREE));

#[test]
fn modules_are_in_order_and_no_file_is_in_a_circle() {
    let imports = TREE.names().imports();
    let read = imports.len();
    assert!(read > 500, "only {read} imports were read");
    let list: Vec<&str> = FOUND.iter().map(String::as_str).collect();
    assert!(list.is_empty(), "\n{}", list.join("\n"));
}

/// The violations that more text in a file adds.
fn added(path: &str, text: &str) -> Vec<String> {
    let after = violations(&TREE.with(path, text));
    after.difference(&FOUND).cloned().collect()
}

#[test]
fn circles_are_refused() {
    for (path, line) in [
        (
            "src/fast/panels.rs",
            "use super::{lanes::Vector as _, layer::{self, FastLayer}};",
        ),
        (
            "src/fast/panels.rs",
            "use super::{\n    lanes::Element as E,\n    convolution::{\n        LongConvolution,\n    },\n};",
        ),
        (
            "src/algebra/ring.rs",
            "fn f() { let _ = crate::algebra::matrix::Matrix::<f64>::zero(); }",
        ),
        (
            "src/model/names.rs",
            "mod inner { use super::super::shapes::*; }",
        ),
        ("src/h3/config.rs", "type P = super::parameters::Name;"),
        ("src/bin/hippos/args.rs", "use crate::run::largest;"),
        (
            "src/ssm/state_space.rs",
            "pub(crate) use super::scan::scan as again;",
        ),
    ] {
        let found = added(path, line);
        let circle = found
            .iter()
            .any(|f| f.starts_with("a circle") && f.contains(path));
        assert!(circle, "{path} with {line:?}: {found:?}");
    }
    // What is no import: a comment, a string, a name that only looks like one.
    for line in [
        "// use super::layer::FastLayer;",
        "/* use super::layer::FastLayer; /* */ */",
        "const S: &str = r#\"use super::layer::FastLayer;\"#;",
        "const S: (char, &str) = ('\"', \"\\\"use super::layer::FastLayer;\");",
        "use other::layer::FastLayer;",
    ] {
        let found = added("src/fast/panels.rs", line);
        assert_eq!(found, [""; 0], "{line:?}");
    }
}

#[test]
fn violations_of_the_order_are_refused() {
    let h3 = "h3 may not import model";
    for (path, line, expected) in [
        ("src/h3/layer.rs", "use crate::model::ModelConfig;", h3),
        (
            "src/h3/layer.rs",
            "use crate::{error::Error as E, model::{ModelName, ModelConfig}};",
            h3,
        ),
        (
            "src/h3/layer.rs",
            "fn f(_: &crate::model::ModelConfig) {}",
            h3,
        ),
        (
            "src/model/block.rs",
            "use crate::fast::Level;",
            "model may not import fast",
        ),
        (
            "src/algebra/ring.rs",
            "use crate::ssm;",
            "algebra may not import ssm",
        ),
        (
            "src/ssm/scan.rs",
            "use crate::fourier::fft;",
            "ssm may not import fourier",
        ),
        (
            "src/error.rs",
            "use crate::tensor::Tensor;",
            "error may not import tensor",
        ),
        (
            "src/safetensors/json.rs",
            "use crate::algebra::Real;",
            "imports Real of algebra",
        ),
        (
            "src/fast/layer.rs",
            "use crate::oracle::Case;",
            "fast may not import oracle",
        ),
        (
            "src/fast/layer.rs",
            "use crate::h3::Layer;",
            "imports Layer of h3",
        ),
        (
            "src/fast/layer.rs",
            "use crate::h3;",
            "imports the module itself of h3",
        ),
        (
            "src/fast/layer.rs",
            "use crate::ssm::bilinear;",
            "imports bilinear of ssm",
        ),
        (
            "src/fast/layer.rs",
            "fn f(p: &Parameters<f64>) { p.lambda(); }",
            "calls the reference's .lambda(",
        ),
        (
            "src/fast/layer.rs",
            "use crate::fast::Panels;",
            "through src/fast/mod.rs",
        ),
        (
            "src/fast/layer.rs",
            "use super::Panels;",
            "through src/fast/mod.rs",
        ),
        (
            "src/fast/layer.rs",
            "use crate::Error as E;",
            "through src/lib.rs",
        ),
        (
            "src/another.rs",
            "use crate::ssm::Dense;",
            "another has no place",
        ),
        ("src/h3/layer.rs", "#[test] fn f() {}", "holds a test"),
        ("src/h3/layer.rs", "#[cfg(test)] mod t;", "holds a test"),
    ] {
        let found = added(path, line);
        let refused = found.iter().any(|f| f.contains(expected));
        assert!(refused, "{path} with {line:?}: {found:?}");
    }
}
