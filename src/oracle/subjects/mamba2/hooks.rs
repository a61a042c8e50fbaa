//! The places in the layer where a mistake can be made, and the layer with mistakes.

use super::super::ssd::{SsdHook, WrongSsd};
use super::case::Mamba2Case;
use super::run::Layers;
use crate::algebra::Matrix;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::mamba::{
    GroupOf, Mamba2Config, Mamba2Evaluate, Mamba2Name, Mamba2Pass, Mamba2Stage, Mamba2Stages,
    Mamba2States, Ssd, skip,
};
use crate::oracle::mistake::Row;
use crate::oracle::subject::{Named, Setting};
use crate::oracle::upstream::{Replaced, replaced_or_stored};
use crate::ssm::{Varying, VaryingResponse};
use crate::tensor::Tensor;

/// A stage with a mistake, given what is before it.
type WrongStage =
    fn(&Mamba2Pass<'_, f64>, &Mamba2Stages<f64>, Tensor<f64>) -> Result<Tensor<f64>, Error>;

/// One edit of the layer.
#[derive(Clone, Copy)]
pub(crate) enum Mamba2Hook {
    /// The choices of the layer that decodes steps.
    Decoding(fn(&mut Mamba2Config)),
    /// A change of what one stage computes.
    Stage(Mamba2Stage, WrongStage),
    /// The operator.
    Ssd(SsdHook),
    /// The operator of whole sequences; single steps are right.
    Prefill(SsdHook),
    /// The states that are handed over to single steps.
    HandOver(fn(&mut Mamba2States<f64>)),
    /// The gradients once they are computed.
    Gradients(fn(&Mamba2Case, &mut Named<f64>)),
}

impl Mamba2Hook {
    pub(crate) fn needs_chunks(&self) -> bool {
        match self {
            Self::Ssd(hook) | Self::Prefill(hook) => hook.needs_chunks(),
            _ => false,
        }
    }
}

/// A port's stages in the place of those computed.
type FromUpstream<'a> = Replaced<'a, f64>;

/// The layer with mistakes.
struct Wrong<'a> {
    hooks: &'a [Mamba2Hook],
    ssd: WrongSsd,
    replaced: Option<FromUpstream<'a>>,
}

impl Mamba2Evaluate<f64> for Wrong<'_> {
    fn respond(
        &self,
        _: &Matrix<f64>,
        ssm: &Varying<f64>,
        u: &Matrix<f64>,
        x0: &Matrix<f64>,
    ) -> Result<VaryingResponse<f64>, Error> {
        self.ssd.respond(ssm, u, x0)
    }

    fn stage(
        &self,
        pass: &Mamba2Pass<'_, f64>,
        stage: Mamba2Stage,
        mut computed: Tensor<f64>,
        so_far: &Mamba2Stages<f64>,
    ) -> Result<Tensor<f64>, Error> {
        for hook in self.hooks {
            if let Mamba2Hook::Stage(known, wrong) = hook
                && *known == stage
            {
                computed = wrong(pass, so_far, computed)?;
            }
        }
        if stage == Mamba2Stage::YD {
            let ssd = self.operator(pass.operator(so_far)?);
            if let Some(skipped) = self.ssd.skipped(&ssd) {
                let d = pass.layer.get(Mamba2Name::D);
                computed = skip(&so_far.y, &skipped, d)?;
            }
        }
        Ok(match &self.replaced {
            Some(replaced) => replaced.stage(stage.name(), computed),
            None => computed,
        })
    }

    fn operator(&self, mut ssd: Ssd<f64>) -> Ssd<f64> {
        self.ssd.edit(&mut ssd);
        ssd
    }

    fn group_of(&self) -> GroupOf {
        self.ssd.group_of()
    }
}

/// The stages with mistakes.
pub(super) fn run_with(
    case: &Mamba2Case,
    mistakes: &[&'static Row<Mamba2Hook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let hooks: Vec<Mamba2Hook> = mistakes
        .iter()
        .flat_map(|row| row.hooks.iter().copied())
        .into_vec();
    let ssd = |prefill: bool| WrongSsd {
        hooks: hooks
            .iter()
            .filter_map(|hook| match hook {
                Mamba2Hook::Ssd(hook) => Some(*hook),
                Mamba2Hook::Prefill(hook) if prefill => Some(*hook),
                _ => None,
            })
            .into_vec(),
        chunk_len: setting.chunk_len,
    };
    let by = Wrong {
        hooks: &hooks,
        ssd: ssd(true),
        replaced: Some(replaced_or_stored(setting, |stage| {
            matches!(stage, "zxbcdt" | "output")
        })),
    };
    let decoding = Wrong {
        replaced: None,
        hooks: &hooks,
        ssd: ssd(false),
    };
    let mut layers: Layers<f64> = case.layers();
    for hook in &hooks {
        if let Mamba2Hook::Decoding(edit) = hook {
            edit(&mut layers.decode.config);
        }
    }
    let hand_over = |states: &mut Mamba2States<f64>| {
        for hook in &hooks {
            if let Mamba2Hook::HandOver(edit) = hook {
                edit(states);
            }
        }
    };
    let back = |_: &_, place: &_, ssm: &_, given: [&_; 4]| by.ssd.back(place, ssm, given);
    let back = (setting.backward && case.has_cotangent()).then_some(&back as _);
    let mut stages = case.assemble(&layers, (&by, &decoding), &hand_over, back)?;
    for hook in &hooks {
        if let Mamba2Hook::Gradients(edit) = hook {
            edit(case, &mut stages);
        }
    }
    Ok(match &by.replaced {
        Some(replaced) => replaced.restore(stages),
        None => stages,
    })
}
