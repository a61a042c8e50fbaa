//! Claim: the gradient of a language model's loss with respect to every number of every parameter is the
//! derivative that dual numbers have, in every form, for every kind of mixer and over documents; balls
//! certify that both are one number.

use crate::common::{close, largest};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::ball::BallN;
use hungry_hippos::algebra::{Dual, Real, Ring, Rng, RootsOfUnity};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{self, Form, HeadOrder, Name, RealType};
use hungry_hippos::model::{BlockName, ModelConfig, ModelName, ModelParameters, SsmMixer, Targets};
use hungry_hippos::ssm::{Discretization, Documents, Padding};

/// A model and what its loss is taken of.
struct Problem {
    what: &'static str,
    parameters: ModelParameters<f64>,
    ids: Tensor<usize>,
    documents: Documents,
    targets: Targets,
}

const VOCAB: usize = 6;
const LEN: usize = 5;

/// Two blocks of 4 channels in heads of 2, attention where asked for.
fn problem(
    what: &'static str,
    attention: &[usize],
    (disc, real_type): (Discretization, RealType),
    documents: Documents,
    change: impl Fn(&mut ModelConfig),
) -> Problem {
    let mut config = ModelConfig {
        n_layer: 2,
        d_inner: 3,
        vocab_size: VOCAB,
        max_position_embeddings: 0,
        attn_layer_idx: attention.to_vec(),
        num_heads: 2,
        layer_norm_epsilon: 1e-3,
        ssm: SsmMixer::H3,
        h3: h3::Config {
            d_model: 4,
            head_dim: 2,
            d_state: 4,
            n_ssm: 1,
            disc,
            real_type,
            l_max: None,
            head_order: HeadOrder::D2H,
        },
    };
    change(&mut config);
    let mut rng = Rng::new(31);
    let parameters = ModelParameters::new(config.clone(), |name| {
        let size: usize = name.shape(&config).iter().product();
        let value = |_| match name {
            ModelName::NormWeight
            | ModelName::Block(_, BlockName::Norm1Weight | BlockName::Norm2Weight) => {
                1.0 + 0.5 * rng.unit()
            }
            // Away from the kink of relu.
            ModelName::Block(_, BlockName::H3(Name::InvAReal) | BlockName::S4d(Name::InvAReal)) => {
                0.5 + 0.3 * rng.unit()
            }
            ModelName::Block(_, BlockName::H3(Name::LogDt) | BlockName::S4d(Name::LogDt)) => {
                rng.unit() - 1.0
            }
            _ => 0.8 * rng.unit(),
        };
        Ok((0..size).map(value).collect())
    })
    .expect("a model");
    let batch = documents.batch();
    let places = || [batch, LEN];
    let ids = (0..batch * LEN).map(|_| rng.below(VOCAB)).collect();
    let padding: Vec<usize> = documents.padding().map(|(b, i)| b * LEN + i).collect();
    // Every third place is not counted, and none at padding.
    let target = |at: usize| {
        let word = rng.below(VOCAB);
        (at % 3 != 1 && !padding.contains(&at)).then_some(word)
    };
    let targets = (0..batch * LEN).map(target).collect();
    Problem {
        what,
        parameters,
        ids: Tensor::new(places(), ids).expect("fits"),
        documents,
        targets: Tensor::new(places(), targets).expect("fits"),
    }
}

