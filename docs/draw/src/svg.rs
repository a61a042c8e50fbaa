//! Drawing: one SVG from rectangles, lines, labels and heat maps.
//!
//! The text is the same on every machine: coordinates have two decimals, colours are integers. Colours
//! are classes with a light and a dark value each (`prefers-color-scheme`), over an opaque
//! background, so that a figure is legible wherever it is embedded. Line colours are those of Okabe
//! and Ito, told apart by the common kinds of colour blindness, and series differ in dash as well.

use std::fmt::Write as _;

/// The width of every figure in its own units. It is shown up to `SHOWN` pixels wide; on the
/// narrowest screens (360) labels of 14 units are still 10 pixels high.
pub(crate) const WIDTH: f64 = 480.0;
const SHOWN: f64 = 640.0;

/// Heat maps go from `-LEVELS` to `LEVELS`.
pub(crate) const LEVELS: i32 = 8;

/// Name, light colour, dark colour of what is filled or stroked.
const INKS: [(&str, &str, &str); 9] = [
    ("ink", "#1f2328", "#e6edf3"),
    ("soft", "#59636e", "#9da7b3"),
    ("line", "#c4ccd4", "#4a525c"),
    ("s0", "#0072b2", "#56b4e9"),
    ("s1", "#d55e00", "#ff8c42"),
    ("s2", "#007a5a", "#35c295"),
    ("s3", "#a0458a", "#e09ac5"),
    ("s4", "#8a6d00", "#f0c83c"),
    ("band", "#eef2f6", "#1c232c"),
];
const PAPER: (&str, &str) = ("#ffffff", "#0d1117");

/// The ends of the two arms of a heat map, red, green, blue: light, then dark.
const NEGATIVE: ([i32; 3], [i32; 3]) = ([213, 94, 0], [255, 140, 66]);
const POSITIVE: ([i32; 3], [i32; 3]) = ([0, 92, 158], [96, 190, 250]);

/// Which end of a label its position names.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A figure being drawn.
pub(crate) struct Figure {
    height: f64,
    title: &'static str,
    description: &'static str,
    body: String,
}

