//! What one more token costs after how many: H3 the same, attention more for each.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::model::{ModelPreset, operations_per_token};

/// The longest prompt drawn.
const LONGEST: usize = 32768;

pub(crate) fn draw() -> Result<String, Error> {
    let mut figure = Figure::new(
        330.0,
        "Multiplications of one more token against the tokens before it",
        "Three models of the published 125M shape: with H3 in every block a token costs the same \
         after any number of tokens; with attention in one block it costs a little more for each, \
         after 32768 tokens 1.4 times as much; with attention in every block nearly six times.",
    );
    let published = ModelPreset::M125.config();
    let with = |attention: Vec<usize>| {
        let mut config = published.clone();
        config.attn_layer_idx = attention;
        config
    };
    let all: Vec<usize> = (0..published.n_layer).collect();
    let models = [
        (
            "H3 in every block",
            with(Vec::new()),
            "stroke thick s0-line",
        ),
        (
            "attention in block 6",
            published.clone(),
            "stroke d1 s2-line",
        ),
        ("attention in every block", with(all), "stroke d2 s1-line"),
    ];
    let millions = |config, position| operations_per_token(config, position).total() as f64 / 1e6;
    let top = models
        .iter()
        .map(|(_, config, _)| millions(config, LONGEST))
        .fold(0.0, f64::max);
    let top = (top / 200.0).ceil() * 200.0;
    let axes = Axes {
        place: [52.0, 88.0, 400.0, 190.0],
        x: (0.0, LONGEST as f64),
        y: (0.0, top),
    };
    let xs: Vec<(f64, String)> = (0..=4)
        .map(|i| i * LONGEST / 4)
        .map(|n| (n as f64, n.to_string()))
        .collect();
    let ys: Vec<(f64, String)> = (0..=4)
        .map(|i| f64::from(i) * top / 4.0)
        .map(|y| (y, format!("{y}")))
        .collect();
    axes.draw(
        &mut figure,
        &xs.iter().map(|(x, s)| (*x, s.as_str())).collect::<Vec<_>>(),
        &ys.iter().map(|(y, s)| (*y, s.as_str())).collect::<Vec<_>>(),
    );
    for (i, (name, config, class)) in models.iter().enumerate() {
        let ends = [0, LONGEST].map(|n| (n as f64, millions(config, n)));
        axes.line(&mut figure, &ends, class);
        let y = 22.0 + 18.0 * i as f64;
        figure.path(&[(52.0, y - 5.0), (82.0, y - 5.0)], class);
        figure.text(88.0, y, Anchor::Start, "small ink", name);
    }
    figure.text(
        462.0,
        22.0,
        Anchor::End,
        "small soft",
        "millions of multiplications",
    );
    figure.text(462.0, 322.0, Anchor::End, "small soft", "tokens before");
    Ok(figure.finish())
}
