//! Writes a quantised model: float operators between `QuantizeLinear` and `DequantizeLinear` (QDQ), which engines fuse to int8 kernels.
//!
//! Sources: `QuantizeLinear` and `DequantizeLinear` of ONNX operator set 13: `y = saturate(round(x / scale) + zero_point)`, rounding
//! halves to even, and `y = (x - zero_point) * scale`, with one scale per tensor, or one per index of `axis`.

use std::collections::{HashMap, HashSet};

use super::plan::{ConvPlan, QuantizePlan};
use crate::detect::spec::TwinKind;
use crate::detect::twins::graph::{GraphEdit, OnnxNode, element, node, tensor};

/// The largest weight in steps, the whole of int8 on both sides of 0.
///
/// Processors without VNNI add two products of a uint8 and an int8 in 16 bits, which saturates beyond 64 steps of both weights. That is
/// rare: with 64 steps, confidences differ more from those of the float32 model (ARCHITECTURE.md), and the gate sees its effect.
const WEIGHT_STEPS: f32 = 127.0;

/// The largest bias in steps: far below the limit of int32, to which the sums of products are added.
const BIAS_STEPS: f32 = (1 << 30) as f32;

/// The smallest and the largest value of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ValueRange {
    pub(super) min: f32,
    pub(super) max: f32,
}

