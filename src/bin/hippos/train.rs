//! `hippos train`: small models on the synthetic tasks of the H3 paper, or on the bytes of a file.

use crate::args::{self, Args, Failure, Spec};
use crate::fast_options::FastOptions;
use crate::progress::Progress;
use hungry_hippos::learning::{
    Curve, Data, MixerChoice, Run, Saved, Settings, Task, json, table, write_plot,
};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const HELP: &str = "\
usage: hippos train recall    [--vocab 10|20] [FLAGS]
       hippos train induction [FLAGS]
       hippos train text FILE [--seq-len N] [FLAGS]

Trains a small language model on the fast path in f32: embedding, blocks of a mixer and an MLP, tied head,
AdamW. The score after each epoch, on held-out sequences, goes to stderr; stdout gets a table of the runs.
The same settings give the same bits on one machine, whatever the number of threads.

  recall           pairs of key and value, then a key; the answer is its value (400 epochs; 200 with 10 tokens)
  induction        words, one of them replaced by a sign, then the sign; the answer is the word that followed
                   it (400 epochs, 20 tokens)
  text             the bytes of FILE, with the last tenth held out; bits per byte (10 epochs)

Settings (the defaults for the two tasks are the official ones):
  --mixer M        h3 (default), s4d, attention, or hybrid: H3 with attention in the middle block
  --vocab V        tokens of recall: 10 (default) with 20 tokens of pairs, or 20 with 40
  --epochs E       number of passes that the schedule of the rate assumes
  --examples N     sequences of the training set (default 5000; not for a text)
  --batch B        sequences per step (default 32)
  --rate R         learning rate (default 5e-4; for a text 2e-3)
  --decay W        weight decay (default 0.1)
  --dropout P      after the embedding and in attention (default 0.1; for a text 0)
  --d-model D      channels (default 32; for a text 64)
  --blocks K       blocks (default 2)
  --d-state M      shift taps, and twice the modes, of an H3 layer (default 64)
  --heads H        heads of attention (default 1)
  --seq-len N      bytes per sequence of a text (default 128)
  --seed S         seed of initial weights, order and dropout (default 0)
  --data-seed S    seed of the sequences of a task (default 0)

Runs:
  --seeds N        number of runs, with consecutive seeds from --seed on; several at once if there are threads
  --until X        stop at the first score at least as good as X
  --stop E         stop after epoch E; the schedule still assumes --epochs
  --threads K      total number of threads (default: all cores)
  --level L        instruction set: baseline, avx2, avx512 or neon (default: the best available)
  --resume FILE    continue a run that --save wrote; the settings are those of the file

Files, written completely or not at all:
  --save FILE      after every epoch, everything that --resume needs; also a case file as --out
  --out FILE       the trained weights and some held-out sequences with their targets, as a case that run,
                   golden and lm read
  --plot FILE      the curves of loss and score, as SVG
  --json           print the curves and settings for programs, instead of the table
";

/// Flags of settings, which a resumed run has from its file.
const SETTINGS: usize = 15;

const VALUES: &[&str] = &[
    "--mixer",
    "--vocab",
    "--epochs",
    "--examples",
    "--batch",
    "--rate",
    "--decay",
    "--dropout",
    "--d-model",
    "--blocks",
    "--d-state",
    "--heads",
    "--seq-len",
    "--seed",
    "--data-seed",
    "--seeds",
    "--until",
    "--stop",
    "--threads",
    "--level",
    "--resume",
    "--save",
    "--out",
    "--plot",
];

