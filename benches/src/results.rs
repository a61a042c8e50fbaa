//! What a run measured, as a file, and two such files beside each other.

use crate::contest::spread;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Mutex;

/// The times of one contestant, one per round.
pub struct Row {
    pub contest: String,
    pub name: String,
    pub unit: String,
    pub times: Vec<f64>,
}

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// Keeps a row for the file.
pub fn keep(row: Row) {
    if let Ok(mut rows) = ROWS.lock() {
        rows.push(row);
    }
}

/// The mean numbers of processes that ran or waited to, over 1, 5 and 15 minutes (Linux).
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let means: Vec<&str> = load.split(' ').take(3).collect();
    match means.len() {
        3 => means.join(" "),
        _ => "unknown".to_string(),
    }
}

/// Everything kept as JSON: an object of `level`, `load` (before and after) and `rows`, each on a line of its own.
pub fn json(level: &str, before: &str) -> String {
    let rows = ROWS.lock().map_or_else(
        |_| String::new(),
        |rows| {
            let rows: Vec<String> = rows.iter().map(Row::json).collect();
            rows.join(",\n")
        },
    );
    let after = load();
    format!(
        "{{\"version\": 1, \"level\": {level:?}, \"load\": [{before:?}, {after:?}], \"rows\": [\n{rows}\n]}}\n"
    )
}

impl Row {
    fn json(&self) -> String {
        let Self {
            contest,
            name,
            unit,
            times,
        } = self;
        format!(
            "{{\"contest\": {contest:?}, \"name\": {name:?}, \"unit\": {unit:?}, \"times\": {times:?}}}"
        )
    }

    /// A row from its line, as [`json`](Self::json) writes it.
    fn parse(line: &str) -> Option<Self> {
        let text = |key: &str| {
            let (_, rest) = line.split_once(&format!("\"{key}\": \""))?;
            Some(rest.split_once('"')?.0.to_string())
        };
        let (_, times) = line.split_once("\"times\": [")?;
        let times = times.split_once(']')?.0.split(", ");
        Some(Self {
            contest: text("contest")?,
            name: text("name")?,
            unit: text("unit")?,
            times: times.map(|time| time.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

/// The rows of a file, and what it says of the machine.
fn read(path: &str) -> Result<(String, Vec<Row>), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let head = text.lines().next().unwrap_or_default();
    let said = head.split_once("\"level\"").map(|(_, rest)| rest);
    let said = said.and_then(|rest| rest.split_once(", \"rows\""));
    let said = said.ok_or_else(|| format!("{path}: not a file that --json wrote"))?;
    let rows = text.lines().filter(|line| line.starts_with("{\"contest\""));
    let rows = rows.map(|line| Row::parse(line).ok_or_else(|| format!("{path}: {line}")));
    Ok((format!("level{}", said.0), rows.collect::<Result<_, _>>()?))
}

/// The rows that two files share: both medians, their ratio, and whether it is more than the spread of the rounds, that
/// is, whether no time of one file is among those of the other.
pub fn compare(first: &str, second: &str) -> Result<String, String> {
    let ((of_first, before), (of_second, after)) = (read(first)?, read(second)?);
    let mut text = format!("first:  {first}: {of_first}\nsecond: {second}: {of_second}\n");
    let key = |row: &Row| (row.contest.clone(), row.name.clone());
    let after: HashMap<_, _> = after.iter().map(|row| (key(row), row)).collect();
    let (mut contest, mut alone) = ("", before.len() + after.len());
    for row in &before {
        let Some(now) = after.get(&key(row)) else {
            continue;
        };
        alone -= 2;
        if row.times.is_empty() || now.times.is_empty() {
            continue;
        }
        if row.contest != contest {
            contest = &row.contest;
            let _ = writeln!(text, "{contest}");
        }
        let (low, median, high) = spread(&row.times);
        let (now_low, now_median, now_high) = spread(&now.times);
        let verdict = match () {
            () if now_low > high => "slower",
            () if now_high < low => "faster",
            () => "",
        };
        let _ = writeln!(
            text,
            "  {:<28} {median:>9.3} {unit} [{low:.3}, {high:.3}]   {now_median:>9.3} {unit} [{now_low:.3}, {now_high:.3}]   x {:.2} {verdict}",
            row.name,
            now_median / median,
            unit = row.unit,
        );
    }
    if alone > 0 {
        let _ = writeln!(text, "{alone} rows are in one of the files alone");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{Row, compare};

    fn file(name: &str, times: &[&[f64]]) -> String {
        let rows = times.iter().enumerate().map(|(i, times)| {
            let row = Row {
                contest: "step, d 768".into(),
                name: format!("row {i}"),
                unit: "us".into(),
                times: times.to_vec(),
            };
            row.json()
        });
        let rows: Vec<String> = rows.collect();
        let head = "{\"version\": 1, \"level\": \"avx2\", \"load\": [\"0\", \"1\"], \"rows\": [";
        let path = std::env::temp_dir().join(format!("{name}-{}.json", std::process::id()));
        std::fs::write(&path, format!("{head}\n{}\n]}}\n", rows.join(",\n"))).expect("writable");
        path.display().to_string()
    }

    #[test]
    fn two_files_are_compared_row_by_row() {
        let first = file("first", &[&[1.0, 2.0, 3.0], &[1.0, 1.5, 2.0], &[4.0, 5.0]]);
        let second = file("second", &[&[3.5, 4.0, 9.0], &[1.9, 2.5, 3.0]]);
        let text = compare(&first, &second).expect("both are read");
        let line = |what| text.lines().find(|line| line.contains(what)).expect(what);
        assert!(line("row 0").ends_with("x 2.00 slower"), "{text}");
        // The spreads meet: nothing is said.
        assert!(line("row 1").ends_with("x 1.67 "), "{text}");
        assert!(
            !text.contains("row 2") && text.contains("1 rows are in one"),
            "{text}"
        );
        let back = compare(&second, &first).expect("both are read");
        assert!(back.contains("x 0.50 faster"), "{back}");
        for path in [first, second] {
            std::fs::write(&path, "[]").expect("writable");
            assert!(
                compare(&path, &path)
                    .expect_err("no result")
                    .contains(&path)
            );
            let _ = std::fs::remove_file(path);
        }
    }
}