impl ValueRange {
    /// Returns the range that contains both.
    pub(super) fn with(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// Scale and zero point of a tensor of uint8.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ActivationScale {
    scale: f32,
    zero: u8,
}

impl ActivationScale {
    /// Returns the scale of 255 steps over the range and 0, which is exact: padding and `Relu` make many zeros.
    ///
    /// `None` where the range is not finite, or has no size.
    fn of(range: ValueRange) -> Option<Self> {
        let (min, max) = (range.min.min(0.0), range.max.max(0.0));
        let scale = (max - min) / 255.0;
        let usable = scale.is_finite() && scale >= f32::MIN_POSITIVE;
        let zero = (-min / scale).round_ties_even().clamp(0.0, 255.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
        usable.then_some(Self { scale, zero: zero as u8 })
    }
}

/// The quantised weights and bias of a convolution.
#[derive(Debug, PartialEq)]
struct QuantizedWeights {
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Option<Vec<i32>>,
}

impl QuantizedWeights {
    /// Quantises symmetrically with one scale per output channel, the first of the dimensions.
    fn of(weights: &[f32], bias: Option<&[f32]>, channels: usize, input_scale: f32) -> Option<Self> {
        let per_channel = weights.len().checked_div(channels).filter(|length| *length > 0)?;
        let fits = bias.is_none_or(|bias| bias.len() == channels);
        let mut made = Self { weights: Vec::new(), scales: Vec::new(), bias: bias.map(|_| Vec::new()) };
        for (channel, values) in weights.chunks_exact(per_channel).enumerate() {
            let of_channel = bias.and_then(|bias| bias.get(channel)).copied().unwrap_or(0.0);
            let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            // The bias has the scale of the products, and a channel of tiny weights would overflow it.
            let scale = (largest / WEIGHT_STEPS).max(of_channel.abs() / (input_scale * BIAS_STEPS));
            let scale = if scale > 0.0 { scale } else { 1.0 };
            if !scale.is_finite() {
                return None;
            }
            made.scales.push(scale);
            made.weights.extend(values.iter().map(|value| steps(*value, scale)));
            let bias_steps = (of_channel / (input_scale * scale)).round_ties_even();
            #[expect(clippy::cast_possible_truncation, reason = "at most 2^30")]
            made.bias.iter_mut().for_each(|all| all.push(bias_steps as i32));
        }
        fits.then_some(made)
    }
}

fn steps(value: f32, scale: f32) -> i8 {
    let steps = (value / scale).round_ties_even().clamp(-WEIGHT_STEPS, WEIGHT_STEPS);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to -127..=127")]
    let steps = steps as i8;
    steps
}

/// The file with extra outputs, the smallest and the largest value of each of these tensors, in their order.
pub(super) fn with_range_outputs(plan: &QuantizePlan<'_>) -> (Vec<u8>, Vec<[String; 2]>) {
    let mut edit = GraphEdit::default();
    edit.nodes.extend(plan.file.nodes.iter().map(|node| node.with_inputs(|_, _| None)));
    let mut names = Vec::new();
    for name in plan.activations() {
        let pair = ["min", "max"].map(|end| format!("{name}/{end}"));
        for (operator, output) in ["ReduceMin", "ReduceMax"].into_iter().zip(&pair) {
            // Without axes they reduce all dimensions.
            edit.nodes.push(node(operator, &[name], output, &[("keepdims", 0)]));
            edit.float_outputs.push(output.clone());
        }
        names.push(pair);
    }
    (plan.file.rebuilt(&edit), names)
}

/// A quantised file.
pub(super) struct QuantizedFile {
    pub(super) bytes: Vec<u8>,
    /// Number of convolutions that are quantised.
    pub(super) convs: usize,
}

/// Returns the file with quantised convolutions; one without a usable range or weights stays in float32.
///
/// `source_sha256` is the digest of the float32 file.
pub(super) fn quantized(
    plan: &QuantizePlan<'_>,
    ranges: &HashMap<&str, ValueRange>,
    source_sha256: &str,
) -> QuantizedFile {
    let mut writer =
        QdqWriter { plan, edit: GraphEdit::default(), scales: HashMap::new(), convs: HashMap::new() };
    writer
        .scales
        .extend(ranges.iter().filter_map(|(name, range)| Some((*name, ActivationScale::of(*range)?))));
    let plans: Vec<_> = plan.convs.iter().filter(|conv| writer.add_weights(conv)).collect();
    writer.convs.extend(plans.iter().map(|conv| (conv.node, (*conv).clone())));
    writer.drop_float_weights();
    writer.write_nodes();
    let convs = writer.convs.len();
    writer.edit.metadata.push((TwinKind::Int8.source_key(), source_sha256.to_owned()));
    QuantizedFile { bytes: plan.file.rebuilt(&writer.edit), convs }
}

/// The quantised file under construction.
struct QdqWriter<'p, 'a> {
    plan: &'p QuantizePlan<'a>,
    edit: GraphEdit,
    scales: HashMap<&'p str, ActivationScale>,
    /// Convolutions that are quantised, by their nodes.
    convs: HashMap<usize, ConvPlan<'a>>,
}

impl QdqWriter<'_, '_> {
    /// Adds the weights and the bias of a convolution; `false`: it cannot be quantised.
    fn add_weights(&mut self, conv: &ConvPlan<'_>) -> bool {
        let constant = |name: &str| self.plan.file.constants.get(name);
        let (Some(input), true) = (self.scales.get(conv.input), self.scales.contains_key(conv.output)) else {
            return false;
        };
        let Some((shape, weights)) = constant(conv.weight).and_then(|it| Some((&it.dims, it.floats()?)))
        else {
            return false;
        };
        let bias = conv.bias.and_then(|bias| constant(bias)?.floats());
        let channels = shape.first().and_then(|dim| usize::try_from(*dim).ok()).unwrap_or(0);
        let made = QuantizedWeights::of(&weights, bias.as_deref(), channels, input.scale);
        let Some(QuantizedWeights { weights, scales, bias }) = made else { return false };
        let input_scale = input.scale;
        // Two convolutions may share weights, but not the scale of their bias: the names are those of the output.
        let raw: Vec<u8> = weights.iter().map(|weight| weight.to_ne_bytes()[0]).collect();
        self.dequantized(&format!("{}/weight", conv.output), (element::INT8, shape, &raw), &scales);
        if let Some(bias) = bias {
            let raw: Vec<u8> = bias.iter().flat_map(|bias| bias.to_le_bytes()).collect();
            let scales: Vec<f32> = scales.iter().map(|scale| scale * input_scale).collect();
            let shape = [channels as u64];
            self.dequantized(&format!("{}/bias", conv.output), (element::INT32, &shape, &raw), &scales);
        }
        true
    }

    /// Adds a constant and its `DequantizeLinear`, with a scale per index of the first dimension and a zero point of 0.
    fn dequantized(&mut self, name: &str, (element, dims, raw): (u64, &[u64], &[u8]), scales: &[f32]) {
        let [integers, scale] = ["integers", "scale"].map(|part| format!("{name}/{part}"));
        let raw_scales: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        self.edit.initializers.push(tensor(&integers, element, dims, raw));
        self.edit.initializers.push(tensor(&scale, element::FLOAT, &[scales.len() as u64], &raw_scales));
        self.edit.nodes.push(node("DequantizeLinear", &[&integers, &scale], name, &[("axis", 0)]));
    }

