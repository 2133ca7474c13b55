//! The choice of the nodes that compute in float16, and of the tensors that exist in float16.

use std::collections::{BTreeSet, HashSet};

use super::reads_shape_only;
use crate::detect::twins::error::TwinError;
use crate::detect::twins::graph::{GraphEdit, OnnxFile, OnnxNode};

/// Operators that gain from float16, and before which everything else computes in it.
const PRODUCTS: [&str; 4] = ["Conv", "ConvTranspose", "MatMul", "Gemm"];

/// Operators that compute in float16: all their float inputs and outputs have one type, apart from [`is_always_float`].
///
/// Not in the list, so that they stay in float32: operators that leave the range of float16 easily (`Exp`, `Pow`, `ReduceSum`), those
/// that order or compare boxes (`TopK`, `NonMaxSuppression`), those that take coordinates (`GridSample`), and unknown ones.
const HALF_OPERATORS: [&str; 53] = [
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Div",
    "Elu",
    "Erf",
    "Expand",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Returns `true` for an input that is float32 also where the operator computes in float16: `roi` and `scales` of `Resize`.
fn is_always_float(node: &OnnxNode<'_>, input: usize) -> bool {
    node.is("Resize") && input > 0
}

/// The conversion of a model.
#[derive(Debug)]
pub(super) struct HalfPlan<'a> {
    pub(super) file: OnnxFile<'a>,
    /// All tensors of float32.
    floats: HashSet<&'a str>,
    /// Indices of the nodes that compute in float16.
    pub(super) nodes: HashSet<usize>,
    /// Tensors that these nodes take in float16.
    pub(super) wanted: HashSet<&'a str>,
    /// Tensors that are outputs of the graph, or that other nodes take: in float32.
    float_uses: HashSet<&'a str>,
    /// Operators whose results are wanted, and which stay in float32.
    pub(super) float_operators: BTreeSet<&'a str>,
}

impl<'a> HalfPlan<'a> {
    /// Plans a model whose tensors of float32 have the names `floats`.
    ///
    /// # Errors
    /// No node would compute in float16.
    pub(super) fn new(file: OnnxFile<'a>, floats: &HashSet<String>) -> Result<Self, TwinError> {
        let mut plan = Self {
            file,
            floats: HashSet::new(),
            nodes: HashSet::new(),
            wanted: HashSet::new(),
            float_uses: HashSet::new(),
            float_operators: BTreeSet::new(),
        };
        let of_nodes = plan.file.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
        let names = of_nodes.chain(&plan.file.inputs).copied();
        plan.floats = names.filter(|name| floats.contains(*name)).collect();
        plan.choose_nodes();
        if plan.nodes.is_empty() {
            return Err(TwinError::NoHalf);
        }
        plan.find_float_uses();
        Ok(plan)
    }

    /// Chooses the products and, back from them, all that they depend on.
    fn choose_nodes(&mut self) {
        let dynamic = self.dynamic_tensors();
        // ONNX lists nodes in the order of execution, so one pass follows every path.
        for (index, node) in self.file.nodes.iter().enumerate().rev() {
            let is_dynamic = node.outputs.iter().any(|output| dynamic.contains(output));
            let is_wanted = node.outputs.iter().any(|output| self.wanted.contains(output));
            // A matrix product may be of another type.
            let is_product = PRODUCTS.iter().any(|operator| node.is(operator))
                && node.inputs.first().is_some_and(|input| self.floats.contains(input));
            if !is_dynamic || !(is_wanted || is_product) {
                continue;
            }
            if HALF_OPERATORS.iter().any(|operator| node.is(operator)) {
                self.nodes.insert(index);
                for (at, name) in node.inputs.iter().enumerate() {
                    if self.floats.contains(name) && !is_always_float(node, at) {
                        self.wanted.insert(*name);
                    }
                }
            } else {
                self.float_operators.insert(node.operator);
            }
        }
    }

    /// Returns the tensors that depend on the inputs of the graph. What is computed of constants keeps its precision: ONNX Runtime computes
    /// it once, when it loads the model.
    fn dynamic_tensors(&self) -> HashSet<&'a str> {
        let inputs = self.file.inputs.iter().filter(|input| !self.file.constants.contains_key(*input));
        let mut dynamic: HashSet<&str> = inputs.copied().collect();
        for node in &self.file.nodes {
            if node.inputs.iter().any(|input| dynamic.contains(input)) {
                dynamic.extend(node.outputs.iter().copied().filter(|output| !output.is_empty()));
            }
        }
        dynamic
    }

    fn find_float_uses(&mut self) {
        self.float_uses.extend(self.file.outputs.iter().copied());
        for (index, node) in self.file.nodes.iter().enumerate() {
            for (input, name) in node.inputs.iter().enumerate() {
                if !reads_shape_only(node) && !self.takes_half(index, input) {
                    self.float_uses.insert(*name);
                }
            }
        }
    }

    /// Returns `true` for a tensor of float32.
    pub(super) fn is_float(&self, tensor: &str) -> bool {
        self.floats.contains(tensor)
    }

    /// Returns `true` if a node takes this input in float16.
    pub(super) fn takes_half(&self, index: usize, input: usize) -> bool {
        let node = &self.file.nodes[index];
        let is_float = node.inputs.get(input).is_some_and(|name| self.is_float(name));
        self.nodes.contains(&index) && is_float && !is_always_float(node, input)
    }

    /// Returns `true` if a tensor is needed in float32.
    pub(super) fn is_used_as_float(&self, tensor: &str) -> bool {
        self.float_uses.contains(tensor)
    }

    /// Returns `true` for an input of the graph that becomes float16.
    pub(super) fn is_half_input(&self, tensor: &str) -> bool {
        let is_input = self.file.inputs.contains(tensor) && !self.file.constants.contains_key(tensor);
        is_input && self.wanted.contains(tensor)
    }

    /// Returns `true` for a constant that is used only as a bound of `Clip`, where a number beyond the range of float16 is no bound.
    pub(super) fn is_bound(&self, tensor: &str) -> bool {
        let nodes = self.nodes.iter().map(|index| &self.file.nodes[*index]);
        let mut uses = nodes.filter(|node| node.inputs.contains(&tensor));
        uses.all(|node| node.is("Clip") && node.inputs.first() != Some(&tensor))
    }
}

