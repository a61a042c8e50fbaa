//! Writing safetensors: one content, one file, which reads back as what was written; all of it or
//! nothing.

use hungry_hippos::Error;
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer, write_streamed};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&path));
    fs::create_dir_all(&path).unwrap();
    path
}

/// What the reference library writes for this content (Python's safetensors 0.8.0, byte for byte).
#[test]
fn the_form_is_the_reference_librarys() {
    let mut writer = Writer::new();
    // In an order that is neither that of the types nor that of the names.
    writer
        .add("z\u{e9}\"\\/\n\u{1f}\u{7f}", Dtype::F32, &[1], &[0.1])
        .unwrap()
        .add("h", Dtype::F16, &[1, 1], &[-2.0])
        .unwrap()
        .add("b", Dtype::F64, &[], &[1.0])
        .unwrap()
        .add_i64("i", &[1], &[-2])
        .unwrap()
        .add("a", Dtype::F64, &[0, 3], &[])
        .unwrap()
        .add_bytes("u", Dtype::U8, &[3], &[1, 2, 3])
        .unwrap()
        .add("w", Dtype::BF16, &[1], &[1.0])
        .unwrap()
        .metadata("key\t", "value \u{1f99b}\u{8}\u{c}\r\0")
        .unwrap();
    let header = concat!(
        r#"{"__metadata__":{"key\t":"value "#,
        "\u{1f99b}",
        r#"\b\f\r\u0000"},"#,
        r#""i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"#,
        r#""a":{"dtype":"F64","shape":[0,3],"data_offsets":[8,8]},"#,
        r#""b":{"dtype":"F64","shape":[],"data_offsets":[8,16]},"#,
        "\"z\u{e9}",
        r#"\"\\/\n\u001f"#,
        "\u{7f}",
        r#"":{"dtype":"F32","shape":[1],"data_offsets":[16,20]},"#,
        r#""w":{"dtype":"BF16","shape":[1],"data_offsets":[20,22]},"#,
        r#""h":{"dtype":"F16","shape":[1,1],"data_offsets":[22,24]},"#,
        r#""u":{"dtype":"U8","shape":[3],"data_offsets":[24,27]}}"#,
    );
    let padding = " ".repeat(header.len().next_multiple_of(8) - header.len());
    assert!(!padding.is_empty(), "the case should need padding");
    let mut expected = ((header.len() + padding.len()) as u64)
        .to_le_bytes()
        .to_vec();
    expected.extend_from_slice(header.as_bytes());
    expected.extend_from_slice(padding.as_bytes());
    expected.extend((-2i64).to_le_bytes());
    expected.extend(1f64.to_le_bytes());
    expected.extend(0.1f32.to_le_bytes());
    expected.extend([0x80, 0x3f, 0x00, 0xc0, 1, 2, 3]);
    let bytes = writer.to_bytes().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        String::from_utf8_lossy(&expected)
    );
    assert_eq!(bytes, expected);
}

#[test]
fn nothing_is_a_file_too() {
    let expected = b"\x08\0\0\0\0\0\0\0{}      ";
    assert_eq!(Writer::new().to_bytes().unwrap(), expected);
}

