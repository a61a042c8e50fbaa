//! Claim: `hippos import` makes the case of a block out of a checkpoint that holds it among others, equal to
//! the case it was made of; what is missing, unknown or contradicts itself is listed, nothing is guessed.

use super::common::golden_file;
use super::support::{folder, hippos};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::{Path, PathBuf};

const PREFIX: &str = "backbone.layers.3.mixer.";

/// A checkpoint: what a golden file holds that `is_parameter`, under names with a prefix, between tensors
/// of other blocks.
fn checkpoint(
    path: &Path,
    golden: &SafeTensors,
    is_parameter: impl Fn(&str) -> bool,
    edit: impl Fn(&str, &mut Vec<usize>, &mut Vec<f64>) -> bool,
) {
    let mut writer = Writer::new();
    for name in ["backbone.layers.2.mixer.D", "lm_head.weight"] {
        writer.add(name, Dtype::F32, &[1], &[1.0]).expect("added");
    }
    for view in golden.tensors().filter(|view| is_parameter(view.name)) {
        let (mut shape, mut values) = (view.shape.to_vec(), view.to_f64().expect("floats"));
        if edit(view.name, &mut shape, &mut values) {
            let name = format!("{PREFIX}{}", view.name);
            writer
                .add(&name, Dtype::F64, &shape, &values)
                .expect("added");
        }
    }
    writer.write(path).expect("written");
}

/// The names of a golden file's parameters: what has a gradient or a name that only they have.
fn parameters(golden: &SafeTensors) -> impl Fn(&str) -> bool + '_ {
    |name| {
        let given = [
            "input",
            "g",
            "g.conv_state",
            "g.ssm_state",
            "step_input",
            "cu_seqlens",
        ];
        let is_stage = golden.get(&format!("scale.{name}")).is_some();
        // A parameter of StripedHyena is called projections.weight.
        let is_scale = ["scale.", "probable.", "projections."].iter().any(|begin| {
            let stage = name.strip_prefix(begin);
            stage.is_some_and(|stage| golden.get(&format!("scale.{stage}")).is_some())
        });
        !is_stage && !is_scale && !given.contains(&name)
    }
}

/// A file with the input of a golden file, and its cotangent.
fn input_of(folder: &Path, golden: &SafeTensors) -> PathBuf {
    let path = folder.join("input");
    let mut writer = Writer::new();
    for name in ["input", "g"] {
        if let Some(view) = golden.get(name) {
            let values = view.to_f64().expect("floats");
            writer
                .add(name, Dtype::F64, view.shape, &values)
                .expect("added");
        }
    }
    writer.write(&path).expect("written");
    path
}

/// Golden files of every kind, and the flags that say what their tensors do not.
const BLOCKS: [(&str, &str, &str); 8] = [
    (
        "03-heads",
        "layer",
        "--disc bilinear --real-type exp --l-max none --head-order d2h",
    ),
    (
        "94-hyena",
        "hyena",
        "--modulate True --use-bias True --filter-layout",
    ),
    (
        "95-hyena-order-3",
        "hyena",
        "--modulate True --use-bias True --filter-layout",
    ),
    ("96-sh1", "striped-hyena", ""),
    ("97-hcl", "striped-hyena", ""),
    ("98-hcm", "striped-hyena", ""),
    ("99-hcs", "striped-hyena", ""),
    ("84-mamba2", "mamba2", ""),
];

/// The flags that a golden file's own metadata gives, for those keys that the command asks for.
fn flags(golden: &SafeTensors, stated: &str) -> Vec<String> {
    let mut flags: Vec<String> = stated.split_whitespace().map(String::from).collect();
    if flags.last().is_some_and(|last| last == "--filter-layout") {
        flags.push(golden.metadata()["filter_layout"].clone());
    }
    for key in [
        "layout",
        "hyena_flip_x1x2",
        "num_attention_heads",
        "shift",
        "normalized",
        "ngroups",
        "dt_limit",
        "norm_before_gate",
        "norm_eps",
        "norm_groups",
    ] {
        let flag = format!("--{}", key.replace('_', "-"));
        if let Some(value) = golden.metadata().get(key)
            && !flags.contains(&flag)
        {
            flags.extend([flag, value.clone()]);
        }
    }
    flags
}

