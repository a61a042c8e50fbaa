//! The shift model's state: a window that slides over the inputs.

use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::ssm::{Shift, Stream};

const M: usize = 4;
const N: usize = 7;

pub(crate) fn draw() -> Result<String, Error> {
    // The model itself fills the table: its inputs are their own numbers, 1, 2, ...
    let mut one = vec![0.0; M];
    one[0] = 1.0;
    let ssm = Shift::new(one, vec![0.0; M], 0.0)?;
    let mut stream = Stream::new(&ssm);

    let mut figure = Figure::new(
        320.0,
        "The shift model's state is a sliding window",
        "A table with a column for each time step from 1 to 7 and a row for each of the four places \
         of the state. Each input enters at the top, moves down one place a step, and is dropped \
         after the fourth. The third input is marked along its way.",
    );
    let (left, top, w, h) = (64.0, 78.0, 54.0, 40.0);
    figure.text(left - 12.0, 30.0, Anchor::End, "soft", "input");
    for i in 0..N {
        let x = left + w * (i as f64 + 0.5);
        figure.text(x, 30.0, Anchor::Middle, "ink", &format!("$u_{}$", i + 1));
        figure.arrow((x, 40.0), (x, top - 5.0), "s0");
    }
    for n in 0..M {
        let y = top + h * (n as f64 + 0.5) + 5.0;
        let label = format!("$x$[{n}]");
        figure.text(left - 12.0, y, Anchor::End, "soft", &label);
    }
    for i in 0..N {
        stream.step((i + 1) as f64);
        for (n, &input) in stream.state().iter().enumerate() {
            let place = [left + w * i as f64, top + h * n as f64, w, h];
            let marked = input == 3.0;
            if marked {
                figure.rect(place, "p4");
            }
            figure.frame(place, "stroke thin line-line");
            let (x, y) = (place[0] + w / 2.0, place[1] + h / 2.0 + 5.0);
            let (label, class) = match input as usize {
                0 => ("0".to_string(), "soft"),
                j if marked => (format!("$u_{j}$"), "head ink"),
                j => (format!("$u_{j}$"), "ink"),
            };
            figure.text(x, y, Anchor::Middle, class, &label);
        }
    }
    let bottom = top + h * M as f64;
    figure.frame([left, top, w * N as f64, h * M as f64], "stroke soft-line");
    for (i, label) in ["1", "2", "3", "4", "5", "6", "7"].iter().enumerate() {
        let x = left + w * (i as f64 + 0.5);
        figure.text(x, bottom + 20.0, Anchor::Middle, "small soft", label);
    }
    figure.text(left - 12.0, bottom + 20.0, Anchor::End, "small soft", "$i$");
    figure.text(
        left,
        bottom + 50.0,
        Anchor::Start,
        "ink",
        "$x_i$ = ($u_i$, $u_{i−1}$, $u_{i−2}$, $u_{i−3}$): after four steps an input is gone",
    );
    Ok(figure.finish())
}