#[test]
fn what_could_not_be_read_is_refused() {
    let mut writer = Writer::new();
    writer.metadata("k", "v").unwrap();
    writer.add("w", Dtype::F64, &[1], &[0.0]).unwrap();
    let before = writer.to_bytes().unwrap();
    let mut refused = |expected: &str, change: &dyn Fn(&mut Writer) -> Option<Error>| {
        let message = change(&mut writer).map(|error| error.to_string());
        let message = message.unwrap_or_else(|| panic!("accepted: {expected}"));
        assert!(
            message.contains(expected),
            "{message}\n  expected: {expected}"
        );
        // A refusal leaves no trace.
        assert_eq!(writer.to_bytes().unwrap(), before, "{expected}");
    };
    refused("tensor \"w\": is there already", &|w| {
        w.add("w", Dtype::F64, &[1], &[0.0]).err()
    });
    refused("tensor \"w\": is there already", &|w| {
        w.add_i64("w", &[1], &[0]).err()
    });
    refused("tensor \"w\": is there already", &|w| {
        w.add_bytes("w", Dtype::U8, &[1], &[0]).err()
    });
    refused("metadata \"k\": is there already", &|w| {
        w.metadata("k", "v").err()
    });
    refused("tensor \"__metadata__\": the name is reserved", &|w| {
        w.add("__metadata__", Dtype::F64, &[1], &[0.0]).err()
    });
    refused("tensor \"__metadata__\": the name is reserved", &|w| {
        w.add_bytes("__metadata__", Dtype::U8, &[0], &[]).err()
    });
    refused(
        "tensor \"x\": expected 48 bytes (F64 of shape [2, 3]), got 40 bytes",
        &|w| w.add("x", Dtype::F64, &[2, 3], &[0.0; 5]).err(),
    );
    refused(
        "tensor \"x\": expected 4 bytes (BF16 of shape [2]), got 6 bytes",
        &|w| w.add("x", Dtype::BF16, &[2], &[0.0; 3]).err(),
    );
    refused(
        "tensor \"x\": expected 8 bytes (I64 of shape []), got 0 bytes",
        &|w| w.add_i64("x", &[], &[]).err(),
    );
    refused(
        "tensor \"x\": expected 0 bytes (F32 of shape [3, 0]), got 4 bytes",
        &|w| w.add("x", Dtype::F32, &[3, 0], &[0.0]).err(),
    );
    refused(
        "tensor \"x\": expected 3 bytes (F4 of shape [6]), got 6 bytes",
        &|w| w.add_bytes("x", Dtype::F4, &[6], &[0; 6]).err(),
    );
    refused("takes 4 bits, not a whole number of bytes", &|w| {
        w.add_bytes("x", Dtype::F4, &[1], &[0]).err()
    });
    refused("overflows", &|w| {
        w.add("x", Dtype::F64, &[usize::MAX, 2, 0], &[]).err()
    });
    refused("tensor \"x\": 33 axes, at most 32 allowed", &|w| {
        w.add("x", Dtype::F64, &[1; 33], &[0.0]).err()
    });
    refused("tensor \"x\": floats cannot be written as I64", &|w| {
        w.add("x", Dtype::I64, &[1], &[0.0]).err()
    });
    refused("tensor \"x\": floats cannot be written as F8_E4M3", &|w| {
        w.add("x", Dtype::F8E4M3, &[1], &[0.0]).err()
    });
}

#[test]
fn the_limits_are_the_readers() {
    let mut writer = Writer::new();
    writer.add("axes", Dtype::F64, &[1; 32], &[0.5]).unwrap();
    for i in 0..40_000 {
        writer.metadata(&i.to_string(), "").unwrap();
    }
    for i in 0..25_535 {
        writer.add_i64(&i.to_string(), &[0], &[]).unwrap();
    }
    let read = SafeTensors::from_bytes(writer.to_bytes().unwrap()).unwrap();
    assert_eq!(
        (read.metadata().len(), read.names().len()),
        (40_000, 25_536)
    );
    assert_eq!(read.tensor("axes").unwrap().shape, [1; 32]);
    let full = "file: more than 65536 tensors and metadata strings";
    assert_eq!(writer.metadata("x", "").unwrap_err().to_string(), full);
    assert_eq!(
        writer.add_i64("x", &[0], &[]).unwrap_err().to_string(),
        full
    );

    // `{"__metadata__":{"":"..."}}` has 24 bytes around the string.
    let header_of = |len: usize| {
        let mut writer = Writer::new();
        writer.metadata("", &" ".repeat(len - 24)).unwrap();
        writer.to_bytes().map(|bytes| bytes.len())
    };
    assert_eq!(header_of(100_000_000), Ok(100_000_008));
    let message = header_of(100_000_001).unwrap_err().to_string();
    assert_eq!(
        message,
        "header: 100000008 bytes, more than the 100000000 the format allows"
    );
}

