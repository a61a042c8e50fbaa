//! What is printed.

use crate::ports::{Committed, FORMATS};
use crate::{Result, RightPort, WrongPort};
use hungry_hippos::oracle::{Format, StageVerdict, Verdict};
use std::collections::BTreeMap;

/// The table of the suite's README, from what the files hold.
pub(crate) fn suite(cases: &[Committed]) -> Result<()> {
    println!(
        "| case | what it stresses | B | L | d | d_h | m | n_ssm | disc | real_type | l_max |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for case in cases {
        let Some(layer) = case.golden.layer() else {
            continue;
        };
        let (config, shape) = (layer.parameters().config(), layer.input().shape());
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            case.name,
            case.stresses,
            shape[0],
            shape[1],
            config.d_model,
            config.head_dim,
            config.d_state,
            config.n_ssm,
            config.disc,
            config.real_type,
            config
                .l_max
                .map_or("none".into(), |l_max| l_max.to_string()),
        );
    }
    Ok(())
}

fn percent(count: usize, all: usize) -> String {
    format!(
        "{count} ({:.1} %)",
        100.0 * count as f64 / all.max(1) as f64
    )
}

pub(crate) fn right(ports: &[RightPort]) {
    println!("Right ports: every form that a format allows, on every case.\n");
    println!(
        "| format | cases | ports | refused | undecided | largest part of a tolerance | largest part of a limit of evidence | output alone, of the typical error |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for exact in [false, true] {
        for format in FORMATS {
            let of = || {
                let ports = ports.iter();
                ports.filter(move |port| port.format == format && port.exact == exact)
            };
            let count = |verdict| of().filter(|port| port.report.verdict() == verdict).count();
            let stages = || of().flat_map(|port| &port.report.stages);
            let used = stages().map(|stage| stage.worst.max(stage.local));
            let explained = stages().filter_map(|stage| stage.explained);
            let explained = explained.map(|e| e.share / e.limit);
            println!(
                "| {} | {} | {} | {} | {} | {:.2} | {:.2} | {:.1} |",
                format.name(),
                if exact { "exact" } else { "others" },
                of().count(),
                count(Verdict::Refused),
                count(Verdict::Undecided),
                used.fold(0.0, f64::max),
                explained.fold(0.0, f64::max),
                of().filter_map(|port| port.of_typical).fold(0.0, f64::max),
            );
        }
    }
    for port in ports {
        if port.report.verdict() != Verdict::Pass {
            let stages = port.report.stages.iter();
            let not = stages.filter(|stage| stage.verdict != StageVerdict::Pass);
            let said = not.map(|stage| {
                let (name, verdict) = (&stage.name, stage.verdict.name());
                format!("{name} {verdict} ({:.2}, {:.2})", stage.worst, stage.local)
            });
            let said: Vec<String> = said.collect();
            println!(
                "- {} {}: {}",
                port.format.name(),
                port.name,
                said.join(", ")
            );
        }
    }
    println!();
}