pub(crate) fn main(mut raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    if raw.is_empty() {
        raw.push(OsString::from("--help"));
    }
    let task = raw.remove(0);
    if task == "--help" || task == "-h" {
        args::print(HELP)?;
        return Ok(ExitCode::SUCCESS);
    }
    let task = task.to_string_lossy().parse::<Task>();
    let task = task.map_err(|e| Failure(format!("train: {e} (hippos train --help)")))?;
    let spec = Spec {
        help: HELP,
        positional: match task {
            Task::Text => &["FILE"],
            _ => &[],
        },
        values: VALUES,
        switches: &["--json"],
    };
    let Some(args) = spec.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let file = (task == Task::Text).then(|| Path::new(args.positional(0)));
    check_files(&args, file)?;
    let saved = args
        .value("--resume")
        .map(|file| Saved::open(Path::new(file)));
    let saved = saved.transpose()?;
    let settings = match &saved {
        Some(saved) => of_saved(saved, task, &args)?,
        None => asked(task, &args)?,
    };
    let data = match file {
        None => settings.synthetic()?,
        Some(file) => {
            let text = std::fs::read(file);
            let text = text.map_err(|e| Failure(format!("{}: {e}", file.display())))?;
            settings.of_text(&text).map_err(|e| e.in_file(file))?
        }
    };
    let job = Job {
        limits: Limits::asked(&args)?,
        save: args.value("--save").map(Path::new),
        out: args.value("--out").map(Path::new),
        seeds: count(&args, "--seeds")?.unwrap_or(1),
        options: FastOptions::asked(&args, FastOptions::cores())?,
        data: &data,
    };
    let curves = match &saved {
        Some(saved) => {
            let FastOptions { level, threads } = job.options;
            let run = Run::resume(saved, &data, level, threads)?;
            job.limits.lie_ahead(run.curve())?;
            vec![job.train(run)?]
        }
        None => job.train_seeds(&settings)?,
    };
    if let Some(file) = args.value("--plot") {
        write_plot(Path::new(file), &curves)?;
    }
    args::print(&match args.has("--json") {
        true => json(&curves),
        false => table(&curves),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses outputs that have no folder, are files that are read or the same file as another output, and
/// files of one run where there are several.
fn check_files(args: &Args, text: Option<&Path>) -> Result<(), Failure> {
    let resumed = args.value("--resume").map(Path::new);
    let outputs = ["--save", "--out", "--plot"];
    let outputs = outputs.map(|flag| args.value(flag).map(|out| (flag, Path::new(out))));
    let outputs: Vec<(&str, &Path)> = outputs.into_iter().flatten().collect();
    for (at, &(flag, out)) in outputs.iter().enumerate() {
        let mut before = outputs[..at].iter();
        if let Some((other, _)) = before.find(|(_, other)| args::is_one_file(other, out)) {
            return Err(Failure(format!(
                "{flag} {out:?} is the file of {other} too; expected another name"
            )));
        }
        args::can_be_written(flag, out)?;
        // A run may be saved where it came from.
        let read = resumed.filter(|_| flag != "--save");
        for read in text.into_iter().chain(read) {
            args::not_the_same_file(flag, read, out)?;
        }
    }
    if args.value("--seeds").is_some() {
        let alone = ["--save", "--out", "--resume"];
        if let Some(flag) = alone.into_iter().find(|flag| args.value(flag).is_some()) {
            return Err(Failure(format!(
                "{flag} goes with one run, not with --seeds"
            )));
        }
    }
    Ok(())
}

/// The settings of a saved run, which no flag changes.
fn of_saved(saved: &Saved, task: Task, args: &Args) -> Result<Settings, Failure> {
    let settings = saved.settings();
    if let Some(flag) = VALUES[..SETTINGS]
        .iter()
        .find(|flag| args.value(flag).is_some())
    {
        return Err(Failure(format!(
            "{flag} does not go with --resume: the settings are those of the file"
        )));
    }
    if settings.task != task {
        return Err(Failure(format!(
            "--resume: the file is of train {}, not of train {task}",
            settings.task
        )));
    }
    Ok(settings.clone())
}

/// The official settings, with what the flags change.
fn asked(task: Task, args: &Args) -> Result<Settings, Failure> {
    for (flag, only) in [("--vocab", Task::Recall), ("--seq-len", Task::Text)] {
        if args.value(flag).is_some() && task != only {
            return Err(Failure(format!("{flag} goes with train {only}")));
        }
    }
    for flag in ["--examples", "--data-seed"] {
        if args.value(flag).is_some() && task == Task::Text {
            return Err(Failure(format!("{flag} does not go with train text")));
        }
    }
    let mixer = match args.value("--mixer") {
        None => MixerChoice::H3,
        Some(name) => {
            let mixer = name.to_string_lossy().parse();
            mixer.map_err(|e| Failure(format!("--mixer: {e}")))?
        }
    };
    let vocabulary = args.parsed("--vocab", "10 or 20")?;
    let mut settings = Settings::official(task, mixer, vocabulary)
        .map_err(|e| Failure(format!("--vocab: {e}")))?;
    for (flag, size) in [
        ("--epochs", &mut settings.epochs),
        ("--examples", &mut settings.examples),
        ("--batch", &mut settings.batch),
        ("--d-model", &mut settings.d_model),
        ("--blocks", &mut settings.blocks),
        ("--d-state", &mut settings.d_state),
        ("--heads", &mut settings.heads),
        ("--seq-len", &mut settings.seq_len),
    ] {
        if let Some(asked) = count(args, flag)? {
            *size = asked;
        }
    }
    for (flag, value) in [
        ("--rate", &mut settings.rate),
        ("--decay", &mut settings.decay),
        ("--dropout", &mut settings.dropout),
    ] {
        if let Some(asked) = args.parsed(flag, "a number from 0")? {
            *value = asked;
        }
    }
    for (flag, seed) in [
        ("--seed", &mut settings.seed),
        ("--data-seed", &mut settings.data_seed),
    ] {
        if let Some(asked) = args.parsed(flag, "a whole number from 0")? {
            *seed = asked;
        }
    }
    settings
        .check()
        .map_err(|e| Failure(flag_of(&e.to_string())))?;
    Ok(settings)
}

/// An error of a setting as one of its flag: `d_model` is `--d-model`.
fn flag_of(message: &str) -> String {
    let Some((setting, why)) = message.split_once(": ") else {
        return message.into();
    };
    let flag = format!("--{}", setting.replace('_', "-"));
    match VALUES[..SETTINGS].contains(&&*flag) {
        true => format!("{flag}: {why}"),
        false => message.into(),
    }
}

/// A whole number from 1.
fn count(args: &Args, flag: &str) -> Result<Option<usize>, Failure> {
    match args.parsed(flag, "a whole number from 1")? {
        Some(0) => Err(Failure(format!("{flag} 0: expected a whole number from 1"))),
        asked => Ok(asked),
    }
}

/// The limits at which a run ends before its schedule does.
struct Limits {
    until: Option<f64>,
    stop: Option<usize>,
}

impl Limits {
    fn asked(args: &Args) -> Result<Self, Failure> {
        let until: Option<f64> = args.parsed("--until", "a score")?;
        let is_score = |score: &f64| score.is_finite() && *score >= 0.0;
        if let Some(score) = until.filter(|score| !is_score(score)) {
            return Err(Failure(format!("--until {score}: expected a score from 0")));
        }
        Ok(Self {
            until,
            stop: count(args, "--stop")?,
        })
    }

    /// A run that continues must have something left to do.
    fn lie_ahead(&self, curve: &Curve) -> Result<(), Failure> {
        let done = curve.epochs.len();
        match self.stop {
            Some(stop) if stop <= done => Err(Failure(format!(
                "--stop {stop}: the run of --resume has done {done} epochs; expected more"
            ))),
            _ => Ok(()),
        }
    }

    fn is_reached(&self, curve: &Curve) -> bool {
        let done = curve.epochs.len();
        let score = curve.last().zip(self.until);
        done >= curve.settings.epochs
            || self.stop.is_some_and(|stop| done >= stop)
            || score.is_some_and(|(score, until)| curve.measure().reaches(score, until))
    }
}

/// The options that all runs share.
struct Job<'a> {
    limits: Limits,
    save: Option<&'a Path>,
    out: Option<&'a Path>,
    seeds: usize,
    options: FastOptions,
    data: &'a Data,
}

impl Job<'_> {
    /// Runs of several seeds, as many at once as there are threads.
    fn train_seeds(&self, settings: &Settings) -> Result<Vec<Curve>, Failure> {
        let at_once = self.options.threads.min(self.seeds);
        let threads = self.options.threads / at_once;
        let next = Mutex::new(0..self.seeds);
        let done = Mutex::new(Vec::new());
        // The lock is held for taking a seed, not for training with it.
        let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(at) = take() {
                let mut settings = settings.clone();
                settings.seed = settings.seed.wrapping_add(at as u64);
                let run = Run::new(settings, self.data, self.options.level, threads);
                let curve = run.map_err(Failure::from).and_then(|run| self.train(run));
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((at, curve));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..at_once {
                scope.spawn(work);
            }
            work();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, curve)| curve).collect()
    }

    /// One run to its end.
    fn train(&self, mut run: Run<'_>) -> Result<Curve, Failure> {
        while !self.limits.is_reached(run.curve()) {
            let began = Instant::now();
            {
                let mut progress = (self.seeds == 1).then(|| Progress::new("step", run.steps()));
                run.epoch(&mut || progress.iter_mut().for_each(Progress::step))?;
            }
            if let Some(file) = self.save {
                run.saved()?.write(file)?;
            }
            let curve = run.curve();
            if let Some(epoch) = curve.epochs.last() {
                let measure = curve.measure();
                // A line that cannot be written is no reason to stop.
                let _ = writeln!(
                    std::io::stderr(),
                    "seed {}  epoch {} of {}  loss {:.4}  score {} {}  {:.2} s",
                    curve.settings.seed,
                    curve.epochs.len(),
                    curve.settings.epochs,
                    epoch.loss,
                    measure.printed(epoch.score),
                    measure.unit(),
                    began.elapsed().as_secs_f64()
                );
            }
        }
        if let Some(file) = self.out {
            run.case()?.write(file)?;
        }
        Ok(run.curve().clone())
    }
}