#[test]
fn a_file_appears_whole_and_replaces_the_one_before() {
    let directory = directory("writer-replaces");
    // As long as a name may be on common file systems: the temporary one must not be longer.
    let path = directory.join("n".repeat(if cfg!(unix) { 255 } else { 100 }));
    for value in [1.0, 2.0] {
        let mut writer = Writer::new();
        writer.add("w", Dtype::F64, &[1], &[value]).unwrap();
        writer.write(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), writer.to_bytes().unwrap());
        let read = SafeTensors::open(&path).unwrap();
        assert_eq!(read.tensor("w").unwrap().bytes, value.to_le_bytes());
        assert_eq!(names_in(&directory).len(), 1);
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let directory = directory("writer-fails");
    let refused = |writer: &Writer, path: &Path| match writer.write(path) {
        Err(Error::File { path: named, why }) => {
            assert_eq!(named, path.display().to_string());
            why
        }
        other => panic!("{}: {other:?}", path.display()),
    };
    let mut writer = Writer::new();
    writer.add("w", Dtype::F64, &[1], &[1.0]).unwrap();

    // The rename fails, after the temporary file was written: the name is that of a directory.
    let taken = directory.join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("inside"), "kept").unwrap();
    refused(&writer, &taken);
    assert_eq!(names_in(&directory), ["taken"]);
    assert_eq!(names_in(&taken), ["inside"]);

    // The temporary file cannot be made.
    refused(&writer, &directory.join("absent").join("file"));
    refused(&writer, &taken.join("inside").join("file"));
    // There is no name to write to.
    assert_eq!(
        refused(&writer, &directory.join("..")),
        "not the name of a file"
    );
    assert_eq!(refused(&writer, Path::new("")), "not the name of a file");

    // The content is refused: what was there stays.
    let path = directory.join("file");
    writer.write(&path).unwrap();
    let before = fs::read(&path).unwrap();
    writer.metadata("k", &" ".repeat(100_000_000)).unwrap();
    let why = refused(&writer, &path);
    assert!(why.starts_with("header: "), "{why}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names_in(&directory), ["file", "taken"]);
    fs::remove_dir_all(&directory).unwrap();
}

/// A file written as its numbers come is the one written as a whole; what does not fit its header
/// leaves none.
#[test]
fn a_file_can_be_written_as_its_numbers_come() {
    let directory = directory("writer-streams");
    let path = directory.join("file");
    let metadata = BTreeMap::from([("key".to_string(), "value".to_string())]);
    let tensors = |names: &[&str]| -> Vec<(String, Vec<usize>)> {
        let shapes = [vec![2, 3], vec![0], vec![]];
        let names = names.iter().map(|name| name.to_string());
        names.zip(shapes).collect()
    };
    let values = |name: &str| -> Vec<f64> {
        match name {
            "a" => vec![0.1, -2.0, 1e-40, 3e38, 0.0, -0.0],
            "c" => vec![1.0 / 3.0],
            _ => vec![],
        }
    };
    let good = tensors(&["a", "b", "c"]);
    write_streamed(&path, &metadata, &good, |name| values(name).into_iter()).expect("written");
    let mut whole = Writer::new();
    whole.metadata("key", "value").unwrap();
    for (name, shape) in &good {
        whole.add(name, Dtype::F32, shape, &values(name)).unwrap();
    }
    let before = fs::read(&path).unwrap();
    assert_eq!(before, whole.to_bytes().unwrap());

    let refused = |tensors: &[(String, Vec<usize>)], values: &dyn Fn(&str) -> Vec<f64>| {
        let written = write_streamed(&path, &metadata, tensors, |name| values(name).into_iter());
        assert_eq!(fs::read(&path).unwrap(), before, "what was there stays");
        assert_eq!(names_in(&directory), ["file"]);
        written.expect_err("refused").to_string()
    };
    for names in [["b", "a", "c"], ["a", "c", "b"], ["a", "a", "c"]] {
        let why = refused(&tensors(&names), &values);
        assert!(why.contains("sorted") || why.contains("\"a\""), "{why}");
    }
    for len in [5, 7] {
        let why = refused(&good, &|name| match name {
            "a" => vec![1.0; len],
            _ => values(name),
        });
        assert!(
            why.contains("\"a\"") && why.contains("6 elements") && why.contains(&len.to_string()),
            "{why}"
        );
    }
    // As many elements altogether, one of them under the wrong name.
    let why = refused(&good, &|name| match name {
        "a" => vec![1.0; 6],
        "b" => vec![1.0],
        _ => vec![],
    });
    assert!(why.contains("\"b\""), "{why}");
    fs::remove_dir_all(&directory).unwrap();
}