    /// Leaves out the float32 weights that nothing uses any more.
    fn drop_float_weights(&mut self) {
        let file = &self.plan.file;
        if file.nodes.iter().any(OnnxNode::has_graphs) {
            return;
        }
        let replaced = self.convs.values().flat_map(|conv| [Some(conv.weight), conv.bias]).flatten();
        let replaced: HashSet<&str> = replaced.collect();
        let others = file.nodes.iter().enumerate().filter(|(index, _)| !self.convs.contains_key(index));
        let used: HashSet<&str> = others.flat_map(|(_, node)| node.inputs.iter().copied()).collect();
        // An initializer that is an input as well would become an input without a value.
        let is_named = |name: &&&str| {
            used.contains(**name) || file.inputs.contains(**name) || file.outputs.contains(**name)
        };
        self.edit.dropped =
            replaced.iter().filter(|name| !is_named(name)).map(|name| (*name).to_owned()).collect();
    }

    /// Adds the nodes of the graph, and `QuantizeLinear` and `DequantizeLinear` behind the nodes whose outputs need them.
    fn write_nodes(&mut self) {
        let plan = self.plan;
        let outputs: HashSet<&str> = self.convs.values().map(|conv| conv.output).collect();
        let mut activations = outputs.clone();
        activations.extend(self.convs.values().map(|conv| conv.input));
        for (index, of_graph) in plan.file.nodes.iter().enumerate() {
            let conv = self.convs.get(&index);
            let written = of_graph.with_inputs(|input, name| match (conv, input) {
                (Some(_), 0) => Some(dequantized_name(name)),
                (Some(conv), 1) => Some(format!("{}/weight", conv.output)),
                (Some(conv), 2) => Some(format!("{}/bias", conv.output)),
                // The float output of a quantised convolution exists only before it is rounded.
                _ => outputs.contains(name).then(|| dequantized_name(name)),
            });
            self.edit.nodes.push(written);
            for output in of_graph.outputs.iter().filter(|output| activations.contains(*output)) {
                self.quantize(output);
            }
        }
    }

