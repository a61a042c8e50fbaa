//! Claim: `hippos check --report` writes the whole report as one page that needs no network and no script, and
//! writes over nothing that it read.

use crate::common::golden_file as golden;
use hungry_hippos::oracle::{Format, check_files};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A dump of stages of `03-heads`, those named in `wrong` doubled, under a name that no page may take for a tag.
fn dump(test: &str, names: &[&str], wrong: &[&str], dtype: Dtype) -> PathBuf {
    let file = SafeTensors::open(&golden("03-heads")).expect("a golden file");
    let mut writer = Writer::new();
    for tensor in file.tensors().filter(|tensor| names.contains(&tensor.name)) {
        let factor = if wrong.contains(&tensor.name) {
            2.0
        } else {
            1.0
        };
        let values: Vec<f64> = tensor
            .to_f64()
            .expect("numbers")
            .iter()
            .map(|x| x * factor)
            .collect();
        writer
            .add(tensor.name, dtype, tensor.shape, &values)
            .expect("fits");
    }
    writer.add("<i>&\"x\"", dtype, &[1], &[0.0]).expect("fits");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check_page-{test}-<b>"));
    writer.write(&path).expect("written");
    path
}

fn check(golden: &Path, dump: &Path, page: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hippos"));
    let command = command.arg("check").args([golden, dump]);
    command
        .arg("--report")
        .arg(page)
        .output()
        .expect("hippos runs")
}

const FORWARD: [&str; 10] = [
    "q",
    "k",
    "v",
    "shift_kernel",
    "shift_k",
    "kv",
    "ssm_kernel",
    "ssm_out",
    "gated",
    "output",
];

#[test]
fn a_page_holds_the_report_and_needs_nothing_else() {
    for (test, names, wrong, verdict) in [
        ("pass", &FORWARD[..], &[][..], "pass"),
        ("fail", &FORWARD[..], &["shift_k"][..], "FAIL"),
        ("few", &["q", "output"][..], &["output"][..], "FAIL"),
    ] {
        let dump = dump(test, names, wrong, Dtype::F32);
        let page = dump.with_extension("html");
        let said = check(&golden("03-heads"), &dump, &page);
        let text = String::from_utf8(said.stdout).expect("UTF-8");
        let page = std::fs::read_to_string(page).expect("written");
        assert!(page.len() < 300_000, "{test}: {} bytes", page.len());
        assert!(page.contains(&format!(
            "<title>{verdict}: check_page-{test}-&lt;b&gt; against 03-heads"
        )));
        let foreign = ["<script", "http", "url(", "@import", "src=", "<b>&", "<i>"];
        for foreign in foreign {
            assert!(!page.contains(foreign), "{test}: {foreign}");
        }
        assert!(
            page.contains("<code>&lt;i&gt;&amp;&quot;x&quot;</code>"),
            "{test}"
        );
        // Every stage is drawn, those that are absent too; those that are there have their plots.
        let report = check_files(&golden("03-heads"), &dump, Some(Format::F32), &[]).expect("fits");
        for spec in &report.specs {
            let short = spec.name.strip_prefix("grad.").unwrap_or(&spec.name);
            assert!(page.contains(&format!(">{short}</")), "{test}: {short}");
            let link = format!("href=\"#stage-{}\"", spec.name);
            let is_there = names.contains(&spec.name.as_str());
            assert_eq!(page.contains(&link), is_there, "{test}: {link}");
        }
        assert_eq!(
            page.matches("class=\"histogram\"").count(),
            names.len(),
            "{test}"
        );
        assert_eq!(page.matches("id=\"stage-").count(), names.len(), "{test}");
        for word in text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("fix: "))
        {
            assert!(
                page.split("As printed")
                    .next()
                    .expect("a page")
                    .contains(word),
                "{test}: {word}"
            );
        }
        if let Some(power) = &report.power {
            assert_eq!(power.known, power.excluded.len() + power.not_excluded.len());
            let all = power.excluded.iter().chain(&power.not_excluded);
            for known in all {
                assert!(
                    page.contains(&format!("<b>{}</b>", known.id)),
                    "{}",
                    known.id
                );
            }
        }
        let opened = |tag: &str| page.matches(&format!("<{tag}")).count();
        let closed = |tag: &str| page.matches(&format!("</{tag}>")).count();
        for tag in ["svg", "details", "section", "table", "figure", "ul", "div"] {
            assert_eq!(opened(tag), closed(tag), "{test}: {tag}");
        }
    }
}

#[test]
fn what_was_read_is_not_written_over() {
    let dump = dump("read", &["q"], &[], Dtype::F32);
    let before = std::fs::read(&dump).expect("there");
    let said = check(&golden("03-heads"), &dump, &dump);
    assert_eq!(said.status.code(), Some(2));
    let why = String::from_utf8(said.stderr).expect("UTF-8");
    assert!(
        why.contains("--report") && why.contains("is a file that is read"),
        "{why}"
    );
    assert_eq!(std::fs::read(&dump).expect("there"), before);
}
