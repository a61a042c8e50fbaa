//! The places of the parameters while they are trained.
//!
//! All parameters are one run of vectors, so that gradients, moments and updates are too. Lanes beyond a
//! parameter's own numbers are zero, and stay so.

use super::matrices::place;
use crate::error::{Error, check_len};
use crate::fast::lanes::{Element, Vector};
use crate::fast::panels::lane_groups;
use crate::h3::{HeadOrder, Name};
use crate::into_vec::IntoVec as _;
use crate::model::{BlockName, ModelConfig, ModelName, ModelParameters};
use core::ops::Range;
use std::collections::BTreeMap;

/// An axis of a parameter, and how its elements follow one another in lanes.
#[derive(Clone, Copy, Debug)]
struct Axis {
    len: usize,
    /// Channels of an H3 layer: heads are lanes, so that a head's outer products are products of vectors.
    heads: Option<Heads>,
}

#[derive(Clone, Copy, Debug)]
struct Heads {
    head_dim: usize,
    /// True if heads vary fastest officially too.
    heads_inside: bool,
}

impl Axis {
    fn plain(len: usize) -> Self {
        Self { len, heads: None }
    }

    fn vectors<T: Element>(self) -> usize {
        match self.heads {
            None => lane_groups::<T>(self.len),
            Some(heads) => heads.head_dim * lane_groups::<T>(self.len / heads.head_dim),
        }
    }

    /// The place of official element `i`.
    fn at<T: Element>(self, i: usize) -> usize {
        let Some(Heads {
            head_dim,
            heads_inside,
        }) = self.heads
        else {
            return i;
        };
        let heads = self.len / head_dim;
        let (head, within) = match heads_inside {
            true => (i % heads, i / heads),
            false => (i / head_dim, i % head_dim),
        };
        within * lane_groups::<T>(heads) * T::Lanes::WIDTH + head
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// A weight, in panels, its rows filled up to whole vectors.
    Matrix { rows: Axis, columns: Axis },
    /// Rows of vectors: a bias, the table of positions.
    Rows { columns: Axis },
    /// Rows of vectors, of the transpose: taps of the shift models, a channel a lane.
    Columns { rows: Axis, columns: usize },
}

/// One parameter.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: ModelName,
    pub(super) place: Range<usize>,
    form: Form,
    len: usize,
}

impl Slot {
    /// For each official element, row-major, its vector among all parameters and its lane.
    fn places<T: Element>(&self) -> impl Iterator<Item = (usize, usize)> {
        let width = T::Lanes::WIDTH;
        (0..self.len).map(move |i| {
            let (vector, lane) = match self.form {
                Form::Matrix { rows, columns } => {
                    let (r, c) = (i / columns.len, columns.at::<T>(i % columns.len));
                    let vector = place(
                        rows.vectors::<T>() * width,
                        columns.vectors::<T>(),
                        rows.at::<T>(r),
                        c / width,
                    );
                    (vector, c % width)
                }
                Form::Rows { columns } => {
                    let (r, c) = (i / columns.len, columns.at::<T>(i % columns.len));
                    (r * columns.vectors::<T>() + c / width, c % width)
                }
                Form::Columns { rows, columns } => {
                    let (r, c) = (rows.at::<T>(i / columns), i % columns);
                    (c * rows.vectors::<T>() + r / width, r % width)
                }
            };
            (self.place.start + vector, lane)
        })
    }

    /// The vectors of its rows and columns, if it is a weight.
    pub(super) fn matrix<T: Element>(&self) -> Option<(usize, usize)> {
        match self.form {
            Form::Matrix { rows, columns } => Some((rows.vectors::<T>(), columns.vectors::<T>())),
            _ => None,
        }
    }
}

/// The slots of all parameters of a model.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    config: ModelConfig,
    slots: Vec<Slot>,
    by_name: BTreeMap<ModelName, usize>,
    /// The vectors of all.
    pub(super) len: usize,
}

