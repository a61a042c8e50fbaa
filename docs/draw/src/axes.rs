//! A plot: a box with scales along two sides.

use crate::svg::{Anchor, Figure};

/// The part of a figure that data is drawn in, and what its sides stand for.
pub(crate) struct Axes {
    /// Left, top, width, height.
    pub(crate) place: [f64; 4],
    /// The values at the left and right side.
    pub(crate) x: (f64, f64),
    /// The values at the bottom and top.
    pub(crate) y: (f64, f64),
}

impl Axes {
    /// Where a pair of values is.
    pub(crate) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [left, top, width, height] = self.place;
        (
            left + width * (x - self.x.0) / (self.x.1 - self.x.0),
            top + height * (self.y.1 - y) / (self.y.1 - self.y.0),
        )
    }

    /// The box, with a mark and a label at each of the values given.
    pub(crate) fn draw(&self, figure: &mut Figure, xs: &[(f64, &str)], ys: &[(f64, &str)]) {
        let [left, top, width, height] = self.place;
        for &(y, label) in ys {
            let (_, at) = self.at(self.x.0, y);
            figure.path(&[(left, at), (left + width, at)], "stroke thin line-line");
            figure.text(left - 7.0, at + 4.5, Anchor::End, "small soft", label);
        }
        for &(x, label) in xs {
            let (at, _) = self.at(x, self.y.0);
            let bottom = top + height;
            figure.path(&[(at, bottom), (at, bottom + 5.0)], "stroke thin soft-line");
            figure.text(at, bottom + 19.0, Anchor::Middle, "small soft", label);
        }
        figure.frame(self.place, "stroke thin soft-line");
    }

    /// The stages' names below the box, at 0, 1, ..., by turns at two heights.
    pub(crate) fn stages(&self, figure: &mut Figure, names: &[String]) {
        for (place, name) in names.iter().enumerate() {
            let (x, y) = self.at(place as f64, self.y.0);
            let drop = if place % 2 == 0 { 18.0 } else { 34.0 };
            figure.path(&[(x, y), (x, y + drop - 12.0)], "stroke thin soft-line");
            figure.text(x, y + drop, Anchor::Middle, "small soft", name);
        }
    }

    /// A line through pairs of values.
    pub(crate) fn line(&self, figure: &mut Figure, values: &[(f64, f64)], class: &str) {
        let points: Vec<_> = values.iter().map(|&(x, y)| self.at(x, y)).collect();
        figure.path(&points, class);
    }
}