pub(crate) fn wrong(ports: &[WrongPort]) {
    println!("Wrong ports: every mistake on every case that it changes a number of.\n");
    println!(
        "| cases | format | dumped | ports | accepted | undecided | refused | named among those that cannot be told apart | named first | of the accepted, stored as a right port's | accepted though called excluded |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    each_group(|exact, format, alone| {
        let of = || group(ports, exact, format, alone);
        let all = of().count();
        let count = |verdict| of().filter(|port| port.verdict == verdict).count();
        let refused = count(Verdict::Refused);
        let of_refused = |is: fn(&WrongPort) -> bool| {
            let refused = of().filter(|port| port.verdict == Verdict::Refused);
            refused.filter(|port| is(port)).count()
        };
        println!(
            "| {} | {} | {} | {all} | {} | {} | {refused} | {} | {} | {} | {} |",
            if exact { "exact" } else { "others" },
            format.name(),
            if alone { "output" } else { "all stages" },
            percent(count(Verdict::Pass), all),
            percent(count(Verdict::Undecided), all),
            percent(of_refused(|port| port.named), refused),
            percent(of_refused(|port| port.first), refused),
            of().filter(|p| p.verdict == Verdict::Pass && p.unseen)
                .count(),
            of().filter(|port| port.excluded && !port.unseen).count(),
        );
    });
    for port in ports.iter().filter(|port| port.excluded && !port.unseen) {
        let dumped = if port.alone {
            "output alone"
        } else {
            "all stages"
        };
        let (id, case, format) = (port.id, port.case, port.format.name());
        println!("\nAccepted though called excluded: {id} on {case}, {format}, {dumped}");
    }
    println!(
        "\nAccepted, by mistake: on how many cases of how many, where another number is stored.\n"
    );
    each_group(|exact, format, alone| {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let mut places: BTreeMap<&str, &str> = BTreeMap::new();
        for port in group(ports, exact, format, alone) {
            let count = counts.entry(port.id).or_default();
            count.1 += 1;
            if port.verdict == Verdict::Pass && !port.unseen {
                count.0 += 1;
                places.entry(port.id).or_insert(port.case);
            }
        }
        let accepted = counts.iter().filter(|(_, (accepted, _))| *accepted > 0);
        let accepted: Vec<String> = accepted
            .map(|(id, (accepted, all))| match (accepted, all) {
                (1, _) => format!("{id} (1 of {all}: {})", places[id]),
                _ => format!("{id} ({accepted} of {all})"),
            })
            .collect();
        if !accepted.is_empty() {
            println!(
                "- {}, {}, {}: {}",
                if exact { "exact cases" } else { "other cases" },
                format.name(),
                if alone { "output alone" } else { "all stages" },
                accepted.join(", ")
            );
        }
    });
    println!();
}

/// Groups of the tables, in their order.
fn each_group(mut f: impl FnMut(bool, Format, bool)) {
    for exact in [false, true] {
        for format in FORMATS {
            for alone in [false, true] {
                f(exact, format, alone);
            }
        }
    }
}

fn group(
    ports: &[WrongPort],
    exact: bool,
    format: Format,
    alone: bool,
) -> impl Iterator<Item = &WrongPort> {
    let is =
        move |port: &&WrongPort| (port.exact, port.format, port.alone) == (exact, format, alone);
    ports.iter().filter(is)
}

/// Every mistake: wrong ports that pass, of all, on the cases that are not exact.
pub(crate) fn each(ports: &[WrongPort]) {
    print!("| id | name |");
    for format in FORMATS {
        print!(" {}, all stages | output |", format.name());
    }
    println!("\n|---|---|{}", "---|---|".repeat(FORMATS.len()));
    let ids: BTreeMap<&str, &str> = ports.iter().map(|port| (port.id, port.mistake)).collect();
    for (id, name) in ids {
        print!("| {id} | `{name}` |");
        for format in FORMATS {
            for alone in [false, true] {
                let of = || group(ports, false, format, alone).filter(|port| port.id == id);
                let passed = of().filter(|port| port.verdict == Verdict::Pass);
                match of().count() {
                    0 => print!(" |"),
                    all => print!(" {} of {all} |", passed.count()),
                }
            }
        }
        println!();
    }
}

/// Bars of the figure of shares: twenty equal ones from 0 to 1.
const BARS: usize = 20;

/// How often each share occurs: in right ports of every stage, in wrong ports of the stage where it is
/// largest.
pub(crate) fn shares(right: &[RightPort], wrong: &[WrongPort]) {
    let bar = |share: f64| ((share * BARS as f64) as usize).min(BARS - 1);
    let (mut of_right, mut of_wrong) = ([0_usize; BARS], [0_usize; BARS]);
    for port in right.iter().filter(|port| !port.exact) {
        for share in port
            .report
            .stages
            .iter()
            .filter_map(|stage| stage.explained)
        {
            of_right[bar(share.share.max(0.0))] += 1;
        }
    }
    for port in wrong.iter().filter(|port| !port.exact && !port.alone) {
        of_wrong[bar(port.share)] += 1;
    }
    println!("right: {of_right:?}\nwrong: {of_wrong:?}");
}
