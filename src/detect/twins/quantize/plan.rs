//! The choice of the convolutions that are quantised, and of the tensors whose ranges that needs.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::detect::twins::error::TwinError;
use crate::detect::twins::graph::{OnnxFile, OnnxNode, element};
use crate::detect::twins::source::read_float_graph;

/// `QuantizeLinear` and `DequantizeLinear` have the attribute `axis`, and so a scale per channel, since this operator set.
const MIN_OPSET: u64 = 13;

/// A convolution that is quantised.
#[derive(Clone, Debug)]
pub(super) struct ConvPlan<'a> {
    /// Index of its node.
    pub(super) node: usize,
    pub(super) input: &'a str,
    pub(super) weight: &'a str,
    pub(super) bias: Option<&'a str>,
    /// Its output, or that of the `Relu` behind it: a tensor without the negative values that `Relu` removes has finer steps.
    pub(super) output: &'a str,
}

/// The convolutions of a model.
#[derive(Debug)]
pub(super) struct QuantizePlan<'a> {
    pub(super) file: OnnxFile<'a>,
    pub(super) convs: Vec<ConvPlan<'a>>,
    /// Number of convolutions of the graph.
    pub(super) all_convs: usize,
}

impl<'a> QuantizePlan<'a> {
    /// Chooses all convolutions but the first and the last ones.
    ///
    /// # Errors
    /// The file cannot be quantised; see [`TwinError`].
    pub(super) fn read(model: &'a [u8]) -> Result<Self, TwinError> {
        let file = read_float_graph(model)?;
        if file.opset < MIN_OPSET {
            return Err(TwinError::Opset { opset: file.opset, min: MIN_OPSET });
        }
        let all_convs = file.nodes.iter().filter(|node| node.is("Conv")).count();
        let graph = GraphView::new(&file);
        let convs: Vec<ConvPlan<'a>> = (0..file.nodes.len()).filter_map(|node| graph.conv(node)).collect();
        if convs.is_empty() {
            return Err(nothing_to_quantize(&file, all_convs));
        }
        Ok(Self { file, convs, all_convs })
    }

    /// Returns the tensors whose ranges are needed, each once.
    pub(super) fn activations(&self) -> Vec<&'a str> {
        let both = self.convs.iter().flat_map(|conv| [conv.input, conv.output]);
        both.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn nothing_to_quantize(file: &OnnxFile<'_>, all_convs: usize) -> TwinError {
    let half = |node: &OnnxNode<'_>| {
        let weight = node.inputs.get(1).and_then(|weight| file.constants.get(weight));
        node.is("Conv") && weight.is_some_and(|weight| weight.element == element::FLOAT16)
    };
    if file.nodes.iter().any(half) { TwinError::HalfWeights } else { TwinError::NoConv { all: all_convs } }
}

/// The edges of a graph.
struct GraphView<'f, 'a> {
    file: &'f OnnxFile<'a>,
    /// Nodes by the tensors that they take.
    consumers: HashMap<&'a str, Vec<usize>>,
    /// Tensors that depend on a convolution.
    behind_conv: HashSet<&'a str>,
    /// Tensors on which a convolution depends.
    before_conv: HashSet<&'a str>,
    /// `true` where a node has graphs of its own, whose use of tensors is not seen.
    has_hidden_uses: bool,
}