    fn quantize(&mut self, name: &str) {
        let Some(ActivationScale { scale, zero }) = self.scales.get(name).copied() else { return };
        let [scale_name, zero_name, integers] =
            ["scale", "zero_point", "quantized"].map(|part| format!("{name}/{part}"));
        self.edit.initializers.push(tensor(&scale_name, element::FLOAT, &[], &scale.to_le_bytes()));
        self.edit.initializers.push(tensor(&zero_name, element::UINT8, &[], &[zero]));
        let dequantized = dequantized_name(name);
        self.edit.nodes.push(node("QuantizeLinear", &[name, &scale_name, &zero_name], &integers, &[]));
        self.edit.nodes.push(node(
            "DequantizeLinear",
            &[&integers, &scale_name, &zero_name],
            &dequantized,
            &[],
        ));
    }
}

fn dequantized_name(tensor: &str) -> String {
    format!("{tensor}/dequantized")
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{model, row};
    use super::*;
    use crate::detect::twins::TwinError;
    use crate::detect::twins::graph::OnnxFile;

    #[test]
    fn the_scale_of_a_tensor_covers_its_range_and_zero() {
        let scale = |min, max| ActivationScale::of(ValueRange { min, max }).map(|it| (it.scale, it.zero));
        assert_eq!(scale(0.0, 255.0), Some((1.0, 0)));
        assert_eq!(scale(-1.0, 254.0), Some((1.0, 1)));
        assert_eq!(scale(51.0, 510.0), Some((2.0, 0)), "zero is in it");
        assert_eq!(scale(-510.0, -51.0), Some((2.0, 255)), "zero is in it");
        for nothing in [(0.0, 0.0), (f32::NEG_INFINITY, 1.0), (f32::NAN, f32::NAN), (0.0, 1e-45)] {
            assert_eq!(scale(nothing.0, nothing.1), None, "{nothing:?}");
        }
    }

    #[test]
    fn each_channel_of_the_weights_has_its_scale() {
        let made =
            QuantizedWeights::of(&[127.0, -32.0, 31.75, 0.25, 0.0, 0.0], Some(&[4.0, 1.0, 0.0]), 3, 0.5)
                .unwrap();
        assert_eq!(made.weights, [127, -32, 127, 1, 0, 0]);
        assert_eq!(made.scales, [1.0, 0.25, 1.0]);
        assert_eq!(made.bias, Some(vec![8, 8, 0]));
        assert_eq!(QuantizedWeights::of(&[1.0], None, 1, 1.0).unwrap().bias, None);
        for (weights, bias, channels) in [
            (&[1.0][..], None, 0),
            (&[], None, 2),
            (&[f32::INFINITY], None, 1),
            (&[1.0, 1.0], Some(&[1.0][..]), 2),
        ] {
            assert_eq!(QuantizedWeights::of(weights, bias, channels, 1.0), None, "{weights:?}");
        }
    }

    #[test]
    fn a_bias_that_dwarfs_its_weights_stays_in_int32() {
        let made = QuantizedWeights::of(&[1e-20], Some(&[1e6]), 1, 1e-3).unwrap();
        let steps = made.bias.unwrap()[0];
        let value = f64::from(steps) * f64::from(made.scales[0]) * 1e-3;
        assert!((value - 1e6).abs() < 1.0 && steps <= 1 << 30, "{steps}, {value}");
    }

    fn rewritten(ranges: &[(&'static str, f32)]) -> (Vec<String>, usize, Vec<u8>) {
        let file = model(13, &row());
        let plan = QuantizePlan::read(&file).unwrap();
        let ranges = ranges.iter().map(|(name, max)| (*name, ValueRange { min: 0.0, max: *max })).collect();
        let made = quantized(&plan, &ranges, "digest");
        let graph = OnnxFile::read(&made.bytes).unwrap();
        let nodes = graph
            .nodes
            .iter()
            .map(|node| format!("{}({}) {}", node.operator, node.inputs.join(" "), node.outputs[0]));
        (nodes.collect(), made.convs, made.bytes.clone())
    }

    #[test]
    fn convolutions_take_rounded_tensors_and_all_users_of_their_output_do() {
        let (nodes, convs, bytes) = rewritten(&[("first", 255.0), ("relu", 510.0), ("third", 1.0)]);
        let want = [
            "DequantizeLinear(relu/weight/integers relu/weight/scale) relu/weight",
            "DequantizeLinear(relu/bias/integers relu/bias/scale) relu/bias",
            "DequantizeLinear(third/weight/integers third/weight/scale) third/weight",
            "Conv(x w) first",
            "QuantizeLinear(first first/scale first/zero_point) first/quantized",
            "DequantizeLinear(first/quantized first/scale first/zero_point) first/dequantized",
            "Conv(first/dequantized relu/weight relu/bias) second",
            "Relu(second) relu",
            "QuantizeLinear(relu relu/scale relu/zero_point) relu/quantized",
            "DequantizeLinear(relu/quantized relu/scale relu/zero_point) relu/dequantized",
            "Conv(relu/dequantized third/weight) third",
            "QuantizeLinear(third third/scale third/zero_point) third/quantized",
            "DequantizeLinear(third/quantized third/scale third/zero_point) third/dequantized",
            "Conv(third/dequantized w) y",
        ];
        assert_eq!((nodes.as_slice(), convs), (&want.map(str::to_owned)[..], 2));
        let graph = OnnxFile::read(&bytes).unwrap();
        assert_eq!(graph.constants["relu/scale"].floats(), Some(vec![2.0]));
        assert_eq!(graph.constants["third/weight/scale"].floats(), Some(vec![1.0 / 127.0]));
        // Of the float32 weights, `b` is used by a quantised convolution alone.
        assert!(graph.constants.contains_key("w") && !graph.constants.contains_key("b"));
        assert!(matches!(QuantizePlan::read(&bytes), Err(TwinError::AlreadyQuantized { .. })));
    }

    #[test]
    fn a_convolution_without_a_usable_range_stays_in_float() {
        let (nodes, convs, _) = rewritten(&[("first", 1.0), ("relu", 1.0), ("third", f32::INFINITY)]);
        assert_eq!(
            (convs, nodes.contains(&"Conv(relu/dequantized w) third".to_owned())),
            (1, true),
            "{nodes:?}"
        );
        assert_eq!(rewritten(&[]).1, 0);
    }
}
