//! The reference, run from a case file without the oracle.

use crate::support::{Expected, U};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{ComplexScalar, ErrorScale, Real, RootsOfUnity};
use hungry_hippos::h3::{Config, Form, HeadOrder, LayerState, Name, Parameters, Stages};
use hungry_hippos::safetensors::SafeTensors;
use num_complex::Complex;

/// A layer, its input and its initial state.
pub(crate) struct Reference {
    pub(crate) parameters: Parameters<f64>,
    pub(crate) input: Tensor<f64>,
    state: Option<LayerState<f64>>,
    chunk_len: Option<usize>,
}

impl Reference {
    pub(crate) fn read(file: &SafeTensors) -> Self {
        let choice = |key: &str| file.metadata()[key].as_str();
        let shape = |name: &str| file.tensor(name).expect("a tensor").shape;
        let values = |name: &str| {
            file.tensor(name)
                .expect("a tensor")
                .to_f64()
                .expect("numbers")
        };
        let config = Config {
            d_model: shape("q_proj.weight")[0],
            head_dim: choice("head_dim").parse().expect("a number"),
            d_state: shape(Name::ShiftB.official())[1],
            n_ssm: shape(Name::B.official())[0],
            disc: choice("disc").parse().expect("a discretization"),
            real_type: choice("real_type").parse().expect("a real type"),
            l_max: choice("l_max").parse().ok(),
            head_order: (file.metadata().get("head_order"))
                .map_or(HeadOrder::D2H, |order| order.parse().expect("an order")),
        };
        let (d_h, heads, modes) = (config.head_dim, config.n_heads(), config.n_modes());
        let batch = shape("input")[0];
        let state = file.get("initial_state").map(|_| {
            let parts = values("initial_state");
            let modes_of_all = parts.chunks(2).map(|z| Complex::new(z[0], z[1])).collect();
            let shift = Tensor::new(shape("initial_state_k"), values("initial_state_k"));
            LayerState {
                shift: shift.expect("a state"),
                diagonal: Tensor::new([batch, d_h, d_h, heads, modes], modes_of_all)
                    .expect("a state"),
                position: 0,
            }
        });
        let parameters = Parameters::new(config, |name| Ok(values(name.official())));
        Self {
            parameters: parameters.expect("parameters"),
            input: Tensor::new(shape("input"), values("input")).expect("an input"),
            state,
            chunk_len: file
                .metadata()
                .get("chunk_len")
                .map(|t| t.parse().expect("a number")),
        }
    }

    /// Every stage in one form, under its name in files.
    fn stages<T: Real>(&self, form: &Form) -> Vec<(String, Vec<T>)>
    where
        T::Complex: RootsOfUnity,
    {
        let layer = self
            .parameters
            .map(T::from_f64)
            .discretize()
            .expect("no pole");
        let state = self.state.as_ref().map(|state| state.map(T::from_f64));
        let u = self.input.map(T::from_f64);
        let run = |u: &Tensor<T>, form: &Form| -> Stages<T> {
            layer
                .forward(form, u, state.as_ref())
                .expect("the form runs")
        };
        let pairs = |z: &Tensor<T::Complex>| -> Vec<T> {
            z.data().iter().flat_map(|z| [z.re(), z.im()]).collect()
        };
        let stages = run(&u, form);
        let [batch, len, d] = [0, 1, 2].map(|axis| u.shape()[axis]);
        let mut named: Vec<(String, Vec<T>)> = [
            ("q", stages.q.data()),
            ("k", stages.k.data()),
            ("v", stages.v.data()),
            ("shift_kernel", layer.shift_kernel(len).data()),
            ("shift_k", stages.shift_k.data()),
            ("kv", stages.kv.data()),
            ("ssm_kernel", layer.ssm_kernel(len).data()),
            ("ssm_out", stages.ssm_out.as_ref().expect("made").data()),
            ("gated", stages.gated.data()),
            ("output", stages.output.data()),
            ("final_state_k", stages.state.shift.data()),
            ("final_state", &pairs(&stages.state.diagonal)),
        ]
        .map(|(name, data): (&str, &[T])| (name.to_string(), data.to_vec()))
        .into();
        if let Some(chunk_len) = self.chunk_len {
            // The state after a prefix, run by itself.
            let (mut shift, mut diagonal) = (Vec::new(), Vec::new());
            for chunk in 1..=len.div_ceil(chunk_len) {
                let end = len.min(chunk * chunk_len);
                let rows = (0..batch).flat_map(|b| &u.data()[b * len * d..(b * len + end) * d]);
                let prefix = Tensor::new([batch, end, d], rows.copied().collect()).expect("fits");
                let state = run(&prefix, &Form::Recurrence).state;
                shift.extend_from_slice(state.shift.data());
                diagonal.extend(pairs(&state.diagonal));
            }
            named.push(("chunk_states_k".into(), shift));
            named.push(("chunk_states".into(), diagonal));
        }
        named
    }

    /// What rounding can do to every element, in units of the unit roundoff.
    pub(crate) fn scales(&self, form: &Form) -> Vec<(String, Vec<f64>)> {
        let worst = |errors: Vec<ErrorScale>| errors.iter().map(|x| x.error().worst).collect();
        let stages = self.stages::<ErrorScale>(form).into_iter();
        stages.map(|(name, errors)| (name, worst(errors))).collect()
    }

    /// The stages in one form. Page and reference are each within `U scale` of the truth.
    pub(crate) fn expected(&self, form: &Form) -> Vec<Expected> {
        let both = self.stages::<f64>(form).into_iter().zip(self.scales(form));
        let expected = both.map(|((name, values), (_, scale))| Expected {
            name,
            values,
            bound: scale.iter().map(|scale| 2.0 * U * scale).collect(),
        });
        expected.collect()
    }
}