impl<'f, 'a> GraphView<'f, 'a> {
    fn new(file: &'f OnnxFile<'a>) -> Self {
        let (mut consumers, mut behind_conv, mut before_conv) =
            (HashMap::<_, Vec<usize>>::new(), HashSet::new(), HashSet::new());
        // ONNX lists nodes in the order of execution, so one pass in each direction follows every path.
        for (index, node) in file.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|input| consumers.entry(*input).or_default().push(index));
            if node.is("Conv") || node.inputs.iter().any(|input| behind_conv.contains(input)) {
                behind_conv.extend(node.outputs.iter().copied());
            }
        }
        for node in file.nodes.iter().rev() {
            if node.is("Conv") || node.outputs.iter().any(|output| before_conv.contains(output)) {
                before_conv.extend(node.inputs.iter().copied());
            }
        }
        let has_hidden_uses = file.nodes.iter().any(OnnxNode::has_graphs);
        Self { file, consumers, behind_conv, before_conv, has_hidden_uses }
    }

    /// Returns the convolution of a node, unless it is one of the first or the last, or has weights that are not constant float32.
    fn conv(&self, index: usize) -> Option<ConvPlan<'a>> {
        let node = &self.file.nodes[index];
        let ([input, weight, bias @ ..], [output]) = (&node.inputs[..], &node.outputs[..]) else {
            return None;
        };
        let is_inner = self.behind_conv.contains(input) && self.before_conv.contains(output);
        let is_constant = |name: &str| self.file.constants.get(name).is_some_and(|it| it.floats().is_some());
        let bias = bias.first().copied().filter(|bias| !bias.is_empty());
        let fits = node.is("Conv") && is_inner && is_constant(weight) && bias.is_none_or(is_constant);
        fits.then(|| ConvPlan {
            node: index,
            input,
            weight,
            bias,
            output: self.relu(output).unwrap_or(output),
        })
    }

    /// Returns the output of the `Relu` that is the only user of a tensor.
    fn relu(&self, output: &'a str) -> Option<&'a str> {
        let [user] = self.consumers.get(output)?[..] else { return None };
        let node = &self.file.nodes[user];
        let alone = !self.file.outputs.contains(output) && !self.has_hidden_uses;
        match node.outputs[..] {
            [relu] if node.is("Relu") && alone => Some(relu),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::protobuf::MessageWriter;
    use crate::detect::twins::graph::{node, tensor};

    /// A model file of these nodes, with weights `w` and `b` of one channel, input `x` and output `y`.
    pub(in super::super) fn model(opset: u64, nodes: &[Vec<u8>]) -> Vec<u8> {
        let one = 1.0_f32.to_le_bytes();
        let weights =
            [tensor("w", element::FLOAT, &[1, 1, 1, 1], &one), tensor("b", element::FLOAT, &[1], &one)];
        let named = |name| MessageWriter::default().text(1, name).finish();
        let graph = nodes.iter().fold(MessageWriter::default(), |graph, node| graph.bytes(1, node));
        let graph = weights.iter().fold(graph, |graph, weights| graph.bytes(5, weights));
        let graph = graph.bytes(11, &named("x")).bytes(12, &named("y")).finish();
        let operators = MessageWriter::default().text(1, "").number(2, opset).finish();
        MessageWriter::default().bytes(7, &graph).bytes(8, &operators).finish()
    }

    /// Four convolutions in a row, with a `Relu` behind the second.
    pub(in super::super) fn row() -> Vec<Vec<u8>> {
        vec![
            node("Conv", &["x", "w"], "first", &[]),
            node("Conv", &["first", "w", "b"], "second", &[]),
            node("Relu", &["second"], "relu", &[]),
            node("Conv", &["relu", "w"], "third", &[]),
            node("Conv", &["third", "w"], "y", &[]),
        ]
    }

    #[test]
    fn the_first_and_the_last_convolution_stay_in_float() {
        let file = model(13, &row());
        let plan = QuantizePlan::read(&file).unwrap();
        let convs: Vec<_> =
            plan.convs.iter().map(|conv| (conv.node, conv.input, conv.output, conv.bias)).collect();
        assert_eq!(convs, [(1, "first", "relu", Some("b")), (3, "relu", "third", None)]);
        assert_eq!((plan.activations(), plan.all_convs), (vec!["first", "relu", "third"], 4));
        // Two users of the tensor before `Relu`: it is rounded there, and `Relu` takes the rounded values.
        let mut nodes = row();
        nodes.push(node("Sigmoid", &["second"], "also", &[]));
        let file = model(13, &nodes);
        assert_eq!(QuantizePlan::read(&file).unwrap().convs[0].output, "second");
    }

    #[test]
    fn a_file_that_cannot_be_quantised_says_why() {
        let one = [node("Conv", &["x", "w"], "y", &[])];
        let computed: Vec<_> = row().into_iter().chain([node("Conv", &["y", "x"], "z", &[])]).collect();
        let linear = [node("QuantizeLinear", &["x", "w"], "y", &[])];
        for (name, file, word) in [
            ("nothing", Vec::new(), "no ONNX graph"),
            ("old", model(12, &row()), "of operator set 12, and a scale per channel needs 13"),
            ("one", model(13, &one), "it has 1, and the first and the last ones"),
            ("quantised", model(13, &linear), "has the operator QuantizeLinear"),
        ] {
            let error = QuantizePlan::read(&file).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
        // A convolution with computed weights stays in float; the one before it is no longer the last.
        assert_eq!(QuantizePlan::read(&model(13, &computed)).unwrap().convs.len(), 3);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let _ = QuantizePlan::read(&bytes);
            let mut damaged = model(13, &row());
            let at = at.index(damaged.len());
            damaged[at] = byte;
            let _ = QuantizePlan::read(&damaged);
        }
    }
}
