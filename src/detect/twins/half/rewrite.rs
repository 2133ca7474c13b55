//! Writes a converted model: a tensor exists in float32, in float16, or in both with a `Cast` between them.

use half::f16;

use super::plan::HalfPlan;
use super::reads_shape_only;
use crate::detect::spec::TwinKind;
use crate::detect::twins::error::TwinError;
use crate::detect::twins::graph::{GraphEdit, OnnxTensor, element, node, tensor};

/// A form in which a model is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfForm {
    /// The nodes compute in float16.
    Written,
    /// The nodes compute in float32, and their results are rounded to float16 and back.
    Rounded,
}

/// The loss of precision of the weights of a model, and of all other constants that are converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfRounding {
    /// Number of all of them.
    pub weights: usize,
    /// Number of those below 2^-14, which keep fewer than 11 bits.
    pub subnormal: usize,
    /// Number of those that become 0.
    pub zero: usize,
}

impl HalfRounding {
    fn add(&mut self, float: f32, half: f16) {
        self.weights += 1;
        let is_zero = half.to_f32() == 0.0;
        if float != 0.0 {
            self.zero += usize::from(is_zero);
            self.subnormal += usize::from(!is_zero && !half.is_normal() && half.is_finite());
        }
    }
}

/// Returns the model in this form, and the rounding of its constants; `source_sha256` is the digest of the float32 file.
///
/// # Errors
/// A constant is beyond the range of float16.
pub(super) fn converted(
    plan: &HalfPlan<'_>,
    form: HalfForm,
    source_sha256: &str,
) -> Result<(Vec<u8>, HalfRounding), TwinError> {
    let (edit, rounding) = (GraphEdit::default(), HalfRounding::default());
    let mut writer = HalfWriter { plan, form, edit, rounding };
    writer.convert_constants()?;
    writer.convert_inputs();
    for index in 0..plan.file.nodes.len() {
        writer.write_node(index);
    }
    writer.edit.metadata.push((TwinKind::Half.source_key(), source_sha256.to_owned()));
    Ok((plan.file.rebuilt(&writer.edit), writer.rounding))
}

/// The converted model under construction.
struct HalfWriter<'p, 'a> {
    plan: &'p HalfPlan<'a>,
    form: HalfForm,
    edit: GraphEdit,
    rounding: HalfRounding,
}

impl HalfWriter<'_, '_> {
    /// Returns the name of a tensor in float16.
    fn half_name(&self, name: &str) -> String {
        // An input keeps its name.
        if self.form == HalfForm::Written && self.plan.is_half_input(name) {
            return name.to_owned();
        }
        format!("{name}/half")
    }

    /// Returns the name of a tensor in float32.
    fn float_name(&self, name: &str) -> String {
        if self.plan.is_half_input(name) { format!("{name}/float") } else { name.to_owned() }
    }

