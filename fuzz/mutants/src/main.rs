//! Every mutant of the crate in one build, each switched on by a number in the environment.
//!
//! `cargo mutants` builds the crate once for each change it makes; at ten thousand changes that is
//! weeks on two cores. It also lists its changes, and most of them can stand beside the original in
//! one text (mutant schemata: Untch, Offutt and Harrold, 1993): `a + b` becomes
//! `if on(7) { a - b } else { a + b }`. What then remains is to run tests, and for each mutant only
//! those that reach it.
//!
//! ```sh
//! cargo mutants --list --json -f 'src/ssm/**' > /tmp/list.json
//! cargo run --manifest-path fuzz/mutants/Cargo.toml -- build /tmp/list.json /tmp/copy
//! cargo run --manifest-path fuzz/mutants/Cargo.toml -- run /tmp/copy
//! ```
//!
//! `build` copies the package to `/tmp/copy`, rewrites it, drops what does not compile, and builds
//! the tests. `run` finds out which tests reach which mutants, runs them, and appends one line for
//! each mutant to `/tmp/copy/outcomes.tsv`; a second `run` goes on where the first was stopped.
//! After it, names of files or folders keep it to the mutants there, `1/2` to every second mutant,
//! and `20` to the first tests, that take less than 20 seconds together: what they do not notice is
//! `open`, which the next `run` without that number goes on with.
//!
//! `report /tmp/copy docs/mutation-testing.md` then prints the table of that page and compares what
//! no test notices with the reasons given there: a mutant without a reason is an error, and so is a
//! reason without a mutant. What cannot be switched in one build (constants, `impl Iterator`) is built singly by
//! `cargo mutants`, whose folders `mutants.out` are named after it.

mod build;
mod failure;
mod list;
mod report;
mod rewrite;
mod run;
mod runtime;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["build", list, copy] => build::build(Path::new(list), Path::new(copy)),
        ["run", copy, ref files @ ..] => run::run(Path::new(copy), files),
        ["report", copy, document, ref single @ ..] => {
            report::report(Path::new(copy), Path::new(document), single)
        }
        _ => Err(
            "build LIST.json COPY, or run COPY [K/N] [SECONDS] [FILE...], or \
             report COPY DOCUMENT [MUTANTS_OUT...]"
                .into(),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