impl Slots {
    pub(super) fn new<T: Element>(config: &ModelConfig) -> Self {
        let mut slots = Self {
            config: config.clone(),
            slots: Vec::new(),
            by_name: BTreeMap::new(),
            len: 0,
        };
        for name in config.names() {
            let shape = name.shape(config);
            let len = shape.iter().product();
            let form = form(config, name, &shape, len);
            let width = T::Lanes::WIDTH;
            let vectors = match form {
                Form::Matrix { rows, columns } => {
                    rows.vectors::<T>() * width * columns.vectors::<T>()
                }
                Form::Rows { columns } => {
                    len.checked_div(columns.len).unwrap_or(0) * columns.vectors::<T>()
                }
                Form::Columns { rows, columns } => columns * rows.vectors::<T>(),
            };
            slots.by_name.insert(name, slots.slots.len());
            slots.slots.push(Slot {
                name,
                place: slots.len..slots.len + vectors,
                form,
                len,
            });
            slots.len += vectors;
        }
        slots
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// The vectors of a parameter; none for a name the model does not have.
    pub(super) fn range(&self, name: ModelName) -> Range<usize> {
        let slot = self.by_name.get(&name).map(|&at| &self.slots[at]);
        slot.map_or(0..0, |slot| slot.place.clone())
    }

    /// The vectors for these parameters, rounded to `T`.
    pub(super) fn read<T: Element>(
        &self,
        parameters: &ModelParameters<f64>,
        to: &mut [T::Lanes],
    ) -> Result<(), Error> {
        for slot in &self.slots {
            let values = parameters.get(slot.name);
            check_len(&slot.name.official(), values.len(), slot.len)?;
            for ((vector, lane), &x) in slot.places::<T>().zip(values) {
                to[vector].lanes_mut()[lane] = T::from_f64(x);
            }
        }
        Ok(())
    }

    /// The parameters that stand in some vectors.
    pub(super) fn write<T: Element>(
        &self,
        from: &[T::Lanes],
    ) -> Result<ModelParameters<f64>, Error> {
        ModelParameters::new(self.config.clone(), |name| {
            let slot = &self.slots[self.by_name[&name]];
            let places = slot.places::<T>();
            Ok(places
                .map(|(vector, lane)| from[vector].lanes()[lane].to_f64())
                .into_vec())
        })
    }
}

fn form(config: &ModelConfig, name: ModelName, shape: &[usize], len: usize) -> Form {
    let h3 = &config.h3;
    let channels = Axis {
        len: h3.d_model,
        heads: Some(Heads {
            head_dim: h3.head_dim,
            heads_inside: false,
        }),
    };
    let gated = Axis {
        len: h3.d_model,
        heads: Some(Heads {
            head_dim: h3.head_dim,
            heads_inside: h3.head_order == HeadOrder::D2H,
        }),
    };
    let model = Axis::plain(h3.d_model);
    let name = match name {
        ModelName::Block(_, BlockName::H3(name)) => name,
        ModelName::Block(_, BlockName::S4d(name)) if name != Name::OutputWeight => {
            return Form::Rows {
                columns: Axis::plain(len),
            };
        }
        ModelName::Positions => return Form::Rows { columns: model },
        _ => {
            return match *shape {
                [rows, columns] => Form::Matrix {
                    rows: Axis::plain(rows),
                    columns: Axis::plain(columns),
                },
                _ => Form::Rows {
                    columns: Axis::plain(len),
                },
            };
        }
    };
    match name {
        Name::QWeight | Name::KWeight | Name::VWeight => Form::Matrix {
            rows: channels,
            columns: model,
        },
        Name::QBias | Name::KBias | Name::VBias | Name::ShiftD => Form::Rows { columns: channels },
        Name::OutputWeight => Form::Matrix {
            rows: model,
            columns: gated,
        },
        Name::ShiftB | Name::ShiftC => Form::Columns {
            rows: channels,
            columns: h3.d_state,
        },
        // The diagonal models are decoded in double precision, from the official order.
        Name::OutputBias
        | Name::LogDt
        | Name::B
        | Name::C
        | Name::InvAReal
        | Name::AImag
        | Name::D => Form::Rows {
            columns: Axis::plain(len),
        },
    }
}
