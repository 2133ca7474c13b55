//! Makes the float16 twin of a detector.
//!
//! Everything before the last convolution computes in float16, beginning with the input, which then takes half the bytes to a GPU. What
//! follows stays in float32, as do the outputs: from 512 px on, coordinates in float16 have steps of 0.5 px.

mod plan;
mod rewrite;

use std::collections::{BTreeSet, HashSet};

use ort::value::TensorElementType;

use super::error::TwinError;
use super::graph::{OnnxFile, OnnxNode, element};
use super::source::{TwinSource, read_float_graph};
use crate::detect::spec::ModelSpec;
use plan::{HalfPlan, with_all_outputs};
pub use rewrite::HalfRounding;
use rewrite::{HalfForm, converted};

/// A model that was converted to float16.
pub struct HalfModel {
    /// The ONNX file.
    pub bytes: Vec<u8>,
    /// An ONNX file that computes in float32, and rounds the weights and the result of each converted node to float16.
    ///
    /// ONNX Runtime on the CPU computes float16 nodes in float32 and, between two of them, does not round, so that [`Self::bytes`] has
    /// closer results there than on a GPU.
    pub rounded: Vec<u8>,
    /// Number of nodes that compute in float16.
    pub nodes: usize,
    /// Number of all nodes.
    pub all_nodes: usize,
    /// Operators before the last convolution that stay in float32.
    pub float_operators: BTreeSet<String>,
    /// The loss of precision of the weights.
    pub rounding: HalfRounding,
}

/// Converts a float32 model.
///
/// # Errors
/// The model cannot be used or converted; see [`TwinError`].
pub fn convert(spec: &ModelSpec) -> Result<HalfModel, TwinError> {
    let source = TwinSource::read(spec)?;
    let file = read_float_graph(&source.content)?;
    if let Some(node) = file.nodes.iter().find(|node| node.has_graphs()) {
        let (operator, node) = (node.operator.to_owned(), node.name.to_owned());
        return Err(TwinError::Subgraphs { operator, node });
    }
    let floats = float_tensors(&source, &file)?;
    let all_nodes = file.nodes.iter().filter(|node| !node.is("Constant")).count();
    let plan = HalfPlan::new(file, &floats)?;
    let (bytes, rounding) = converted(&plan, HalfForm::Written, &source.sha256)?;
    let (rounded, _) = converted(&plan, HalfForm::Rounded, &source.sha256)?;
    let float_operators = plan.float_operators.iter().map(|operator| (*operator).to_owned()).collect();
    Ok(HalfModel { bytes, rounded, nodes: plan.nodes.len(), all_nodes, float_operators, rounding })
}

/// Returns the names of the tensors that ONNX Runtime's type inference finds to be float32, constants included.
///
/// # Errors
/// ONNX Runtime refuses the model, or it has float16 tensors already.
fn float_tensors(source: &TwinSource<'_>, file: &OnnxFile<'_>) -> Result<HashSet<String>, TwinError> {
    let net = source.open(&with_all_outputs(file), 1)?;
    let constants = |wanted| {
        let of_type = file.constants.iter().filter(move |(_, tensor)| tensor.element == wanted);
        of_type.map(|(name, _)| *name)
    };
    let mut halves = constants(element::FLOAT16).chain(net.tensors_of(TensorElementType::Float16));
    if let Some(tensor) = halves.next() {
        return Err(TwinError::AlreadyHalf { tensor: tensor.to_owned() });
    }
    let floats = constants(element::FLOAT).chain(net.tensors_of(TensorElementType::Float32));
    Ok(floats.map(str::to_owned).collect())
}

/// Returns `true` for an operator that takes a tensor of any type and returns numbers that do not depend on its elements.
fn reads_shape_only(node: &OnnxNode<'_>) -> bool {
    node.is("Shape") || node.is("Size")
}
