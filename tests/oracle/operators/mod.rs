//! Claims about operators of the Hyena family: they compute what the official codes computed, right ports
//! pass, and every known mistake is refused and named.
//!
//! The cases in `tests/data` are named after what the official code was run on (`tests/data/README.md`).
//! With `HIPPOS_EXHAUSTIVE` all of a folder of such cases are tried, which `HIPPOS_OPERATORS` names.

mod mistakes;
mod served;
mod sixteen_bits;

use crate::common::{assert_close, close, data, largest};
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Format, Golden, Precision};
use hungry_hippos::safetensors::{Dtype, SafeTensors};
use std::path::PathBuf;

/// One case of every operator.
const CASES: [&str; 8] = [
    "conv-c3-gated-D-K41-L23",
    "h3op-o4-hd2-shift-L19-K12",
    "hyena-y3-order3-L41-lmax29",
    "hyena-y5-dna-order3-L30-lmax38",
    "sh1-s2-split-state5-L26",
    "hcl-s2-colsplit-flip-L22",
    "hcm-s1-interleave-K128-L37",
    "hcs-s2-colsplit-flip-L5",
];

/// The files to be tried.
fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = CASES.iter().map(|name| data(name)).collect();
    if let Some(folder) = std::env::var_os("HIPPOS_OPERATORS") {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("readable").path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|x| x == "safetensors")));
    }
    files
}

/// What a file holds under a stage's name.
fn official(file: &SafeTensors, name: &str) -> Option<Tensor<f64>> {
    let tensor = file.get(name)?;
    let values = tensor.to_f64().expect("floats");
    Some(Tensor::new(tensor.shape, values).expect("fits"))
}

/// True if the official code ran in f32.
fn is_f32(file: &SafeTensors) -> bool {
    file.metadata().get("dtype").is_some_and(|x| x == "float32")
}

/// The part of a stage's largest magnitude by which two computations may differ.
fn bound(file: &SafeTensors, name: &str) -> f64 {
    match (is_f32(file), name.starts_with("grad.")) {
        (true, _) => 1e-5,
        (false, true) => 1e-11,
        (false, false) => 1e-12,
    }
}

#[test]
fn every_stage_and_gradient_in_every_form() {
    for path in files() {
        let file = SafeTensors::open(&path).expect("a file");
        let case = Case::read(&file).expect("a case");
        let chunks = [Chunking::Uniform(1), Chunking::Uniform(7)];
        for form in Form::all(chunks) {
            let run = case.run(&form, Precision::F64, true).expect("runs");
            let mut judged = 0;
            for (name, stage) in run {
                // A file without a shift does not say again what its keys are.
                let Some(official) = official(&file, &name) else {
                    assert_eq!(name, "shift_k", "{}", path.display());
                    continue;
                };
                let bound = bound(&file, &name) * largest(official.data());
                let what = format!("{}, {form}, {name}", path.display());
                assert_eq!(stage.shape(), official.shape(), "{what}");
                assert_close(&what, stage.data(), official.data(), bound);
                judged += 1;

                // So small a change would be seen.
                let mut off = stage.data().to_vec();
                off[0] += 3.0 * bound + f64::MIN_POSITIVE;
                assert!(close(&what, &off, official.data(), bound).is_err());
            }
            assert!(judged >= 3, "{}: {judged} stages", path.display());
        }
    }
}

/// The certified values are what 80-bit evaluations round to; the official dump passes against them.
#[test]
fn certified_values_and_the_official_dump() {
    for path in files() {
        let file = SafeTensors::open(&path).expect("a file");
        let golden = Golden::read(&file).expect("certified");
        assert_eq!(golden.undecided(), None, "{}", path.display());
        for stage in golden.stages() {
            let Some(longdouble) = official(&file, &format!("{}_longdouble", stage.name())) else {
                continue;
            };
            // Three stacked sines amplify what 80 bits leave.
            let bound = 1e-13 * largest(longdouble.data());
            assert_close(stage.name(), stage.values.data(), longdouble.data(), bound);
        }
        let format = if is_f32(&file) {
            Format::F32
        } else {
            Format::F64
        };
        let report = golden.check(&golden.candidate(&file).expect("a dump"), format);
        assert!(report.pass(), "{}: {:?}", path.display(), report.stages);
    }
}

