//! Every stage of the files that are kept: the golden suite, and runs of the official code.

use crate::page::layer;
use crate::reference::Reference;
use crate::support::{Expected, U, WHOLE, first_wrong, golden, is_cut, layer_files};
use hungry_hippos::h3::{Form, Name};
use hungry_hippos::safetensors::SafeTensors;

#[test]
fn every_stage_of_the_golden_suite_is_the_pages() {
    let files = layer_files("golden/v2");
    assert_eq!(files.len(), 62);
    for (name, file) in files {
        let forms: &[usize] = if is_cut(&file) {
            &[WHOLE]
        } else {
            &[WHOLE, 0, 1, 5]
        };
        for &chunk in forms {
            let page = layer(&file, chunk).expect(&name);
            assert_eq!(
                first_wrong(&page, &golden(&file)),
                None,
                "{name}, chunks of {chunk}"
            );
        }
    }
}

/// The official code, in f64 (one case in f32), is within its own unit roundoff times the scale of
/// the page, which is within `U` times the scale of the truth.
#[test]
fn the_official_code_computes_the_page() {
    let files = layer_files("data");
    assert_eq!(files.len(), 6);
    for (name, file) in files {
        let single = file.metadata()["dtype"] == "float32";
        let u = if single { 2f64.powi(-24) } else { U };
        let page = layer(&file, WHOLE).expect(&name);
        let wrong = first_wrong(&page, &official(&file, u));
        assert_eq!(wrong, None, "{name}");
        // In the precision of the other kind, the f32 case is refused.
        let wrong = first_wrong(&page, &official(&file, U));
        assert_eq!(wrong.is_some(), single, "{name}: {wrong:?}");
    }
}

/// The stages of a file that the official code wrote in a format of unit roundoff `u`.
fn official(file: &SafeTensors, u: f64) -> Vec<Expected> {
    let reference = Reference::read(file);
    let forms = [Form::Recurrence, Form::Convolution, Form::Fft];
    let scales = forms.map(|form| reference.scales(&form));
    let fft = official_shift_kernel_scale(&reference);
    let expected = (0..scales[0].len()).map(|s| {
        let name = scales[0][s].0.clone();
        let values = file
            .tensor(&name)
            .expect("a stage")
            .to_f64()
            .expect("numbers");
        let largest = |at: usize| scales.iter().map(|form| form[s].1[at]).fold(0.0, f64::max);
        let bound = (0..values.len())
            .map(|at| match name.as_str() {
                "shift_kernel" => (u + U) * (largest(at) + fft[at / (values.len() / fft.len())]),
                _ => (u + U) * largest(at),
            })
            .collect();
        Expected {
            name,
            values,
            bound,
        }
    });
    expected.collect()
}

/// The official code makes the shift kernel by FFT, so its error is relative to the whole kernel, by
/// channel. A transform of length n has a relative error of at most 6.7 u log2 n (Higham, *Accuracy
/// and Stability*, theorem 24.2); there are three of them and a product, and no element of a spectrum
/// exceeds the sum of magnitudes it is made of.
fn official_shift_kernel_scale(reference: &Reference) -> Vec<f64> {
    let m = reference.parameters.config().d_state;
    let len = 2 * m.max(reference.input.shape()[1]);
    let transforms = 3.0 * 6.7 * (len as f64).log2().ceil() + 2.3;
    let sum = |taps: &[f64]| taps.iter().map(|x| x.abs()).sum::<f64>();
    let taps = |name| reference.parameters.get(name).chunks(m);
    let channels = taps(Name::ShiftB).zip(taps(Name::ShiftC));
    channels
        .map(|(b, c)| transforms * sum(b) * sum(c))
        .collect()
}
