//! The mistakes of the catalogue that a single model can have, at its own hooks.

use super::super::layer::{LayerHook, forward_mistakes};
use super::super::wrong_model::ModelHook::{self, Convolution, Dropped, Kernel, ReadLater};
use super::super::wrong_model::{Boundaries, WrongModel};
use super::case::DenseCase;
use crate::error::Error;
use crate::flashconv::delayed;
use crate::into_vec::IntoVec as _;
use crate::oracle::memo::Recall;
use crate::oracle::mistake::Row;
use crate::oracle::subject::{Named, Setting};
use crate::ssm::{Dense, recurrence};
use std::borrow::Cow;
use std::sync::LazyLock;

/// One edit of the reference.
#[derive(Clone, Copy)]
pub(crate) enum DenseHook {
    /// The model has no skip.
    NoSkip,
    /// The state before the first input is zero.
    NoInitialState,
    /// The model is run chunk by chunk.
    InChunks,
    /// A change to what a step of the model computes.
    Model(ModelHook<Dense<f64>>),
}

use DenseHook::{InChunks, Model, NoInitialState, NoSkip};

/// The hooks of the mistakes, which the layer's catalogue has in words.
static HOOKS: [(&str, &[DenseHook]); 6] = [
    ("M01b", &[Model(Convolution(|c| c.circular()))]),
    ("M34", &[NoSkip]),
    (
        "M50a",
        &[
            Model(Kernel(|_, f, len| delayed(f(len)))),
            Model(ReadLater(-1)),
        ],
    ),
    ("M55", &[InChunks, Model(ReadLater(-1))]),
    ("M59a", &[InChunks, Model(Dropped)]),
    ("M59b", &[NoInitialState]),
];

/// The mistakes of a dense model, in the order of the catalogue.
pub(super) static ROWS: LazyLock<Vec<Row<DenseHook>>> = LazyLock::new(|| {
    let row = |known: &Row<LayerHook>| {
        let (_, hooks) = HOOKS.iter().find(|(id, _)| *id == known.mistake.id)?;
        let mistake = known.mistake;
        Some(Row {
            mistake,
            hooks: Cow::Borrowed(hooks),
        })
    };
    forward_mistakes().into_iter().filter_map(row).into_vec()
});

/// The stages with mistakes; all tokens, whatever the setting asks for.
pub(super) fn run_with(
    case: &DenseCase,
    mistakes: &[&'static Row<DenseHook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let hooks: Vec<&'static DenseHook> =
        mistakes.iter().flat_map(|row| row.hooks.iter()).into_vec();
    let has = |asked: fn(&DenseHook) -> bool| hooks.iter().any(|hook| asked(hook));
    let mut ssm = case.ssm.clone();
    if has(|hook| matches!(hook, NoSkip)) {
        ssm.d = 0.0;
    }
    let forgets = has(|hook| matches!(hook, NoInitialState));
    let drops = has(|hook| matches!(hook, Model(Dropped)));
    let of_model = |hook: &&'static DenseHook| match hook {
        Model(hook) => Some(hook),
        _ => None,
    };
    let wrong = WrongModel {
        hooks: hooks.iter().filter_map(of_model).into_vec(),
        once: Vec::new(),
        l_max: None,
        boundaries: match has(|hook| matches!(hook, InChunks)) {
            true => Boundaries::Every(setting.chunk_len),
            false => Boundaries::None,
        },
        number: setting.chunk_len,
        recall: Recall::default(),
    };
    let kernel = wrong.taps(&ssm, case.input.shape()[1]);
    case.assemble(kernel.clone(), |u, x0| {
        let zero = vec![0.0; x0.len()];
        let mut response = wrong.respond(&ssm, &kernel, u, if forgets { &zero } else { x0 })?;
        if drops {
            // Chunks begin anew for their outputs alone.
            response.state = recurrence(&ssm, u, Some(x0))?.state;
        }
        Ok(response)
    })
}