fn problems() -> Vec<Problem> {
    use Discretization::{Bilinear, ZeroOrderHold as Zoh};
    let whole = || Documents::whole(2, LEN);
    let packed = Documents::packed(LEN, &[0, 1, 3, LEN]).expect("fits");
    let padded = Documents::padded(LEN, &[3, LEN], Padding::Left).expect("fits");
    vec![
        problem("H3", &[], (Bilinear, RealType::Exp), whole(), |_| {}),
        problem(
            "attention",
            &[0, 1],
            (Bilinear, RealType::Exp),
            whole(),
            |config| {
                config.max_position_embeddings = LEN + 1;
            },
        ),
        problem(
            "packed hybrid",
            &[1],
            (Zoh, RealType::None),
            packed,
            |config| {
                config.max_position_embeddings = LEN;
            },
        ),
        problem(
            "padded hybrid",
            &[0],
            (Bilinear, RealType::Sigmoid),
            padded,
            |config| {
                config.max_position_embeddings = LEN;
                config.h3.head_order = HeadOrder::HD2;
            },
        ),
        problem(
            "cut kernels",
            &[],
            (Bilinear, RealType::Softplus),
            whole(),
            |config| {
                config.h3.l_max = Some(3);
            },
        ),
        problem(
            "a model per head",
            &[1],
            (Zoh, RealType::Relu),
            whole(),
            |config| {
                (config.h3.head_dim, config.h3.n_ssm) = (1, 4);
            },
        ),
        problem(
            "packed S4D",
            &[],
            (Zoh, RealType::Exp),
            Documents::packed(LEN, &[0, 2, LEN]).expect("fits"),
            |config| {
                (config.ssm, config.h3.head_dim) = (SsmMixer::S4d, 1);
            },
        ),
        problem(
            "padded S4D and attention",
            &[1],
            (Bilinear, RealType::Softplus),
            Documents::padded(LEN, &[4, LEN], Padding::Right).expect("fits"),
            |config| {
                (config.ssm, config.h3.head_dim) = (SsmMixer::S4d, 1);
                config.h3.n_ssm = 2;
            },
        ),
    ]
}

impl Problem {
    fn form(&self) -> Form {
        self.parameters.config().h3.default_form(LEN)
    }

    /// The loss, written another way: the mean of `ln(1 + sum of the others' e^(z - z_target))`.
    fn loss<T>(&self, parameters: &ModelParameters<T>) -> T
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let model = parameters.model().expect("a model");
        let stages = model.forward_documents(&self.form(), &self.ids, &self.documents, None);
        let logits = stages.expect("runs").logits;
        let rows = logits.data().chunks(VOCAB).zip(self.targets.data());
        let (mut sum, mut counted) = (T::ZERO, 0);
        for (row, target) in rows {
            let Some(target) = *target else { continue };
            let others = row.iter().enumerate().filter(|(i, _)| *i != target);
            let others = others.fold(T::ZERO, |sum, (_, &z)| sum + (z - row[target]).exp());
            sum = sum + others.ln_1p();
            counted += 1;
        }
        sum.divide(T::from_i64(counted)).expect("some are counted")
    }

    /// Every gradient, one after another.
    fn gradient<T>(&self, form: &Form) -> (T, Vec<T>)
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let parameters = self.parameters.map(T::from_f64);
        let (ids, documents) = (&self.ids, &self.documents);
        let ran = parameters.gradients_of_documents(form, ids, documents, &self.targets);
        let (_, gradients) = ran.expect("runs");
        (gradients.loss, flat(&gradients.parameters))
    }
}

fn flat<T: Copy>(parameters: &ModelParameters<T>) -> Vec<T> {
    let all = parameters.tensors();
    all.flat_map(|(_, values)| values.into_data()).collect()
}

/// The parameters as dual numbers along a direction.
fn along<T: Real>(
    parameters: &ModelParameters<f64>,
    direction: &[f64],
) -> ModelParameters<Dual<T>> {
    let mut at = 0;
    // In the order of `tensors`, which is that of the names.
    ModelParameters::new(parameters.config().clone(), |name| {
        let dual = |&x: &f64| {
            at += 1;
            Dual::new(T::from_f64(x), T::from_f64(direction[at - 1]))
        };
        Ok(parameters.get(name).iter().map(dual).collect())
    })
    .expect("as before")
}

