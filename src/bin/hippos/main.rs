//! `hippos`: the command line of hungry-hippos.

mod args;
mod check;
mod fast_options;
mod golden;
mod import;
mod init;
mod lm;
mod progress;
mod run;
mod show;
mod train;
mod verify;

use args::Failure;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

const HELP: &str = "\
hippos: the reference implementation and golden-output oracle of the H3 layer

usage: hippos COMMAND [ARGUMENTS]

commands:
  verify    every form against every other: exactly over a prime field, then in f64 and f32;
            the fast path at every level; the M_xy table
  init      a layer with the official initialization, and an input, as a case file
  import    a block of a checkpoint as a case file
  run       every stage of a case file
  golden    golden files, with certified stages and error scales: the suite, or one for your own case
  check     the stages of a port against golden ones: pass, or what is wrong
  lm        language models: logits, generation, perplexity, cost
  train     train a small model on the paper's synthetic tasks, or on the bytes of a file
  show      the contents of a safetensors file

`hippos COMMAND --help` describes each.
exit status: 0 done; 1 a mismatch was found, or a result is not finite; 2 the request could not be carried
out, or something could not be decided
";

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = if arguments.is_empty() {
        OsString::from("--help")
    } else {
        arguments.remove(0)
    };
    // `hippos help COMMAND` is `hippos COMMAND --help`.
    if command == "help" && !arguments.is_empty() {
        command = arguments.remove(0);
        arguments.push(OsString::from("--help"));
    }
    let outcome = match command.to_str() {
        Some("verify") => verify::main(arguments),
        Some("init") => init::main(arguments),
        Some("run") => run::main(arguments),
        Some("golden") => golden::main(arguments),
        Some("import") => import::main(arguments),
        Some("check") => check::main(arguments),
        Some("lm") => lm::main(arguments),
        Some("train") => train::main(arguments),
        Some("show") => show::main(arguments),
        Some("help" | "--help" | "-h") => args::print(HELP).map(|()| ExitCode::SUCCESS),
        Some("--version" | "-V") => {
            args::print(concat!("hippos ", env!("CARGO_PKG_VERSION"), "\n"))
                .map(|()| ExitCode::SUCCESS)
        }
        _ => Err(Failure(format!(
            "unknown command {command:?}; expected verify, init, import, run, golden, check, lm, \
             train or show (hippos --help)"
        ))),
    };
    outcome.unwrap_or_else(|Failure(message)| {
        // Where stderr cannot be written, the exit status still says it.
        let _ = writeln!(std::io::stderr(), "hippos: {message}");
        ExitCode::from(2)
    })
}
