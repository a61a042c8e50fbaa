//! The comparison can fail: wrong pages are refused, in the stage that is wrong.

use crate::page::{layer, report};
use crate::support::{WHOLE, case, edited, first_wrong, golden};
use hungry_hippos::safetensors::{SafeTensors, Writer};

/// A departure of twice the bound is refused wherever it is, and so are NaN, a value too few, and a
/// stage too few.
#[test]
fn a_departure_in_any_stage_is_refused() {
    let file = case("37-chunks-ragged");
    let (page, expected) = (layer(&file, WHOLE).expect("runs"), golden(&file));
    assert_eq!(page.len(), 14);
    for s in 0..page.len() {
        let wrong = |edit: &dyn Fn(&mut Vec<f64>)| {
            let mut page = page.clone();
            edit(&mut page[s].2);
            first_wrong(&page, &expected)
        };
        let name = page[s].0.to_string();
        let stage = expected
            .iter()
            .find(|stage| stage.name == name)
            .expect("expected");
        for at in 0..page[s].2.len() {
            let off = 2.1 * stage.bound[at] + f64::MIN_POSITIVE;
            assert_eq!(wrong(&|x| x[at] += off), Some(name.clone()), "element {at}");
        }
        assert_eq!(wrong(&|x| x[0] = f64::NAN), Some(name.clone()));
        assert_eq!(wrong(&|x| x.truncate(x.len() - 1)), Some(name.clone()));
        let mut without = page.clone();
        without.remove(s);
        assert_eq!(first_wrong(&without, &expected), Some(name));
    }
}

/// One letter of the page changed, by way of what it reads: the stage in which the letter stands is
/// the first that is refused.
#[test]
fn a_page_with_one_letter_changed_is_refused() {
    // Smaller than f32 can tell, larger than f64's rounding.
    const NUDGE: f64 = 1.0 + 1e-12;
    for (tensor, first) in [
        ("q_proj.weight", "q"),
        ("k_proj.bias", "k"),
        ("v_proj.weight", "v"),
        ("ssm_k_kernel.kernel.B", "shift_kernel"),
        ("ssm_k_kernel.kernel.C", "shift_kernel"),
        ("ssm_k_D", "shift_k"),
        ("initial_state_k", "shift_k"),
        ("kernel.kernel.log_dt", "ssm_kernel"),
        ("kernel.kernel.inv_A_real", "ssm_kernel"),
        ("kernel.kernel.A_imag", "ssm_kernel"),
        ("kernel.kernel.B", "ssm_kernel"),
        ("kernel.kernel.C", "ssm_kernel"),
        ("D", "ssm_out"),
        ("initial_state", "ssm_out"),
        ("output_linear.weight", "output"),
    ] {
        let file = case("25-resumed-heads");
        let wrong = edited(&file, &[], |name, values| {
            if name == tensor {
                values.iter_mut().for_each(|x| *x *= NUDGE);
            }
        });
        let page = layer(&wrong, WHOLE).expect("runs");
        assert_eq!(
            first_wrong(&page, &golden(&file)).as_deref(),
            Some(first),
            "{tensor}"
        );
    }
    for (name, key, value, first) in [
        ("01-basic", "disc", "zoh", "ssm_kernel"),
        ("02-zoh", "disc", "bilinear", "ssm_kernel"),
        ("04-heads-hd2", "head_order", "d2h", "gated"),
        ("08-cut", "l_max", "10", "shift_kernel"),
        ("08-cut", "l_max", "none", "shift_kernel"),
        ("19-real-none", "real_type", "exp", "ssm_kernel"),
        ("20-real-relu", "real_type", "none", "ssm_kernel"),
        ("21-real-sigmoid", "real_type", "softplus", "ssm_kernel"),
        ("22-real-softplus", "real_type", "sigmoid", "ssm_kernel"),
        ("36-chunks", "chunk_len", "7", "chunk_states_k"),
    ] {
        let file = case(name);
        let page = layer(&edited(&file, &[(key, value)], |_, _| {}), WHOLE).expect("runs");
        assert_eq!(
            first_wrong(&page, &golden(&file)).as_deref(),
            Some(first),
            "{name} {key}"
        );
    }
}

/// The page is one page, plain f64, and takes only the file reader from the crate.
#[test]
fn the_page_is_one_page_and_stands_alone() {
    let page = include_str!("../../examples/one_page.rs");
    assert!(page.lines().count() <= 250);
    let taken = page.split("hungry_hippos::").skip(1);
    let taken: Vec<_> = taken.map(|after| after.split(';').next()).collect();
    assert_eq!(taken, [Some("safetensors::SafeTensors")]);
    assert!(!page.contains("impl<") && !page.contains("unsafe"));
}

/// Files that are no case are refused by name, not by a panic.
#[test]
fn what_the_page_cannot_read_it_names() {
    let file = case("25-resumed-heads");
    let refusal = |key: &str, value: &str| {
        let wrong = edited(&file, &[(key, value)], |_, _| {});
        layer(&wrong, WHOLE).expect_err("refused").to_string()
    };
    for (key, value, named) in [
        ("disc", "euler", "metadata disc"),
        ("real_type", "tanh", "metadata real_type"),
        ("head_order", "h", "metadata head_order"),
        ("head_dim", "x", "metadata head_dim"),
        ("head_dim", "0", "head_dim"),
        ("head_dim", "3", "head_dim"),
        ("head_dim", "18446744073709551615", "head_dim"),
        ("l_max", "7", "l_max"),
        ("position", "-1", "metadata position"),
    ] {
        let said = refusal(key, value);
        assert!(said.contains(named), "{key} = {value}: {said}");
    }
    let empty = SafeTensors::from_bytes(Writer::new().to_bytes().expect("a file")).expect("valid");
    assert!(
        layer(&empty, WHOLE)
            .expect_err("refused")
            .to_string()
            .contains("input")
    );
    let cut = case("08-cut");
    assert!(
        layer(&cut, 0)
            .expect_err("refused")
            .to_string()
            .contains("l_max")
    );
    assert!(report(&cut).is_ok_and(|table| table.contains("output")));
}