/// Both are derivatives up to rounding, of some hundred operations each; what is wrong by a part in 1e9
/// is refused.
#[test]
fn every_number_has_the_derivative_of_dual_numbers() {
    for problem in problems() {
        let (loss, found) = problem.gradient::<f64>(&problem.form());
        let mut direction = vec![0.0; found.len()];
        let mut expected = Vec::with_capacity(found.len());
        for at in 0..found.len() {
            direction[at] = 1.0;
            let dual = problem.loss(&along::<f64>(&problem.parameters, &direction));
            direction[at] = 0.0;
            assert!((dual.value - loss).abs() < 1e-14 * loss, "{}", problem.what);
            expected.push(dual.derivative);
        }
        let what = problem.what;
        let bound = 1e-13 * largest(&expected);
        close(what, &found, &expected, bound).unwrap_or_else(|why| panic!("{why}"));
        let off = |factor: f64| found.iter().map(|x| x * factor).collect::<Vec<_>>();
        for factor in [1.0 + 1e-9, 0.5, -1.0] {
            assert!(
                close(what, &off(factor), &expected, bound).is_err(),
                "{what}, {factor}"
            );
        }
        let is_key_bias = found.iter().zip(&expected).filter(|(x, _)| **x == 0.0);
        let zeros = is_key_bias.filter(|(_, y)| y.abs() > 1e-15).count();
        assert_eq!(
            zeros, 0,
            "{what}: what is zero here is rounding noise there"
        );
    }
}

/// The same over balls of four words, along a direction: both enclose one number, closer than any float
/// tells.
#[test]
fn balls_certify_the_derivative() {
    let rng = &mut Rng::new(5);
    for problem in problems() {
        let (_, gradient) = problem.gradient::<BallN<4>>(&problem.form());
        let direction: Vec<f64> = gradient.iter().map(|_| rng.unit()).collect();
        let dual = problem.loss(&along::<BallN<4>>(&problem.parameters, &direction));
        let product = |sum, (&g, &d): (&BallN<4>, &f64)| sum + g * BallN::from_f64(d);
        let pairs = gradient.iter().zip(&direction);
        let found = pairs.clone().fold(BallN::ZERO, product);
        let apart = |found: BallN<4>| found - dual.derivative;
        let (difference, size) = (apart(found), dual.derivative.upper_magnitude());
        let what = problem.what;
        assert!(difference.contains_zero(), "{what}: {difference}");
        assert!(difference.radius() < 1e-40 * size, "{what}: {difference}");
        let wrong = pairs.skip(1).fold(BallN::ZERO, product);
        assert!(
            !apart(wrong).contains_zero(),
            "{what}: one gradient left out"
        );
    }
}

/// Every form goes back by its own adjoint; all give one gradient.
#[test]
fn every_form_has_the_same_gradient() {
    for problem in problems() {
        let (_, expected) = problem.gradient::<f64>(&problem.form());
        let cut = problem.parameters.config().h3.l_max.is_some();
        for form in Form::all([Chunking::Uniform(2)]) {
            if cut && matches!(form, Form::Recurrence | Form::Scan | Form::FlashConv(_)) {
                continue;
            }
            let (_, found) = problem.gradient::<f64>(&form);
            let what = format!("{}, {form}", problem.what);
            close(&what, &found, &expected, 1e-13 * largest(&expected))
                .unwrap_or_else(|why| panic!("{why}"));
        }
    }
}

#[test]
fn targets_that_cannot_be_are_refused() {
    let problem = problems().swap_remove(3);
    let refused = |at: usize, target: Option<usize>| {
        let mut targets = problem.targets.data().to_vec();
        targets[at] = target;
        let targets = Tensor::new([2, LEN], targets).expect("fits");
        let (ids, documents) = (&problem.ids, &problem.documents);
        let parameters = &problem.parameters;
        let ran = parameters.gradients_of_documents(&problem.form(), ids, documents, &targets);
        ran.map(|_| ()).expect_err("refused").to_string()
    };
    assert!(refused(4, Some(VOCAB)).contains("element 4 is 6, outside"));
    assert!(refused(1, Some(0)).contains("element 1 is at padding"));
    let none = Tensor::new([2, LEN], vec![None; 2 * LEN]).expect("fits");
    let ran = problem
        .parameters
        .gradients(&Form::Recurrence, &problem.ids, &none);
    assert!(
        ran.expect_err("refused")
            .to_string()
            .contains("no position")
    );
}
