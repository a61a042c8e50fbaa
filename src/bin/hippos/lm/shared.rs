//! Shared by the commands: flags, tokens, the fast model of a case.

use crate::args::{Args, Failure};
use crate::fast_options::FastOptions;
use hungry_hippos::Tensor;
use hungry_hippos::lm::Backend;
use hungry_hippos::model::Text;
use hungry_hippos::oracle::ModelFile;
use std::io::ErrorKind;
use std::path::Path;

/// The most tokens that are generated or timed after: far beyond what any model is trained for.
pub(super) const MOST_TOKENS: usize = 1 << 20;

/// The fast path with its flags, or the reference, which takes none of them.
pub(super) fn backend(args: &Args, fast: bool) -> Result<Backend, Failure> {
    let flags = ["--threads", "--level", "--weights"];
    if let Some(flag) = flags.iter().find(|flag| args.value(flag).is_some())
        && !fast
    {
        return Err(Failure(format!("{flag} goes with --form fast")));
    }
    let FastOptions { level, threads } = FastOptions::asked(args, FastOptions::cores())?;
    let weights = match args.value("--weights") {
        None => None,
        Some(name) => {
            let format = name.to_string_lossy().parse();
            Some(format.map_err(|e: hungry_hippos::Error| Failure(format!("--{e}")))?)
        }
    };
    Ok(match fast {
        true => Backend::Fast {
            level,
            threads,
            weights,
        },
        false => Backend::Reference,
    })
}

/// Refuses to pass a state over `tokens` tokens where kernels end before; `instead` says what to do.
pub(super) fn within_window(case: &ModelFile, tokens: usize, instead: &str) -> Result<(), Failure> {
    let config = case.config();
    let has_h3 = config.attn_layer_idx.len() < config.n_layer;
    match config.h3.l_max {
        Some(l_max) if has_h3 && l_max < tokens => Err(Failure(format!(
            "{}: metadata l_max = {l_max} ends the kernels before {tokens} tokens, and a diagonal \
             model has no recurrence of finite window: {instead}",
            case.file().path()
        ))),
        _ => Ok(()),
    }
}

/// Token ids written out, separated by spaces, commas or line ends.
pub(super) fn parse_ids(what: &str, text: &str) -> Result<Vec<usize>, Failure> {
    let words = text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty());
    let ids = words.map(|word| {
        word.parse().map_err(|_| {
            Failure(format!(
                "{what}: {word:?} is no token id; expected whole numbers from 0"
            ))
        })
    });
    let ids: Vec<usize> = ids.collect::<Result<_, Failure>>()?;
    if ids.is_empty() {
        return Err(Failure(format!("{what}: no token; expected at least one")));
    }
    Ok(ids)
}

/// One sequence of tokens from a text file.
pub(super) fn read_ids(path: &Path) -> Result<Text, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
        ErrorKind::InvalidData => Failure(format!("{name}: is no text; expected token ids")),
        _ => Failure(format!("{name}: {e}")),
    })?;
    one_sequence(parse_ids(&name.to_string(), &text)?)
}

/// A text of one sequence.
pub(super) fn one_sequence(ids: Vec<usize>) -> Result<Text, Failure> {
    Ok(Text::new(Tensor::new([1, ids.len()], ids)?)?)
}

/// The text of a case, the error naming its file.
pub(super) fn text_of(case: &ModelFile) -> Result<Text, Failure> {
    let text = case.text();
    Ok(text.map_err(|e| e.in_file(case.file().path()))?)
}

/// Refuses to take documents in a row or padded rows in parts, as `what` asks.
pub(super) fn whole_sequences(case: &ModelFile, text: &Text, what: &str) -> Result<(), Failure> {
    if text.documents().is_whole() {
        return Ok(());
    }
    let stated = case.file().metadata().get("sequence");
    let sequence = stated.map_or("cu_seqlens or lengths".into(), |s| {
        format!("sequence = {s}")
    });
    Err(Failure(format!(
        "{what} goes with whole sequences, and {} has {sequence}: documents in a row or beside padding are \
         run at once",
        case.file().path()
    )))
}

/// Refuses to take a text one token at a time, as a form asks, where no state can be passed on.
pub(super) fn can_step(case: &ModelFile, text: &Text, form: &str) -> Result<(), Failure> {
    whole_sequences(case, text, &format!("--form {form}"))?;
    let tokens = text.documents().seq_len();
    within_window(case, tokens, "use --form sequence or fast")
}

/// The most memory this process has had, in MB, where the system says.
pub(super) fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1e3)
}