#[test]
fn blocks_of_every_kind_become_the_cases_they_were() {
    let folder = folder("import");
    for (name, kind, stated) in BLOCKS {
        let golden = SafeTensors::open(&golden_file(name)).expect("a golden file");
        let path = folder.join(name);
        checkpoint(&path, &golden, parameters(&golden), |_, _, _| true);
        let (out, input) = (folder.join("case"), input_of(&folder, &golden));
        let text = |path: &Path| path.display().to_string();
        let mut args = vec!["import".into(), text(&path), "--kind".into(), kind.into()];
        args.extend(["--prefix".into(), PREFIX.into(), "--input".into()]);
        args.extend([text(&input), "--out".into(), text(&out)]);
        // Without one of its choices it is refused, and the flag named.
        let choices = flags(&golden, stated);
        let (flag, others) = (&choices[0], &choices[2..]);
        let refused = hippos(&[&args[..], others].concat());
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(stderr.contains(&flag[..]), "{name}: {stderr}");
        let done = hippos(&[&args[..], &choices[..]].concat());
        assert!(
            done.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        let case = SafeTensors::open(&out).expect("a case");
        for view in golden.tensors() {
            if parameters(&golden)(view.name) || view.name == "input" || view.name == "g" {
                let found = case.get(view.name).expect(view.name);
                assert_eq!((found.shape, found.bytes), (view.shape, view.bytes));
            }
        }
        for (key, value) in golden.metadata() {
            let of_golden = ["golden", "exact", "undecided", "sequence", "steps"];
            if !of_golden.contains(&&key[..]) {
                assert_eq!(case.metadata().get(key), Some(value), "{name}: {key}");
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_block_is_listed_at_once() {
    let folder = folder("import-wrong");
    let golden = SafeTensors::open(&golden_file("03-heads")).expect("a golden file");
    let (path, out) = (folder.join("checkpoint"), folder.join("case"));
    checkpoint(
        &path,
        &golden,
        parameters(&golden),
        |name, shape, values| {
            if name == "k_proj.bias" {
                *shape = vec![1];
                values.truncate(1);
            }
            name != "D" && name != "v_proj.weight"
        },
    );
    let mut writer = Writer::new();
    writer
        .add("input", Dtype::F64, &[1, 2, 6], &[0.0; 12])
        .expect("added");
    writer
        .add("extra", Dtype::F64, &[1], &[0.0])
        .expect("added");
    writer.write(&folder.join("extra")).expect("written");
    let said = |path: &Path, flags: &str| {
        let mut args = vec!["import".to_string(), path.display().to_string()];
        args.extend(["--out".into(), out.display().to_string()]);
        args.extend(flags.split_whitespace().map(String::from));
        let done = hippos(&args);
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{flags}: {stderr}");
        assert!(!out.exists() && stderr.lines().count() == 1, "{stderr}");
        stderr
    };
    let prefix = format!("--prefix {PREFIX}");
    let text = said(&path, &format!("--kind layer {prefix}"));
    for part in [
        "v_proj.weight is missing",
        "D is missing",
        "k_proj.bias has shape [1], expected [6]",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // Elsewhere; of another kind; of no kind.
    let text = said(&path, "--kind layer --prefix backbone.");
    assert!(text.contains(&format!("may begin at {PREFIX:?}")), "{text}");
    let text = said(&path, "--kind ssd");
    assert!(text.contains("layer, model, hyena, striped-hyena, mamba2"));
    assert!(said(&path, "").contains("--kind is missing"));

    checkpoint(&path, &golden, parameters(&golden), |_, _, _| true);
    let text = said(&path, &format!("--kind mamba2 {prefix}"));
    assert!(
        text.contains("q_proj.weight is no parameter of a mamba2"),
        "{text}"
    );
    let layer = format!("--kind layer {prefix}");
    let text = said(&path, &layer);
    assert!(
        text.contains("--disc, --real-type, --l-max, --head-order are missing"),
        "{text}"
    );
    let choices = format!("{layer} --disc bilinear --real-type exp --l-max none --head-order d2h");
    for (flags, part) in [
        ("--layout split", "is no choice of this layer"),
        ("--ignore E", "is to be ignored"),
        ("--batch 0", "expected from 1"),
        ("--batch one", "--batch \"one\": expected a whole number"),
        ("--seq-len 99999999999", "expected from 1 to 2^27"),
        ("--parameters", "--disc does not go with --parameters"),
        ("--input extra --seed 1", "--seed goes with"),
    ] {
        let text = said(&path, &format!("{choices} {flags}"));
        assert!(text.contains(part), "{flags}: {text}");
    }
    let text = said(&path, &choices.replace("bilinear", "euler"));
    assert!(
        text.contains("--disc: \"euler\" is not understood"),
        "{text}"
    );
    let extra = folder.join("extra");
    let text = said(&path, &format!("{choices} --input {}", extra.display()));
    assert!(text.contains("\"extra\" of the input's file"), "{text}");
}

/// A whole model, under the names of a training framework; and what a model's own prefix leaves.
#[test]
fn a_model_and_a_block_of_it() {
    let folder = folder("import-model");
    let golden = SafeTensors::open(&golden_file("39-model-hybrid")).expect("a golden file");
    let (path, out) = (folder.join("checkpoint"), folder.join("case"));
    let mut writer = Writer::new();
    for view in golden.tensors().filter(|view| {
        view.name.starts_with("backbone.") && golden.get(&format!("scale.{}", view.name)).is_none()
    }) {
        let name = format!("model.{}", view.name);
        let values = view.to_f64().expect("floats");
        writer
            .add(&name, Dtype::F32, view.shape, &values)
            .expect("added");
    }
    writer.write(&path).expect("written");
    let run = |flags: &str| {
        let mut args = vec!["import".to_string(), path.display().to_string()];
        args.extend(["--out".into(), out.display().to_string()]);
        args.extend(flags.split_whitespace().map(String::from));
        let done = hippos(&args);
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{flags}: {stderr}");
        SafeTensors::open(&out).expect("written")
    };
    let choices = "--disc bilinear --real-type exp --l-max none";
    let model = run(&format!(
        "--kind model {choices} --layer-norm-epsilon 1e-5 --num-heads 2 --seq-len 7 --batch 2"
    ));
    assert_eq!(model.get("input_ids").expect("tokens").shape, [2, 7]);
    let layer = run(&format!(
        "--kind layer --prefix model.backbone.layers.0.mixer. {choices}"
    ));
    assert_eq!(layer.get("input").expect("an input").shape, [1, 64, 8]);
    let parameters = run("--kind layer --prefix model.backbone.layers.0.mixer. --parameters");
    let view = parameters.get("q_proj.weight").expect("there");
    assert_eq!((view.dtype, parameters.names().len()), (Dtype::F32, 17));
}