/// What killed processes have left is removed. What another is writing, which is locked, is neither
/// removed nor written over, and stops nobody; nor does anything go that is no temporary file.
#[test]
fn temporary_files_stay_while_they_are_locked() {
    let directory = directory("writer-taken");
    let process = std::process::id();
    let temporary = |count: u64| format!(".hippos-{process}-{count}.tmp");
    let mut writer = Writer::new();
    writer.add("w", Dtype::F64, &[1], &[1.0]).unwrap();
    for name in (0..1000).map(temporary).chain([".hippos-1-2.tmp".into()]) {
        fs::write(directory.join(name), "left").unwrap();
    }
    let mut kept = [".hippos-1.tmp", ".hippos-1-x.tmp", "hippos-1-2.tmp", "file"].map(String::from);
    kept.sort();
    for name in &kept {
        fs::write(directory.join(name), "kept").unwrap();
    }
    fs::create_dir(directory.join(".hippos-3-4.tmp")).unwrap();
    writer.write(&directory.join("file")).unwrap();
    fs::remove_dir(directory.join(".hippos-3-4.tmp")).unwrap();
    assert_eq!(names_in(&directory), kept);

    let mut taken: Vec<String> = (0..200).map(temporary).collect();
    let locked = taken.iter().map(|name| {
        fs::write(directory.join(name), "in work").unwrap();
        let file = fs::File::open(directory.join(name)).unwrap();
        file.try_lock().unwrap();
        file
    });
    let locked: Vec<fs::File> = locked.collect();
    writer.write(&directory.join("file")).unwrap();
    for name in &taken {
        assert_eq!(
            fs::read(directory.join(name)).unwrap(),
            b"in work",
            "{name}"
        );
    }
    taken.extend(kept.iter().cloned());
    taken.sort();
    assert_eq!(names_in(&directory), taken);
    drop(locked);
    writer.write(&directory.join("file")).unwrap();
    assert_eq!(names_in(&directory), kept);
    fs::remove_dir_all(&directory).unwrap();
}