    /// Adds the constants that are needed in float16, and leaves out those that no node takes in float32.
    fn convert_constants(&mut self) -> Result<(), TwinError> {
        let file = &self.plan.file;
        let constants = file.constants.iter().filter(|(name, _)| self.plan.wanted.contains(*name));
        let mut constants: Vec<(&str, &OnnxTensor<'_>)> =
            constants.map(|(name, constant)| (*name, constant)).collect();
        // The same file is made each time.
        constants.sort_unstable_by_key(|(name, _)| *name);
        for (name, constant) in constants {
            self.convert_constant(name, constant)?;
            // An initializer that is an input as well would become an input without a value.
            if !self.plan.is_used_as_float(name) && !file.inputs.contains(name) {
                self.edit.dropped.insert(name.to_owned());
            }
        }
        Ok(())
    }

    fn convert_constant(&mut self, name: &str, constant: &OnnxTensor<'_>) -> Result<(), TwinError> {
        let floats = constant.floats().ok_or(TwinError::NotOnnx)?;
        let halves: Vec<f16> = floats.iter().map(|float| f16::from_f32(*float)).collect();
        let is_bound = self.plan.is_bound(name);
        for (float, half) in floats.iter().zip(&halves) {
            if float.is_finite() && !half.is_finite() && !is_bound {
                return Err(TwinError::HalfRange { tensor: name.to_owned(), value: *float });
            }
            self.rounding.add(*float, *half);
        }
        let (element, raw): (u64, Vec<u8>) = match self.form {
            HalfForm::Written => {
                (element::FLOAT16, halves.iter().flat_map(|half| half.to_le_bytes()).collect())
            }
            HalfForm::Rounded => {
                (element::FLOAT, halves.iter().flat_map(|half| half.to_f32().to_le_bytes()).collect())
            }
        };
        self.edit.initializers.push(tensor(&self.half_name(name), element, &constant.dims, &raw));
        Ok(())
    }

    /// Makes the input float16 where a converted node takes it.
    fn convert_inputs(&mut self) {
        let mut inputs: Vec<&str> = self.plan.file.inputs.iter().copied().collect();
        inputs.retain(|input| self.plan.is_half_input(input));
        inputs.sort_unstable();
        for input in inputs {
            match self.form {
                HalfForm::Written => drop(self.edit.half_inputs.insert(input.to_owned())),
                HalfForm::Rounded => self.add_half(input, input),
            }
            if self.plan.is_used_as_float(input) {
                self.cast(&self.half_name(input), &self.float_name(input), element::FLOAT);
            }
        }
    }

    /// Adds a node of the graph, and behind it the other forms of its outputs.
    fn write_node(&mut self, index: usize) {
        let (plan, of_graph) = (self.plan, &self.plan.file.nodes[index]);
        if of_graph.is("Constant")
            && of_graph.outputs.iter().all(|output| self.edit.dropped.contains(*output))
        {
            return;
        }
        let is_half = plan.nodes.contains(&index);
        let input = |at: usize, name: &str| {
            let takes_any = reads_shape_only(of_graph) && self.is_made_half(name);
            if takes_any || plan.takes_half(index, at) {
                return Some(self.half_name(name));
            }
            plan.is_half_input(name).then(|| self.float_name(name))
        };
        let output = |name: &str| (is_half && plan.is_float(name)).then(|| self.computed_name(name));
        self.edit.nodes.push(of_graph.with_names(input, output));
        for output in of_graph.outputs.iter().filter(|output| plan.is_float(output)) {
            if is_half {
                self.finish_half(output);
            } else if plan.wanted.contains(output) && !plan.file.constants.contains_key(output) {
                self.add_half(output, output);
            }
        }
    }

    /// Adds the forms of an output of a node that computes in float16.
    fn finish_half(&mut self, output: &str) {
        if self.form == HalfForm::Rounded {
            self.add_half(&self.computed_name(output), output);
        }
        if self.plan.is_used_as_float(output) {
            self.cast(&self.half_name(output), output, element::FLOAT);
        } else {
            // A type that the file declares for it would be of a tensor that no longer exists.
            self.edit.dropped.insert(output.to_owned());
        }
    }

    /// Returns the name of the output of a node that computes in float16.
    fn computed_name(&self, output: &str) -> String {
        match self.form {
            HalfForm::Written => self.half_name(output),
            HalfForm::Rounded => format!("{output}/exact"),
        }
    }

    /// Adds the float16 form of the tensor `name` from the float32 tensor `from`.
    fn add_half(&mut self, from: &str, name: &str) {
        let half = self.half_name(name);
        match self.form {
            HalfForm::Written => self.cast(from, &half, element::FLOAT16),
            HalfForm::Rounded => {
                let rounded = format!("{name}/float16");
                self.cast(from, &rounded, element::FLOAT16);
                self.cast(&rounded, &half, element::FLOAT);
            }
        }
    }

    fn cast(&mut self, from: &str, to: &str, element: u64) {
        self.edit.nodes.push(node("Cast", &[from], to, &[("to", element)]));
    }

    /// Returns `true` for a tensor that exists in float16 before it exists in float32.
    fn is_made_half(&self, name: &str) -> bool {
        let plan = self.plan;
        let made = || plan.nodes.iter().any(|index| plan.file.nodes[*index].outputs.contains(&name));
        plan.is_float(name) && (plan.is_half_input(name) || made())
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{graph, model, plan};
    use super::*;
    use crate::detect::twins::graph::OnnxFile;

    /// Returns the nodes of a form as text.
    fn nodes(bytes: &[u8]) -> Vec<String> {
        let file = OnnxFile::read(bytes).unwrap();
        let text = |node: &crate::detect::twins::graph::OnnxNode<'_>| {
            format!("{}({}) {}", node.operator, node.inputs.join(" "), node.outputs[0])
        };
        file.nodes.iter().map(text).collect()
    }

    #[test]
    fn nodes_take_the_form_that_they_need() {
        let file = model(&graph(), 0.1);
        let (bytes, rounding) = converted(&plan(&file).unwrap(), HalfForm::Written, "digest").unwrap();
        let want = [
            "Conv(x w/half) first/half",
            "Cast(first/half) first",
            "Shape(first/half) shape",
            "Exp(first) exp",
            "Cast(exp) exp/half",
            "Mul(c c) grid",
            "Cast(grid) grid/half",
            "Add(exp/half grid/half) sum/half",
            "Cast(sum/half) sum",
            "Resize(sum/half  s) large/half",
            "Conv(large/half w/half) second/half",
            "Cast(second/half) second",
            "Add(second sum) both",
            "Mul(both w) scaled",
            "MatMul(c grid) constant",
            "Add(scaled constant) y",
        ];
        assert_eq!(nodes(&bytes), want);
        assert_eq!(rounding, HalfRounding { weights: 1, subnormal: 0, zero: 0 });
        let made = OnnxFile::read(&bytes).unwrap();
        assert_eq!(made.constants["w/half"].element, element::FLOAT16);
        // `w` is used in float32 as well.
        assert_eq!(made.constants["w"].floats(), Some(vec![0.1]));
    }

    #[test]
    fn the_rounded_form_computes_in_float32_and_rounds_each_result() {
        let conv = [node("Conv", &["x", "w"], "a", &[]), node("Conv", &["a", "w"], "y", &[])];
        let file = model(&conv, 0.1);
        let (bytes, _) = converted(&plan(&file).unwrap(), HalfForm::Rounded, "digest").unwrap();
        let want = [
            "Cast(x) x/float16",
            "Cast(x/float16) x/half",
            "Conv(x/half w/half) a/exact",
            "Cast(a/exact) a/float16",
            "Cast(a/float16) a/half",
            "Conv(a/half w/half) y/exact",
            "Cast(y/exact) y/float16",
            "Cast(y/float16) y/half",
            "Cast(y/half) y",
        ];
        assert_eq!(nodes(&bytes), want);
        let made = OnnxFile::read(&bytes).unwrap();
        assert_eq!(made.constants["w/half"].floats(), Some(vec![f16::from_f32(0.1).to_f32()]));
        assert!(!made.constants.contains_key("w"), "no node takes it in float32");
    }

    #[test]
    fn an_input_that_is_also_used_in_float32_is_cast() {
        let nodes_of = [
            node("Conv", &["x", "w"], "a", &[]),
            node("Shape", &["x"], "shape", &[]),
            node("Exp", &["x"], "b", &[]),
            node("Add", &["a", "b"], "y", &[]),
        ];
        let file = model(&nodes_of, 1.0);
        let (bytes, _) = converted(&plan(&file).unwrap(), HalfForm::Written, "digest").unwrap();
        let want = [
            "Cast(x) x/float",
            "Conv(x w/half) a/half",
            "Cast(a/half) a",
            "Shape(x) shape",
            "Exp(x/float) b",
            "Add(a b) y",
        ];
        assert_eq!(nodes(&bytes), want);
    }

    #[test]
    fn constants_beyond_float16_are_refused_or_counted() {
        let conv = [node("Conv", &["x", "w"], "y", &[])];
        for (constant, want) in [
            (65504.0, Some([0, 0])),
            (6.1e-5, Some([1, 0])),
            (6.2e-5, Some([0, 0])),
            (1e-8, Some([0, 1])),
            (0.0, Some([0, 0])),
            (f32::INFINITY, Some([0, 0])),
            (70000.0, None),
            (-1e9, None),
        ] {
            let file = model(&conv, constant);
            let made = converted(&plan(&file).unwrap(), HalfForm::Written, "digest");
            match (made, want) {
                (Ok((_, HalfRounding { subnormal, zero, .. })), Some(want)) => {
                    assert_eq!([subnormal, zero], want, "{constant}");
                }
                (Err(error), None) => {
                    assert_eq!(error, TwinError::HalfRange { tensor: "w".to_owned(), value: constant });
                }
                (made, want) => panic!("{constant}: {:?}, want {want:?}", made.map(|(_, rounding)| rounding)),
            }
        }
        // The largest float32 as the upper bound of `Clip` is no bound.
        let clip = [node("Clip", &["x", "", "c"], "a", &[]), node("Conv", &["a", "x"], "y", &[])];
        let file = model(&clip, f32::MAX);
        let (bytes, _) = converted(&plan(&file).unwrap(), HalfForm::Written, "digest").unwrap();
        assert!(nodes(&bytes).contains(&"Clip(x  c/half) a/half".to_owned()), "{:?}", nodes(&bytes));
    }
}
