//! For each mutant, the tests that reach it, the quick ones and those that noticed much first, until
//! one notices.

use crate::failure::Failure;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A test: its program and its name there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Test {
    program: PathBuf,
    name: String,
}

/// What a test takes, and which mutants it reaches.
struct Reach {
    test: Test,
    seconds: f64,
    mutants: BTreeSet<u32>,
}

/// At least this long, and this many times what the test takes without a mutant.
const PATIENCE: (f64, f64) = (5.0, 10.0);

fn command(at: &Path, test: &Test) -> Command {
    let mut command = Command::new("prlimit");
    command
        .arg("--as=6000000000")
        .arg(&test.program)
        .args(["--exact", &test.name, "--test-threads=1"])
        .current_dir(at)
        .env("CARGO_MANIFEST_DIR", at)
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_FAILURE_PERSISTENCE", "off")
        .env("RUST_BACKTRACE", "0")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Whether the test passed; nothing where it did not end in time.
fn wait(mut child: Child, limit: Duration) -> Result<Option<bool>, Failure> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if started.elapsed() > limit {
            // With whatever it started itself.
            Command::new("kill")
                .args(["-KILL", "--", &format!("-{}", child.id())])
                .status()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn tests(at: &Path) -> Result<Vec<Test>, Failure> {
    let mut tests = Vec::new();
    for program in fs::read_to_string(at.join("programs.txt"))?.lines() {
        let listed = Command::new(program)
            .args(["--list", "--format=terse"])
            .current_dir(at)
            .output()?;
        for line in String::from_utf8(listed.stdout)?.lines() {
            if let Some(name) = line.strip_suffix(": test") {
                tests.push(Test {
                    program: program.into(),
                    name: name.to_string(),
                });
            }
        }
    }
    Ok(tests)
}

/// A line of `reach.tsv`.
fn known(line: &str) -> Result<Reach, Failure> {
    let parts: Vec<&str> = line.split('\t').collect();
    let [program, name, seconds, mutants] = parts[..] else {
        return Err("reach.tsv is not understood".into());
    };
    Ok(Reach {
        test: Test {
            program: program.into(),
            name: name.into(),
        },
        seconds: seconds.parse()?,
        mutants: mutants
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?,
    })
}

/// Runs every test twice without a mutant: once to see which it reaches, once to see how long it
/// takes. What was learnt is kept in `reach.tsv`.
fn reach(at: &Path) -> Result<Vec<Reach>, Failure> {
    let kept = at.join("reach.tsv");
    let mut all: Vec<Reach> = fs::read_to_string(&kept)
        .unwrap_or_default()
        .lines()
        .map(known)
        .collect::<Result<_, _>>()?;
    let mut kept = fs::File::options().append(true).create(true).open(kept)?;
    let touched = at.join("touched");
    for test in tests(at)? {
        if all.iter().any(|r| r.test == test) {
            continue;
        }
        let _ = fs::remove_file(&touched);
        let child = command(at, &test).env("HIPPOS_TOUCHED", &touched).spawn()?;
        wait(child, Duration::from_secs(100))?;
        let started = Instant::now();
        let child = command(at, &test).env("HIPPOS_MUTANT", "0").spawn()?;
        let passed = wait(child, Duration::from_secs(200))?;
        let seconds = started.elapsed().as_secs_f64();
        let mut mutants = fs::read(&touched).unwrap_or_default();
        if passed != Some(true) {
            eprintln!("left out, since without a mutant: {} {passed:?}", test.name);
            mutants.clear();
        }
        let mutants: BTreeSet<u32> = mutants
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
            .collect();
        let numbers: Vec<String> = mutants.iter().map(u32::to_string).collect();
        kept.write_all(
            format!(
                "{}\t{}\t{seconds:.3}\t{}\n",
                test.program.display(),
                test.name,
                numbers.join(" ")
            )
            .as_bytes(),
        )?;
        all.push(Reach {
            test,
            seconds,
            mutants,
        });
    }
    Ok(all)
}

/// Which test noticed, or that none did.
fn judge(at: &Path, id: u32, candidates: &[&Reach]) -> Result<String, Failure> {
    let mut slow = Vec::new();
    for reach in candidates {
        let limit = Duration::from_secs_f64(PATIENCE.0.max(PATIENCE.1 * reach.seconds));
        let child = command(at, &reach.test)
            .env("HIPPOS_MUTANT", id.to_string())
            .spawn()?;
        match wait(child, limit)? {
            Some(true) => {}
            Some(false) => return Ok(format!("caught\t{}", reach.test.name)),
            None => {
                slow.push(reach.test.name.clone());
                if slow.len() == 2 {
                    return Ok(format!("timed out\t{}", slow.join(" ")));
                }
            }
        }
    }
    Ok(match (slow.is_empty(), candidates.is_empty()) {
        (false, _) => format!("timed out\t{}", slow.join(" ")),
        (true, true) => "not reached\t".to_string(),
        (true, false) => format!("missed\t{} tests", candidates.len()),
    })
}

/// Where one stopped: the part of a name before the mutant's own, that is its file.
fn file(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// What is asked of a run.
struct Asked<'a> {
    /// `K/N`: of all mutants every Nth, from the Kth.
    part: (u32, u32),
    /// `SECONDS`: only the first tests, that take less together; a mutant they do not notice stays open
    /// where there are others, and the next run without this goes on with it.
    within: f64,
    /// Only the mutants in files whose names start so.
    files: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn read(words: &[&'a str]) -> Result<Self, Failure> {
        let mut asked = Self {
            part: (1, 1),
            within: f64::INFINITY,
            files: Vec::new(),
        };
        for word in words {
            if let Some((k, n)) = word
                .split_once('/')
                .filter(|(_, n)| n.parse::<u32>().is_ok())
            {
                asked.part = (k.parse()?, n.parse()?);
                if !(1..=asked.part.1).contains(&asked.part.0) {
                    return Err(format!("{word}: K from 1 to N").into());
                }
            } else if let Ok(seconds) = word.parse() {
                asked.within = seconds;
            } else {
                asked.files.push(word);
            }
        }
        Ok(asked)
    }

    fn holds(&self, id: u32, name: &str) -> bool {
        let (k, n) = self.part;
        let here = self.files.is_empty() || self.files.iter().any(|f| name.starts_with(f));
        id % n == k % n && here
    }
}

/// `run COPY [K/N] [SECONDS] [FILE...]`.
pub fn run(at: &Path, words: &[&str]) -> Result<(), Failure> {
    let asked = Asked::read(words)?;
    let outcomes = at.join("outcomes.tsv");
    let before = fs::read_to_string(&outcomes).unwrap_or_default();
    let lines: Vec<&str> = before.lines().collect();
    let done: BTreeSet<u32> = lines
        .iter()
        .filter(|line| asked.within.is_finite() || !line.contains("\topen\t"))
        .filter_map(|line| line.split('\t').next()?.parse().ok())
        .collect();
    let all = reach(at)?;
    let mut reached: HashMap<u32, Vec<&Reach>> = HashMap::new();
    for reach in &all {
        for &id in &reach.mutants {
            reached.entry(id).or_default().push(reach);
        }
    }
    let mut out = fs::File::options()
        .append(true)
        .create(true)
        .open(outcomes)?;
    // How many mutants of a file each test has noticed.
    let mut noticed: HashMap<(String, String), u32> = HashMap::new();
    for line in &lines {
        if let [_, "caught", test, name] = line.split('\t').collect::<Vec<_>>()[..] {
            *noticed.entry((file(name).into(), test.into())).or_default() += 1;
        }
    }
    let list = fs::read_to_string(at.join("mutants.tsv"))?;
    // Every fourth first: where time ends early, what was done is spread over everything.
    let spread = (0..4).flat_map(|k| list.lines().skip(k).step_by(4));
    for line in spread {
        let parts: Vec<&str> = line.split('\t').collect();
        let [id, name, "built"] = parts[..] else {
            continue;
        };
        let id: u32 = id.parse()?;
        if done.contains(&id) || !asked.holds(id, name) {
            continue;
        }
        let mut candidates = reached.get(&id).cloned().unwrap_or_default();
        // A quick test first, and one that noticed much in this file.
        candidates.sort_by(|a, b| {
            let cost = |r: &Reach| {
                let key = (file(name).to_string(), r.test.name.clone());
                r.seconds / f64::from(1 + noticed.get(&key).unwrap_or(&0))
            };
            cost(a).total_cmp(&cost(b))
        });
        let reaching = candidates.len();
        let mut spent = 0.0;
        candidates.retain(|r| {
            spent += r.seconds;
            spent < asked.within
        });
        let left = reaching - candidates.len();
        let mut outcome = judge(at, id, &candidates)?;
        if left > 0 && (outcome.starts_with("missed") || outcome.starts_with("not")) {
            outcome = format!("open\t{left} tests left");
        }
        if let Some(test) = outcome.strip_prefix("caught\t") {
            *noticed.entry((file(name).into(), test.into())).or_default() += 1;
        }
        out.write_all(format!("{id}\t{outcome}\t{name}\n").as_bytes())?;
    }
    Ok(())
}