/// Many threads that write into one directory remove nobody's file.
#[test]
fn writers_at_work_leave_each_other_alone() {
    let directory = directory("writer-together");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let directory = &directory;
            scope.spawn(move || {
                let mut writer = Writer::new();
                writer
                    .add("w", Dtype::F64, &[1], &[f64::from(thread)])
                    .unwrap();
                for _ in 0..6 {
                    writer
                        .write(&directory.join(format!("file-{thread}")))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(
        names_in(&directory),
        ["file-0", "file-1", "file-2", "file-3"]
    );
    fs::remove_dir_all(&directory).unwrap();
}

/// What a reader would refuse is not written: a name twice, or more entries than a file may hold.
#[test]
fn what_could_not_be_read_is_not_streamed() {
    let directory = directory("writer-streams-limits");
    let path = directory.join("file");
    let write = |metadata: &BTreeMap<String, String>, names: &[&str]| {
        let tensors: Vec<_> = names
            .iter()
            .map(|&name| (name.to_owned(), vec![0]))
            .collect();
        write_streamed(&path, metadata, &tensors, |_| [].into_iter()).map_err(|e| e.to_string())
    };
    let none = BTreeMap::new();
    for names in [["a", "a"], ["b", "a"]] {
        let why = write(&none, &names).expect_err("refused");
        assert!(why.contains("not sorted by name, or not distinct"), "{why}");
    }
    // With a string beside it one tensor is in the place of two.
    let many: Vec<String> = (100_000..165_536).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let one = BTreeMap::from([(String::new(), String::new())]);
    let why = write(&one, &many).expect_err("refused");
    assert!(why.contains("more than 65536 tensors"), "{why}");
    assert_eq!(names_in(&directory), [""; 0]);
    write(&one, &many[1..]).expect("written");
    assert_eq!(SafeTensors::open(&path).unwrap().names().len(), 65_535);
    fs::remove_dir_all(&directory).unwrap();
}

/// A tensor to write: its type, shape, and 64 random bits for each element.
#[derive(Clone, Debug)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bits: Vec<u64>,
}

impl Tensor {
    fn add_to(&self, writer: &mut Writer, name: &str) {
        let floats: Vec<f64> = self.bits.iter().map(|&bits| f64::from_bits(bits)).collect();
        let integers: Vec<i64> = self.bits.iter().map(|&bits| bits as i64).collect();
        match self.dtype {
            Dtype::I64 => writer.add_i64(name, &self.shape, &integers),
            dtype => writer.add(name, dtype, &self.shape, &floats),
        }
        .unwrap_or_else(|e| panic!("{name:?}: {e}"));
    }
}

fn tensor() -> impl Strategy<Value = Tensor> {
    const DTYPES: [Dtype; 5] = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::I64];
    (prop::sample::select(&DTYPES[..]), vec(0usize..4, 0..4)).prop_flat_map(|(dtype, shape)| {
        let len = shape.iter().product::<usize>();
        // Floats near 1 as well: random bits are nearly always beyond the range of binary16.
        let bits = prop_oneof![any::<u64>(), (-9.0..9.0f64).prop_map(f64::to_bits)];
        vec(bits, len).prop_map(move |bits| Tensor {
            dtype,
            shape: shape.clone(),
            bits,
        })
    })
}

/// Any text, and text made of what needs escaping.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        vec(any::<char>(), 0..8),
        vec(
            prop::sample::select(vec!['"', '\\', '/', '\0', '\n', '\u{1f}', 'u', '0']),
            0..8
        ),
    ]
    .prop_map(String::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// What is written is read; what is read and written again is the same file, in whatever
    /// order.
    #[test]
    fn write_read_write_gives_the_same_bytes(
        tensors in btree_map(text(), tensor(), 0..8),
        strings in btree_map(text(), text(), 0..5),
        rotation in any::<prop::sample::Index>(),
    ) {
        let mut writer = Writer::new();
        for (key, value) in &strings {
            writer.metadata(key, value).unwrap();
        }
        for (name, tensor) in &tensors {
            tensor.add_to(&mut writer, name);
        }
        let bytes = writer.to_bytes().unwrap();
        let read = SafeTensors::from_bytes(bytes.clone()).unwrap();

        prop_assert_eq!(read.metadata(), &strings);
        prop_assert!(read.names().eq(tensors.keys()));
        for (view, tensor) in read.tensors().zip(tensors.values()) {
            prop_assert_eq!(view.dtype, tensor.dtype);
            prop_assert_eq!(view.shape, &tensor.shape[..]);
            match view.dtype {
                Dtype::I64 => {
                    let expected: Vec<i64> = tensor.bits.iter().map(|&bits| bits as i64).collect();
                    prop_assert_eq!(view.to_i64().unwrap(), expected);
                }
                Dtype::F64 => {
                    let bits: Vec<u64> = view.bytes.chunks(8)
                        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
                        .collect();
                    prop_assert_eq!(&bits, &tensor.bits);
                }
                // A rounding is tested on its own; here, that the right one was applied.
                dtype => for (value, &bits) in view.to_f64().unwrap().into_iter().zip(&tensor.bits) {
                    let exact = f64::from_bits(bits);
                    let (digits, least, largest) = match dtype {
                        Dtype::F32 => (24, -149, f64::from(f32::MAX)),
                        Dtype::F16 => (11, -24, 65504.0),
                        _ => (8, -133, f64::from_bits(0x47ef_e000_0000_0000)),
                    };
                    // Half a unit of the last of `digits` places, or of the least subnormal.
                    let bound = (exact.abs() * 2f64.powi(-digits)).max(2f64.powi(least - 1));
                    prop_assert!(
                        (exact.is_nan() && value.is_nan())
                            || (exact.abs() > largest && value.abs() >= largest && value.signum() * exact.signum() > 0.0)
                            || (value - exact).abs() <= bound,
                        "{}: {} for {}", dtype, value, exact
                    );
                },
            }
        }

        let mut again = Writer::new();
        let mut views: Vec<_> = read.tensors().collect();
        if !views.is_empty() {
            let middle = rotation.index(views.len());
            views.rotate_left(middle);
        }
        for view in views.into_iter().rev() {
            again.add_bytes(view.name, view.dtype, view.shape, view.bytes).unwrap();
        }
        for (key, value) in read.metadata().iter().rev() {
            again.metadata(key, value).unwrap();
        }
        prop_assert_eq!(again.to_bytes().unwrap(), bytes);
    }
}