/// A coordinate: two decimals at most, and no negative zero.
pub(crate) fn coordinate(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Figure {
    /// An empty figure. The title and the description are read aloud in its place.
    pub(crate) fn new(height: f64, title: &'static str, description: &'static str) -> Self {
        Self {
            height,
            title,
            description,
            body: String::new(),
        }
    }

    /// A label. Between `$` signs letters are italic, and `_x`, `^x`, `_{xy}` are indices.
    pub(crate) fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, label: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y) = (coordinate(x), coordinate(y));
        let spans = formula(label);
        let _ = writeln!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\" class=\"{class}\"{anchor}>{spans}</text>"
        );
    }

    /// A filled rectangle.
    pub(crate) fn rect(&mut self, [x, y, w, h]: [f64; 4], class: &str) {
        let [x, y, w, h] = [x, y, w, h].map(coordinate);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" class=\"{class}\"/>"
        );
    }

    /// A line through points.
    pub(crate) fn path(&mut self, points: &[(f64, f64)], class: &str) {
        let mut d = String::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let _ = write!(d, "{command}{} {}", coordinate(x), coordinate(y));
        }
        let _ = writeln!(self.body, "<path d=\"{d}\" class=\"{class}\"/>");
    }

    /// The outline of a rectangle.
    pub(crate) fn frame(&mut self, [x, y, w, h]: [f64; 4], class: &str) {
        let corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)];
        self.path(&corners, class);
    }

    /// A line with a head at its end.
    pub(crate) fn arrow(&mut self, from: (f64, f64), to: (f64, f64), series: &str) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = (dx * dx + dy * dy).sqrt();
        let (dx, dy) = (7.0 * dx / length, 7.0 * dy / length);
        let back = (to.0 - dx, to.1 - dy);
        self.path(&[from, back], &format!("stroke {series}-line"));
        let wings = [
            to,
            (back.0 - 0.45 * dy, back.1 + 0.45 * dx),
            (back.0 + 0.45 * dy, back.1 - 0.45 * dx),
        ];
        self.path(&wings, series);
    }

    /// A mark: a disc, a square, a triangle, a diamond or a bar, so that series differ without
    /// colour.
    pub(crate) fn dot(&mut self, (x, y): (f64, f64), shape: usize, series: &str) {
        let r = 4.0;
        match shape {
            0 => {
                let (x, y) = (coordinate(x), coordinate(y));
                let _ = writeln!(
                    self.body,
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" class=\"{series}\"/>"
                );
            }
            1 => self.rect([x - r, y - r, 2.0 * r, 2.0 * r], series),
            2 => {
                let up = [(x, y - r - 1.0), (x + r + 1.0, y + r), (x - r - 1.0, y + r)];
                self.path(&up, series);
            }
            3 => {
                let r = r + 1.0;
                let corners = [(x, y - r), (x + r, y), (x, y + r), (x - r, y)];
                self.path(&corners, series);
            }
            _ => self.rect([x - 1.5, y - r - 1.0, 3.0, 2.0 * r + 2.0], series),
        }
    }

    /// A heat map of square cells. Levels run from `-LEVELS` to `LEVELS`; zero is left blank.
    pub(crate) fn heat(
        &mut self,
        (x, y): (f64, f64),
        cell: f64,
        (rows, cols): (usize, usize),
        level: impl Fn(usize, usize) -> i32,
    ) {
        let (w, h) = (cell * cols as f64, cell * rows as f64);
        self.rect([x, y, w, h], "h0");
        // One path a level: a few bytes a cell.
        for wanted in (-LEVELS..=LEVELS).filter(|&l| l != 0) {
            let mut d = String::new();
            for i in 0..rows {
                let mut j = 0;
                while j < cols {
                    let start = j;
                    while j < cols && level(i, j).clamp(-LEVELS, LEVELS) == wanted {
                        j += 1;
                    }
                    if j > start {
                        let x = coordinate(x + cell * start as f64);
                        let y = coordinate(y + cell * i as f64);
                        let w = coordinate(cell * (j - start) as f64);
                        let _ = write!(d, "M{x} {y}h{w}v{}h-{w}z", coordinate(cell));
                    } else {
                        j += 1;
                    }
                }
            }
            if !d.is_empty() {
                let class = heat_class(wanted);
                let _ = writeln!(self.body, "<path d=\"{d}\" class=\"{class}\"/>");
            }
        }
    }

    /// The figure as a file.
    pub(crate) fn finish(self) -> String {
        let (light, dark) = self.style();
        let (w, h) = (coordinate(WIDTH), coordinate(self.height));
        let shown = coordinate(self.height * SHOWN / WIDTH);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{}\" \
             height=\"{shown}\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n<style>\n\
             text{{font:14px system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",Helvetica,Arial,sans-serif}}\n\
             .small{{font-size:12px}}.head{{font-weight:600}}\n\
             .stroke{{fill:none;stroke-width:1.5}}.thick{{stroke-width:2.5}}.thin{{stroke-width:1}}\n\
             .d1{{stroke-dasharray:7 4}}.d2{{stroke-dasharray:2 3}}.d3{{stroke-dasharray:9 3 2 3}}.d4{{stroke-dasharray:12 3}}\n\
             {light}@media (prefers-color-scheme:dark){{\n{dark}}}\n</style>\n\
             <rect width=\"{w}\" height=\"{h}\" rx=\"6\" class=\"paper\"/>\n{}</svg>\n",
            coordinate(SHOWN),
            escape(self.title),
            escape(self.description),
            self.body
        )
    }

    /// The rules of the classes in use, light and dark.
    fn style(&self) -> (String, String) {
        let mut rules = [String::new(), String::new()];
        let mut rule = |class: &str, property: &str, colours: [&str; 2]| {
            for (rules, colour) in rules.iter_mut().zip(colours) {
                let _ = writeln!(rules, ".{class}{{{property}:{colour}}}");
            }
        };
        rule("paper", "fill", [PAPER.0, PAPER.1]);
        let used: Vec<&str> = self
            .body
            .split("class=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .flat_map(str::split_whitespace)
            .collect();
        for (name, light, dark) in INKS {
            if used.contains(&name) {
                rule(name, "fill", [light, dark]);
            }
            let stroked = format!("{name}-line");
            if used.contains(&stroked.as_str()) {
                rule(&stroked, "stroke", [light, dark]);
            }
        }
        for level in -LEVELS..=LEVELS {
            let class = heat_class(level);
            if used.contains(&class.as_str()) {
                let (light, dark) = heat_colours(level);
                rule(&class, "fill", [&light, &dark]);
            }
        }
        let [light, dark] = rules;
        (light, dark)
    }
}

