//! A small safetensors file, byte for byte: length, header, data.

use crate::svg::{Anchor, Figure, WIDTH};
use hungry_hippos::Error;
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};

/// The width of a byte's cell, and where the first one begins.
const CELL: f64 = 20.0;
const LEFT: f64 = 20.0;
const LENGTH: usize = 8;

pub(crate) fn draw() -> Result<String, Error> {
    let mut writer = Writer::new();
    writer.metadata("head_dim", "1")?;
    writer.add("D", Dtype::F64, &[2], &[0.5, -1.0])?;
    writer.add("u", Dtype::BF16, &[1, 3], &[1.0, 2.0, 1.0 / 3.0])?;
    let bytes = writer.to_bytes()?;
    let file = SafeTensors::from_bytes(bytes.clone())?;
    let data_len: usize = file.tensors().map(|tensor| tensor.bytes.len()).sum();
    let data = bytes.len() - data_len;
    let header = String::from_utf8_lossy(&bytes[LENGTH..data]).into_owned();

    let mut figure = Figure::new(
        354.0,
        "A safetensors file, byte for byte",
        "Three parts, one below the other. First eight bytes, the length of the header. Then the header, \
         JSON that names two tensors with type, shape and offsets. Then the data as cells of one byte: \
         the sixteen bytes of the first tensor, two numbers of eight bytes, and right behind them the \
         six of the second, three numbers of two bytes. Offsets count from where the data begins.",
    );
    let caption = |figure: &mut Figure, y: f64, from: usize, to: usize, what: &str| {
        let label = format!("bytes {from} to {}: {what}", to - 1);
        figure.text(LEFT, y, Anchor::Start, "ink", &label);
    };

    let what = format!("length of the header, {}", header.len());
    caption(&mut figure, 28.0, 0, LENGTH, &what);
    cells(&mut figure, LEFT, 38.0, &bytes[..LENGTH], "soft");

    let what = "header, filled up with spaces";
    caption(&mut figure, 98.0, LENGTH, data, what);
    let place = [LEFT, 108.0, WIDTH - 2.0 * LEFT, 84.0];
    figure.rect(place, "band");
    figure.frame(place, "stroke thin soft-line");
    // A line for the metadata and for each tensor, in its tensor's colour.
    let entries = header.trim_end().replace("},\"", "},\n\"");
    for (i, line) in entries.lines().enumerate() {
        let (y, class) = (
            132.0 + 22.0 * i as f64,
            ["small ink", "small s0", "small s1"][i.min(2)],
        );
        figure.text(LEFT + 10.0, y, Anchor::Start, class, line);
    }

    caption(&mut figure, 226.0, data, bytes.len(), "data, without gaps");
    let (top, mut begin) = (252.0, 0);
    for (i, tensor) in file.tensors().enumerate() {
        let series = ["s0", "s1"][i.min(1)];
        let x = |byte: usize| LEFT + CELL * byte as f64;
        let end = begin + tensor.bytes.len();
        cells(&mut figure, x(begin), top, tensor.bytes, "ink");
        let values = tensor.to_f64()?;
        let size = tensor.bytes.len() / values.len();
        for (j, value) in values.iter().enumerate() {
            let from = begin + j * size;
            let place = [x(from), top, CELL * size as f64, 24.0];
            figure.frame(place, &format!("stroke {series}-line"));
            let digits = ((value * 1000.0).round() / 1000.0).to_string();
            let middle = place[0] + place[2] / 2.0;
            figure.text(middle, top + 42.0, Anchor::Middle, "small soft", &digits);
        }
        let (middle, dtype) = (0.5 * (x(begin) + x(end)), tensor.dtype.name());
        figure.path(
            &[(x(begin) + 3.0, top + 52.0), (x(end) - 3.0, top + 52.0)],
            &format!("stroke thick {series}-line"),
        );
        let label = format!("{}: {dtype} {:?}", tensor.name, tensor.shape);
        figure.text(middle, top + 72.0, Anchor::Middle, series, &label);
        let label = format!("offset {begin}");
        figure.text(x(begin), top - 6.0, Anchor::Start, "small soft", &label);
        begin = end;
    }
    let right = LEFT + CELL * begin as f64;
    figure.text(
        right,
        top - 6.0,
        Anchor::End,
        "small soft",
        &begin.to_string(),
    );
    Ok(figure.finish())
}

/// Bytes in hexadecimal, a cell each.
fn cells(figure: &mut Figure, x: f64, y: f64, bytes: &[u8], class: &str) {
    for (i, byte) in bytes.iter().enumerate() {
        let place = [x + CELL * i as f64, y, CELL, 24.0];
        figure.frame(place, "stroke thin line-line");
        let middle = place[0] + CELL / 2.0;
        let class = format!("small {class}");
        figure.text(
            middle,
            y + 16.0,
            Anchor::Middle,
            &class,
            &format!("{byte:02x}"),
        );
    }
}