/// What official codes get wrong stands in some files, and is told from what is right.
#[test]
fn official_mistakes_are_reproduced() {
    let told = [
        ("y_uncut", "y", "Y21"),
        ("gated_uncut", "gated", "Y21"),
        ("step_output_short_prompt", "output", "Y04"),
    ];
    let mut found = 0;
    for path in files() {
        let file = SafeTensors::open(&path).expect("a file");
        for (wrong, stage, id) in told {
            let (Some(values), Some(right)) = (official(&file, wrong), official(&file, stage))
            else {
                continue;
            };
            if close(wrong, values.data(), right.data(), 1e-12).is_ok() {
                continue;
            }
            let golden = Golden::read(&file).expect("certified");
            let dump = super::verdicts::dumped(&[(stage, &values)], Dtype::F64);
            let report = golden.check(&golden.candidate(&dump).expect("a dump"), Format::F64);
            assert!(!report.pass(), "{}, {wrong}", path.display());
            let finding = report.findings.first().expect("a finding");
            let named = &finding.suspects[0].mistakes[0];
            assert!(named.id.starts_with(id), "{}: {finding:?}", path.display());
            assert!(finding.reproduced, "{}: {finding:?}", path.display());
            found += 1;
        }
    }
    assert!(found >= 4, "{found}");
}

/// What a case does not say, or says twice, is refused by name.
#[test]
fn errors_name_what_is_wrong() {
    use hungry_hippos::safetensors::Writer;
    // A tensor dropped, or renamed after an arrow.
    let changed = |name: &str, drop: &str, metadata: &[(&str, &str)]| -> String {
        let (drop, renamed) = drop.split_once("->").unwrap_or((drop, ""));
        let file = SafeTensors::open(&data(name)).expect("a file");
        let mut writer = Writer::new();
        let mut strings = file.metadata().clone();
        for (key, value) in metadata {
            strings.insert((*key).into(), (*value).into());
        }
        for (key, value) in &strings {
            writer.metadata(key, value).expect("new");
        }
        for tensor in file.tensors() {
            let name = if tensor.name == drop {
                renamed
            } else {
                tensor.name
            };
            if !name.is_empty() {
                let values = tensor.to_f64().expect("floats");
                let added = writer.add(name, Dtype::F64, tensor.shape, &values);
                added.expect("new");
            }
        }
        let bytes = writer.to_bytes().expect("small");
        let file = SafeTensors::from_bytes(bytes).expect("valid");
        Case::read(&file).map_or_else(|e| e.to_string(), |case| case.describe())
    };
    let [conv, h3, hyena, dna, sh1, hcl, hcm, hcs] = CASES;
    for (case, drop, metadata, said) in [
        (conv, "k", &[][..], "\"k\""),
        (conv, "D", &[], "metadata has_D"),
        (conv, "", &[("sequence", "packed")], "\"cu_seqlens\""),
        (
            conv,
            "",
            &[("sequence", "schedule"), ("schedule", "prompt=23")],
            "has no states",
        ),
        (conv, "", &[("initial_state", "given")], "initial_state"),
        (conv, "g->g.state", &[], "has no states"),
        (
            h3,
            "D->Dd",
            &[],
            "tensor \"Dd\": is not read; is \"D\" meant",
        ),
        (sh1, "g->g.state.iii", &[], "expected one of"),
        (sh1, "filter.D->filter_D", &[], "is \"filter.D\" meant"),
        (conv, "", &[("K", "40")], "metadata K"),
        (h3, "shift_kernel", &[], "shift_kernel"),
        (h3, "", &[("head_dim", "3")], "metadata head_dim"),
        (h3, "", &[("head_order", "hd")], "expected one of d2h, hd2"),
        (hyena, "", &[("num_blocks", "2")], "metadata num_blocks"),
        (
            hyena,
            "",
            &[("filter_layout", "(o v)")],
            "expected one of (v o), (o d)",
        ),
        (dna, "filter_fn.bias", &[], "filter_fn.bias"),
        (dna, "", &[("order", "1")], "metadata order"),
        (sh1, "filter.poles", &[], "filter.poles"),
        (
            sh1,
            "",
            &[("layout", "interleave"), ("interleave", "False")],
            "metadata interleave",
        ),
        (
            hcl,
            "",
            &[("num_attention_heads", "3")],
            "num_attention_heads",
        ),
        (
            hcm,
            "",
            &[("num_attention_heads", "4")],
            "expected a divisor of d_model = 6",
        ),
        (
            sh1,
            "",
            &[("hyena_filter_groups", "6")],
            "metadata hyena_filter_groups",
        ),
        (
            hcm,
            "",
            &[("hyena_filter_groups", "2")],
            "metadata hyena_filter_groups",
        ),
        (hcm, "", &[("operator", "hcs")], "128"),
        (
            hcs,
            "",
            &[("operator", "hcd")],
            "expected one of sh1, hcl, hcm, hcs",
        ),
    ] {
        let error = changed(case, drop, metadata);
        assert!(error.contains(said), "{case}, {drop}: {error}");
    }
}
