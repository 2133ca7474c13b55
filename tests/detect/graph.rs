//! ONNX files of constant answers, written by hand: what a layout's test needs of a model is its shapes, names and numbers.
//!
//! Source: `onnx.proto3` of ONNX 1.17 for the numbers of the fields.

use std::path::{Path, PathBuf};

/// Side of the input, px; the input is `images` [1, 3, SIDE, SIDE] of floats.
pub(super) const SIDE: u32 = 64;

const FLOAT: u64 = 1;
const INTS: u64 = 7;

/// An output: its name, dimensions, numbers on a grey picture and numbers on a black one.
pub(super) struct Answer<'a> {
    pub(super) name: &'a str,
    pub(super) dims: &'a [usize],
    pub(super) grey: Vec<f32>,
    pub(super) black: Vec<f32>,
}

impl<'a> Answer<'a> {
    /// The same numbers whatever the picture is.
    pub(super) fn constant(name: &'a str, dims: &'a [usize], numbers: Vec<f32>) -> Self {
        Self { name, dims, grey: numbers.clone(), black: numbers }
    }
}

/// Writes a model that gives these answers.
pub(super) fn write_answers(
    folder: &Path,
    name: &str,
    answers: &[Answer<'_>],
    metadata: &[(&str, &str)],
) -> PathBuf {
    let mut graph = Vec::new();
    node(&mut graph, "ReduceMean", &["images"], "mean", &[attribute_int("keepdims", 0)]);
    node(&mut graph, "Less", &["mean", "dark"], "is_black", &[]);
    node(&mut graph, "Cast", &["is_black"], "black", &[attribute_int("to", FLOAT)]);
    bytes(&mut graph, 5, &tensor("dark", &[], &[0.2]));
    for Answer { name, dims, grey, black } in answers {
        let more: Vec<f32> = black.iter().zip(grey).map(|(black, grey)| black - grey).collect();
        let [first, more_name, added] = ["grey", "more", "added"].map(|part| format!("{name}_{part}"));
        bytes(&mut graph, 5, &tensor(&first, dims, grey));
        bytes(&mut graph, 5, &tensor(&more_name, dims, &more));
        node(&mut graph, "Mul", &[&more_name, "black"], &added, &[]);
        node(&mut graph, "Add", &[&added, &first], name, &[]);
        bytes(&mut graph, 12, &value(name, FLOAT, dims));
    }
    write(folder, name, graph, metadata)
}

/// Writes a model with NMS inside that sees one box of the first class, as sure as the sum of the means of the input's
/// channels by `weights`.
pub(super) fn write_light_meter(
    folder: &Path,
    name: &str,
    weights: [f32; 3],
    metadata: &[(&str, &str)],
) -> PathBuf {
    let mut graph = Vec::new();
    node(
        &mut graph,
        "ReduceMean",
        &["images"],
        "means",
        &[attribute_int("keepdims", 0), attribute_ints("axes", &[2, 3])],
    );
    let columns: Vec<f32> =
        weights.into_iter().flat_map(|weight| [0.0, 0.0, 0.0, 0.0, weight, 0.0]).collect();
    bytes(&mut graph, 5, &tensor("weights", &[3, 6], &columns));
    bytes(&mut graph, 5, &tensor("place", &[1, 1, 6], &[8.0, 8.0, 40.0, 40.0, 0.0, 0.0]));
    node(&mut graph, "MatMul", &["means", "weights"], "row", &[]);
    node(&mut graph, "Add", &["row", "place"], "output0", &[]);
    bytes(&mut graph, 12, &value("output0", FLOAT, &[1, 1, 6]));
    write(folder, name, graph, metadata)
}

/// Writes such a model, which is as sure as half the sum of the means, and computes with numbers that float16 cannot hold: it first adds
/// `offset` to the picture and takes it away again, and its weights are divided by 4 to the power of `exponent`, which two
/// further products make good.
pub(super) fn write_precise_meter(
    folder: &Path,
    offset: f32,
    exponent: i32,
    metadata: &[(&str, &str)],
) -> PathBuf {
    let mut graph = Vec::new();
    bytes(&mut graph, 5, &tensor("offset", &[1], &[offset]));
    node(&mut graph, "Add", &["images", "offset"], "raised", &[]);
    node(&mut graph, "Sub", &["raised", "offset"], "lowered", &[]);
    let attributes = [attribute_int("keepdims", 0), attribute_ints("axes", &[2, 3])];
    node(&mut graph, "ReduceMean", &["lowered"], "means", &attributes);
    let (small, large) = (0.5 * 0.25_f32.powi(exponent), 2_f32.powi(exponent));
    bytes(&mut graph, 5, &tensor("weights", &[3, 6], &[0.0, 0.0, 0.0, 0.0, small, 0.0].repeat(3)));
    let diagonal: Vec<f32> = (0..36).map(|at| if at % 7 == 0 { large } else { 0.0 }).collect();
    bytes(&mut graph, 5, &tensor("diagonal", &[6, 6], &diagonal));
    bytes(&mut graph, 5, &tensor("place", &[1, 1, 6], &[8.0, 8.0, 40.0, 40.0, 0.0, 0.0]));
    node(&mut graph, "MatMul", &["means", "weights"], "small", &[]);
    node(&mut graph, "MatMul", &["small", "diagonal"], "larger", &[]);
    node(&mut graph, "MatMul", &["larger", "diagonal"], "row", &[]);
    node(&mut graph, "Add", &["row", "place"], "output0", &[]);
    bytes(&mut graph, 12, &value("output0", FLOAT, &[1, 1, 6]));
    write(folder, "meter", graph, metadata)
}

/// Writes a graph of one node, which no one can run; `If` has an arm without nodes.
pub(super) fn write_operator(folder: &Path, operator: &str, metadata: &[(&str, &str)]) -> PathBuf {
    let (mut graph, mut arm, mut attribute) = (Vec::new(), Vec::new(), Vec::new());
    bytes(&mut arm, 2, b"arm");
    bytes(&mut attribute, 1, b"then_branch");
    bytes(&mut attribute, 6, &arm);
    let attributes = if operator == "If" { vec![attribute] } else { Vec::new() };
    node(&mut graph, operator, &["images"], "output0", &attributes);
    bytes(&mut graph, 12, &value("output0", FLOAT, &[1, 1, 6]));
    write(folder, operator, graph, metadata)
}

fn write(folder: &Path, name: &str, mut graph: Vec<u8>, metadata: &[(&str, &str)]) -> PathBuf {
    let side = SIDE as usize;
    bytes(&mut graph, 2, b"answers");
    bytes(&mut graph, 11, &value("images", FLOAT, &[1, 3, side, side]));
    let mut opset = Vec::new();
    number(&mut opset, 2, 13);
    let mut model = Vec::new();
    number(&mut model, 1, 8);
    bytes(&mut model, 8, &opset);
    bytes(&mut model, 7, &graph);
    for (key, value) in metadata {
        let mut entry = Vec::new();
        bytes(&mut entry, 1, key.as_bytes());
        bytes(&mut entry, 2, value.as_bytes());
        bytes(&mut model, 14, &entry);
    }
    // A folder for each, so that models of one name stand beside each other.
    let beside = std::fs::read_dir(folder).unwrap().count();
    let folder = folder.join(beside.to_string());
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join(format!("{name}.onnx"));
    std::fs::write(&path, model).unwrap();
    path
}

fn node(graph: &mut Vec<u8>, operator: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) {
    let mut node = Vec::new();
    inputs.iter().for_each(|input| bytes(&mut node, 1, input.as_bytes()));
    bytes(&mut node, 2, output.as_bytes());
    bytes(&mut node, 4, operator.as_bytes());
    attributes.iter().for_each(|attribute| bytes(&mut node, 5, attribute));
    bytes(graph, 1, &node);
}

fn attribute_int(name: &str, value: u64) -> Vec<u8> {
    let mut attribute = Vec::new();
    bytes(&mut attribute, 1, name.as_bytes());
    number(&mut attribute, 3, value);
    number(&mut attribute, 20, 2);
    attribute
}

fn attribute_ints(name: &str, values: &[u64]) -> Vec<u8> {
    let mut attribute = Vec::new();
    bytes(&mut attribute, 1, name.as_bytes());
    values.iter().for_each(|value| number(&mut attribute, 8, *value));
    number(&mut attribute, 20, INTS);
    attribute
}

fn tensor(name: &str, dims: &[usize], numbers: &[f32]) -> Vec<u8> {
    assert_eq!(dims.iter().product::<usize>(), numbers.len(), "{name}");
    let mut tensor = Vec::new();
    dims.iter().for_each(|dim| number(&mut tensor, 1, *dim as u64));
    number(&mut tensor, 2, FLOAT);
    bytes(&mut tensor, 8, name.as_bytes());
    bytes(&mut tensor, 9, &numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    tensor
}

fn value(name: &str, kind: u64, dims: &[usize]) -> Vec<u8> {
    let mut shape = Vec::new();
    for dim in dims {
        let mut of = Vec::new();
        number(&mut of, 1, *dim as u64);
        bytes(&mut shape, 1, &of);
    }
    let (mut tensor, mut kind_of, mut value) = (Vec::new(), Vec::new(), Vec::new());
    number(&mut tensor, 1, kind);
    bytes(&mut tensor, 2, &shape);
    bytes(&mut kind_of, 1, &tensor);
    bytes(&mut value, 1, name.as_bytes());
    bytes(&mut value, 2, &kind_of);
    value
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