/// Returns the file with the result of each node as an output, so that ONNX Runtime says of which type it is.
pub(super) fn with_all_outputs(file: &OnnxFile<'_>) -> Vec<u8> {
    let nodes = file.nodes.iter().map(|node| node.with_inputs(|_, _| None)).collect();
    let outputs = file.nodes.iter().flat_map(|node| &node.outputs);
    let further = outputs.filter(|output| !output.is_empty() && !file.outputs.contains(*output));
    let untyped_outputs = further.map(|output| (*output).to_owned()).collect();
    file.rebuilt(&GraphEdit { nodes, untyped_outputs, ..GraphEdit::default() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::detect::protobuf::MessageWriter;
    use crate::detect::twins::graph::{element, node, tensor};

    /// A model file of these nodes, with float32 constants `w`, `s` and `c` of one element, input `x` and output `y`.
    pub(in super::super) fn model(nodes: &[Vec<u8>], constant: f32) -> Vec<u8> {
        let weight = |name| tensor(name, element::FLOAT, &[1, 1, 1, 1], &constant.to_le_bytes());
        let of_tensor = MessageWriter::default().number(1, element::FLOAT).finish();
        let of_value = MessageWriter::default().bytes(1, &of_tensor).finish();
        let named = |name| MessageWriter::default().text(1, name).bytes(2, &of_value).finish();
        let graph = nodes.iter().fold(MessageWriter::default(), |graph, node| graph.bytes(1, node));
        let graph = ["w", "s", "c"].into_iter().fold(graph, |graph, name| graph.bytes(5, &weight(name)));
        let graph = graph.bytes(11, &named("x")).bytes(12, &named("y")).finish();
        MessageWriter::default().bytes(7, &graph).finish()
    }

    /// Two convolutions with `Exp` and `Resize` between them, a branch around the second, and a tail.
    pub(in super::super) fn graph() -> Vec<Vec<u8>> {
        vec![
            node("Conv", &["x", "w"], "first", &[]),
            node("Shape", &["first"], "shape", &[]),
            node("Exp", &["first"], "exp", &[]),
            node("Mul", &["c", "c"], "grid", &[]),
            node("Add", &["exp", "grid"], "sum", &[]),
            node("Resize", &["sum", "", "s"], "large", &[]),
            node("Conv", &["large", "w"], "second", &[]),
            node("Add", &["second", "sum"], "both", &[]),
            node("Mul", &["both", "w"], "scaled", &[]),
            node("MatMul", &["c", "grid"], "constant", &[]),
            node("Add", &["scaled", "constant"], "y", &[]),
        ]
    }

    /// The plan of a file in which all tensors but `shape` are float32.
    pub(in super::super) fn plan(file: &[u8]) -> Result<HalfPlan<'_>, TwinError> {
        let file = OnnxFile::read(file).unwrap();
        let of_nodes = file.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
        let floats = of_nodes.filter(|name| !name.is_empty() && **name != "shape");
        let floats = floats.map(|name| (*name).to_owned()).collect();
        HalfPlan::new(file, &floats)
    }

    #[test]
    fn all_that_a_product_depends_on_is_float16_and_the_tail_is_not() {
        let file = model(&graph(), 1.0);
        let plan = plan(&file).unwrap();
        let mut nodes: Vec<&str> =
            plan.nodes.iter().map(|index| plan.file.nodes[*index].outputs[0]).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, ["first", "large", "second", "sum"]);
        assert_eq!(plan.float_operators.iter().copied().collect::<Vec<_>>(), ["Exp"]);
        for (tensor, half, float) in [
            ("x", true, false),
            ("w", true, true),
            ("s", false, true),
            ("c", false, true),
            ("first", false, true),
            ("exp", true, false),
            ("grid", true, true),
            ("sum", true, true),
            ("large", true, false),
            ("second", false, true),
            ("y", false, true),
        ] {
            assert_eq!(
                (plan.wanted.contains(tensor), plan.is_used_as_float(tensor)),
                (half, float),
                "{tensor}"
            );
        }
        assert!(plan.is_half_input("x") && !plan.is_half_input("w"));
    }

    #[test]
    fn without_a_product_nothing_is_float16() {
        let file = model(&[node("Relu", &["x"], "y", &[])], 1.0);
        assert_eq!(plan(&file).unwrap_err(), TwinError::NoHalf);
        // A product of constants is computed when the model is loaded.
        let file = model(&[node("MatMul", &["c", "c"], "m", &[]), node("Add", &["x", "m"], "y", &[])], 1.0);
        assert_eq!(plan(&file).unwrap_err(), TwinError::NoHalf);
    }
}