/// The class of a level of a heat map.
fn heat_class(level: i32) -> String {
    match level {
        0 => "h0".into(),
        _ if level < 0 => format!("n{}", -level),
        _ => format!("p{level}"),
    }
}

/// From nearly the paper at level 0 to the end of an arm at level `LEVELS`, in equal steps.
fn heat_colours(level: i32) -> (String, String) {
    let end = if level < 0 { NEGATIVE } else { POSITIVE };
    let mix = |from: [i32; 3], to: [i32; 3]| {
        let part = |i: usize| from[i] + (to[i] - from[i]) * level.abs() / LEVELS;
        format!("#{:02x}{:02x}{:02x}", part(0), part(1), part(2))
    };
    (mix([241, 244, 247], end.0), mix([24, 31, 40], end.1))
}

/// A level for a value, zero only for zero: equal steps of `|value| / largest`, rounded up.
pub(crate) fn level(value: f64, largest: f64) -> i32 {
    let steps = (value.abs() / largest * f64::from(LEVELS)).ceil() as i32;
    if value < 0.0 { -steps } else { steps }
}

/// A label as spans of text.
fn formula(label: &str) -> String {
    let mut spans = String::new();
    for (i, part) in label.split('$').enumerate() {
        if i % 2 == 0 {
            spans.push_str(&escape(part));
            continue;
        }
        let mut letters = part.chars().peekable();
        // What the next span must move back by, in hundredths of an em.
        let mut shift = 0;
        while let Some(c) = letters.next() {
            let up = match c {
                '^' => -40,
                '_' => 28,
                _ => 0,
            };
            let mut run = String::new();
            if up == 0 {
                run.push(c);
                while let Some(&next) = letters.peek() {
                    if next == '^' || next == '_' || next.is_alphabetic() != c.is_alphabetic() {
                        break;
                    }
                    run.push(next);
                    letters.next();
                }
            } else if letters.peek() == Some(&'{') {
                letters.next();
                run.extend(letters.by_ref().take_while(|&c| c != '}'));
            } else {
                run.extend(letters.next());
            }
            let style = if run.chars().all(|c| c.is_alphabetic() || c == '\'') && up == 0 {
                " font-style=\"italic\""
            } else {
                ""
            };
            // Offsets in units of the label's own size: 14, of indices 10.
            let dy = (f64::from(up) - f64::from(shift)) / 100.0 * 14.0;
            let dy = if up == shift {
                String::new()
            } else {
                format!(" dy=\"{}\"", coordinate(dy))
            };
            let size = if up == 0 { "" } else { " font-size=\"10\"" };
            let _ = write!(spans, "<tspan{style}{dy}{size}>{}</tspan>", escape(&run));
            shift = up;
        }
        if shift != 0 {
            // An empty span does not move the pen in every program: a zero-width space does.
            let dy = coordinate(-f64::from(shift) / 100.0 * 14.0);
            let _ = write!(spans, "<tspan dy=\"{dy}\">\u{200b}</tspan>");
        }
    }
    spans
}
